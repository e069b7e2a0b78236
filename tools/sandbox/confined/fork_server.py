"""The fork server: started once without any secret, it forks a confined process for each program.

It reads orders from the socket that its only argument names (`SOCK_SEQPACKET`, one JSON object a message)
and tells which of its processes have ended, and how:

    {"op": "run", "id": 1, "rules": {…}, "environment": {…}} with three descriptors
    {"op": "kill", "id": 1} · {"op": "load", "modules": ["pandas"]}
    → {"ready": {…}} · {"loaded": ["pandas"]}
    → {"ended": 1, "status": 0, "limit": null, "cpu_ms": 3, "peak_kb": 9000}

The end of its socket is its own end, and that of all its processes. This file is started by its path in
the sandbox's own interpreter, where only the standard library is sure to be there.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import sysconfig
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final

_ROOT: Final = __file__.rsplit("/", 4)[0]
sys.path.insert(0, _ROOT)

from tools.sandbox.confined import lockdown  # noqa: E402 - found only now
from tools.sandbox.confined.held import find_excess  # noqa: E402 - as above
from tools.sandbox.confined.landlock import find_version  # noqa: E402 - as above
from tools.sandbox.confined.program import run_program  # noqa: E402 - as above

# A program that says `import tools` means a file of its own.
sys.path.remove(_ROOT)
for _name in [name for name in sys.modules if name.partition(".")[0] == "tools"]:
    del sys.modules[_name]

MESSAGE_BYTES: Final = 1 << 20
CONTROL: Final = 3
"""The descriptor on which a confined process gets its program and returns what came of it."""

LIBRARIES: Final = ("numpy", "pandas", "matplotlib", "pyarrow")
"""What programs may find besides the standard library."""

LOOK_SECONDS: Final = 0.1
"""How often to look what the processes hold."""

_NICENESS: Final = 3
_DESCRIPTORS: Final = 65_536


def main() -> None:
    """Serve until the socket ends."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    os.nice(_NICENESS)
    ended, wake = os.pipe()
    for fd in (ended, wake):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    orders.send(json.dumps({"ready": _describe()}).encode())
    # From here on nobody reads what a library may write there.
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    _Server(orders, ended).serve()


def _describe() -> dict[str, Any]:
    """Return what the service has to know: where this interpreter's files are, and what may confine."""
    paths = sysconfig.get_paths()
    wanted = ("stdlib", "platstdlib", "purelib", "platlib")
    return {
        "paths": sorted({os.path.realpath(paths[name]) for name in wanted}),
        "landlock": find_version(),
        "namespaces": _enter_namespaces(),
        "libraries": [name for name in LIBRARIES if find_spec(name) is not None],
        "version": ".".join(map(str, sys.version_info[:3])),
    }


def _enter_namespaces() -> bool:
    """Move this server's future processes into namespaces of their own; return whether that was allowed.

    Once, not for each program: the filter lets no program make a socket or a process, so they can share
    an empty network and a process list in which they may signal nobody.
    """
    if not _try_namespaces():
        return False
    lockdown.enter_namespaces()
    pid = os.fork()
    if pid == 0:
        # The first process of the list, with which all the others would end.
        lockdown.die_with_parent()
        os.closerange(0, _DESCRIPTORS)
        while True:
            signal.pause()
    return True


