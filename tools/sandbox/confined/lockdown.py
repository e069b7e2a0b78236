"""Takes everything from the current process that running a program does not need, for good."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Final, TypedDict

from tools.sandbox.confined import kernel
from tools.sandbox.confined.landlock import restrict_files
from tools.sandbox.confined.seccomp import assemble

_NEW_USER: Final = 0x10000000
_NEW_PROCESSES: Final = 0x20000000
_NEW_NETWORK: Final = 0x40000000
_NEW_IPC: Final = 0x08000000
_NEW_NAMES: Final = 0x04000000
_NAMESPACES: Final = _NEW_USER | _NEW_PROCESSES | _NEW_NETWORK | _NEW_IPC | _NEW_NAMES

_KILL: Final = 9
_NICENESS: Final = 10
_OPEN_FILES: Final = 256


REFUSED: Final = 97
"""The exit status of a process that could not be confined, and so has run nothing."""


class Rules(TypedDict):
    """What a confined process may use, as its fork server is told."""

    workspace: str
    """The one folder it may write."""
    readable: list[str]
    """Files and folders it may read."""
    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    nameless_bytes: int
    """How much it may have in files that it has deleted and not closed."""


def enter_namespaces() -> None:
    """Leave the machine's users, network and names for new ones; raises `OSError` where forbidden.

    Processes are another matter: those that this one makes from now on have a list of their own.
    """
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(_NAMESPACES)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends."""
    kernel.control_process(kernel.SET_PDEATHSIG, _KILL)


def confine(rules: Rules) -> None:
    """Confine this process, which must have one thread; raises `OSError` where any step is refused."""
    # First to go when memory is short, last to get the processor.
    _try_write("/proc/self/oom_score_adj", "1000")
    os.nice(_NICENESS)
    # The order counts: each step needs what a later one takes.
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("resource limits", lambda: _limit_resources(rules)),
        ("to drop capabilities", kernel.drop_capabilities),
        ("to drop privileges for good", lambda: kernel.control_process(kernel.SET_NO_NEW_PRIVS, 1)),
        ("to tie a process to its parent", die_with_parent),
        ("Landlock rules", lambda: _restrict_files(rules)),
        ("a seccomp filter", _filter_calls),
    )
    for name, step in steps:
        try:
            step()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            msg = f"the kernel refuses {name} ({why}); a container's seccomp profile may forbid it"
            raise OSError(msg) from error


def _restrict_files(rules: Rules) -> None:
    restrict_files(rules["readable"], [rules["workspace"], "/dev/null"])


def _filter_calls() -> None:
    kernel.install_filter(assemble(os.uname().machine, os.getpid()))


def _limit_resources(rules: Rules) -> None:
    # No RLIMIT_NPROC: it does not bind root, and the filter lets no process be made anyway.
    cpu = rules["cpu_seconds"]
    limit_resource(resource.RLIMIT_CPU, cpu, cpu + 1)
    limit_resource(resource.RLIMIT_AS, rules["memory_bytes"])
    limit_resource(resource.RLIMIT_FSIZE, rules["file_bytes"])
    limit_resource(resource.RLIMIT_NOFILE, _OPEN_FILES)
    limit_resource(resource.RLIMIT_MEMLOCK, 0)
    limit_resource(resource.RLIMIT_MSGQUEUE, 0)
    # Of this one value the kernel makes no dump at all, not even for a program that collects them. The
    # process stays dumpable otherwise: its fork server could not look at what it holds.
    limit_resource(resource.RLIMIT_CORE, 1)


def limit_resource(what: int, soft: int, hard: int | None = None) -> None:
    """Set a limit; one that is lower already stays, because it cannot be raised."""
    _, ceiling = resource.getrlimit(what)
    most = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        most = min(most, ceiling)
    resource.setrlimit(what, (min(soft, most), most))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _try_write(path: str, text: str) -> None:
    try:
        _write(path, text)
    except OSError:
        return
