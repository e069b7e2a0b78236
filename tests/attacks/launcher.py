"""Runs a command as on another machine: `python -m tests.attacks.launcher [--deny CALL=ERROR]… [--nobody] -- …`.

`--deny` refuses a system call, as a container's seccomp profile does; `--nobody` gives up root. The command
and all it starts have no way back.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import platform
import sys
from pathlib import Path
from typing import Final

from tools.sandbox.confined import kernel
from tools.sandbox.confined.seccomp import _FIRST_ARGUMENT, _Program
from tools.sandbox.confined.syscalls import NUMBERS

NOBODY: Final = 65534

_LOAD, _IF_EQUAL, _ALLOW, _FAIL = 0x20, 0x15, 0x7FFF0000, 0x00050000
_SET_SECCOMP: Final = 22
_NEW_MOUNTS: Final = 0x00020000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 1 << 18

_FILTERED: Final = "prctl(PR_SET_SECCOMP)"
"""Of `prctl` only what installs a filter: everything else needs the call too."""


def main() -> None:
    """Change what this process may do, then become the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deny", action="append", default=[], metavar="CALL=ERROR")
    parser.add_argument("--nobody", action="store_true")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    if chosen.nobody:
        become_nobody()
    kernel.control_process(kernel.SET_NO_NEW_PRIVS, 1)
    if chosen.deny:
        kernel.install_filter(denying(dict(rule.split("=") for rule in chosen.deny)))
    os.execv(chosen.command[0], chosen.command)


def denying(rules: dict[str, str]) -> bytes:
    """Return a filter that answers these calls with these errors and lets all others through."""
    program = _Program(NUMBERS[platform.machine()])
    program.add(_LOAD, 0)
    for call, error in rules.items():
        action = _FAIL | getattr(errno, error)
        if call == _FILTERED:
            checks = _Program({})
            checks.add(_LOAD, _FIRST_ARGUMENT)
            checks.add(_IF_EQUAL, _SET_SECCOMP, otherwise=1)
            checks.end(action)
            checks.end(_ALLOW)
            program.checked("prctl", checks)
        else:
            program.rule(call, action)
    program.end(_ALLOW)
    return program.bytes()


def become_nobody() -> None:
    """Become a user without any right; the interpreters stay within reach."""
    for path in {Path(sys.base_prefix).resolve(), Path(__file__).parents[2]}:
        _open_the_way(path)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _open_the_way(path: Path) -> None:
    """Let everybody go through the folders above a path, as seen by this process and its children only.

    An interpreter below root's own folder is covered by an empty folder that holds nothing but it.
    """
    closed = [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
    if not closed:
        return
    top = closed[-1]
    kernel.unshare(_NEW_MOUNTS)
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    # Only now: what was opened in the other list of mounts cannot be mounted in this one.
    held = os.open(path, os.O_PATH | os.O_DIRECTORY)
    _mount("none", str(top), "tmpfs", 0, "mode=755")
    path.mkdir(parents=True)
    _mount(f"/proc/self/fd/{held}", str(path), None, _BIND | _RECURSIVE)
    os.close(held)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    words = [text.encode() if text is not None else None for text in (source, target, kind)]
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None)
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount at {target}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