def _try_namespaces() -> bool:
    """Try it in a process that ends at once: there is no way back out of a namespace."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            lockdown.enter_namespaces()
            status = _fork_once()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _fork_once() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class _Running:
    """A process that runs a program."""

    def __init__(self, number: int, nameless_bytes: int) -> None:
        self.number = number
        self.nameless_bytes = nameless_bytes
        self.limit: str | None = None
        """What it was ended for here."""


class _Server:
    def __init__(self, orders: socket.socket, ended: int) -> None:
        self._orders = orders
        self._ended = ended
        self._running: dict[int, _Running] = {}

    def serve(self) -> None:
        while True:
            waiting: list[Any] = [self._orders, self._ended]
            pause = LOOK_SECONDS if self._running else None
            readable, _, _ = select.select(waiting, [], [], pause)
            self._look()
            if self._ended in readable:
                self._tell_ended()
            if self._orders in readable and not self._obey():
                break
        for pid in self._running:
            _kill(pid)

    def _look(self) -> None:
        """End what holds too much."""
        for pid, running in self._running.items():
            running.limit = running.limit or find_excess(pid, running.nameless_bytes)
            if running.limit:
                _kill(pid)

    def _tell_ended(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._ended, 4096)
        while self._running:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            running = self._running.pop(pid, None)
            told = {
                "ended": running and running.number,
                "status": os.waitstatus_to_exitcode(status),
                "limit": running and running.limit,
                "cpu_ms": round((used.ru_utime + used.ru_stime) * 1000),
                "peak_kb": used.ru_maxrss,
            }
            self._orders.send(json.dumps(told).encode())

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._orders, MESSAGE_BYTES, 3)
        if not message:
            return False
        order = json.loads(message)
        if order["op"] == "run":
            self._run(order, descriptors)
        elif order["op"] == "load":
            loaded = [name for name in order["modules"] if _load(name)]
            # What is there now is shared with every process to come, and never collected.
            gc.collect()
            gc.freeze()
            self._orders.send(json.dumps({"loaded": loaded}).encode())
        else:
            for pid, running in self._running.items():
                if running.number == order["id"]:
                    _kill(pid)
        return True

    def _run(self, order: dict[str, Any], descriptors: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                _become_program(order, descriptors)
            finally:
                os._exit(lockdown.REFUSED)
        self._running[pid] = _Running(order["id"], order["rules"]["nameless_bytes"])
        for fd in descriptors:
            os.close(fd)


def _load(name: str) -> bool:
    try:
        importlib.import_module(name)
        if name == "matplotlib.pyplot":
            _draw_once()
    except Exception:  # noqa: BLE001 - a library that does not load is not there
        return False
    return True


def _draw_once() -> None:
    """Have what a first chart loads, such as fonts, loaded before the first program."""
    import io  # noqa: PLC0415 - only with matplotlib

    plt = importlib.import_module("matplotlib.pyplot")
    pandas = sys.modules.get("pandas")
    axes = plt.figure().subplots()
    axes.bar(["a", "b"], [1.5, -2], label="c")
    if pandas is not None:
        dates = pandas.date_range("2024-01-01", periods=3)
        pandas.DataFrame({"d": [1.0, 2.0, 3.0]}, index=dates).plot(ax=plt.figure().subplots())
    axes.set_title("Title")
    axes.legend()
    for number in plt.get_fignums():
        plt.figure(number).savefig(io.BytesIO(), format="png")
    plt.close("all")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _become_program(order: dict[str, Any], descriptors: list[int]) -> None:
    """Confine this process and run its program; it ends here, whatever happens."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    lockdown.die_with_parent()
    _take_descriptors(descriptors)
    rules: lockdown.Rules = order["rules"]
    os.chdir(rules["workspace"])
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(order["environment"])
    _seed()
    control = socket.socket(fileno=CONTROL)
    source = _read_all(control)
    try:
        lockdown.confine(rules)
    except BaseException as error:  # noqa: BLE001 - whatever was refused, nothing may run now
        control.sendall(json.dumps({"refused": str(error)}).encode())
        return
    control.sendall(json.dumps(run_program(source)).encode())
    # Not `sys.exit`: nothing of the server's is to be cleaned up in here.
    os._exit(0)


def _take_descriptors(descriptors: list[int]) -> None:
    """Have 0 empty, 1 and 2 the outputs, 3 the control socket, and nothing else."""
    # Moved out of the way first: one may already have a number that another is to get.
    moved = [os.dup2(fd, 64 + place) for place, fd in enumerate(descriptors)]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for place, fd in enumerate(moved, 1):
        os.dup2(fd, place)
    os.closerange(CONTROL + 1, _DESCRIPTORS)


def _seed() -> None:
    """Have each process draw other random numbers: all are copies of one."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _read_all(control: socket.socket) -> str:
    pieces = []
    while piece := control.recv(MESSAGE_BYTES):
        pieces.append(piece)
    return b"".join(pieces).decode("utf-8")


if __name__ == "__main__":
    main()
