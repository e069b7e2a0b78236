"""The self-test's program: tries what no program may do, and prints what worked. It is run confined only."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

AIMS: dict[str, Any] = {}  # filled in by the self-test


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("x")


def _pair_datagram_sockets() -> None:
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()


def _make_process() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _attach() -> None:
    seize = 0x4206  # of ptrace's requests the one that stops nobody
    if ctypes.CDLL(None).ptrace(seize, AIMS["service"], 0, 0) != 0:
        raise PermissionError


def _open_memory() -> None:
    with open(f"/proc/{AIMS['service']}/mem", "rb"):
        return


def _connect() -> None:
    socket.create_connection(("127.0.0.1", AIMS["port"]), 1).close()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "read a file outside the workspace": lambda: _read(AIMS["secret_file"]),
    "wrote a file outside the workspace": lambda: _write(AIMS["written_file"]),
    "read the service's environment": lambda: _read(f"/proc/{AIMS['service']}/environ"),
    "read the users of the machine": lambda: _read("/etc/passwd"),
    "opened the service's memory": _open_memory,
    "attached to the service": _attach,
    "signalled the service": lambda: os.kill(AIMS["service"], 0),
    "signalled every process": lambda: os.kill(-1, 0),
    "made a network socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
    "connected to the loopback interface": _connect,
    "made a unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
    "made sockets that can send to any path": _pair_datagram_sockets,
    "made a process": _make_process,
    "started a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "made a link": lambda: os.symlink("/etc/passwd", "link"),
    "made a pipe with a name": lambda: os.mkfifo("fifo"),
}


def _work() -> bool:
    """Do what every program may."""
    os.mkdir("folder")
    _write("folder/own.txt")
    # Not into another folder: the first version of Landlock, of Linux 5.13, refuses that.
    os.replace("folder/own.txt", "folder/renamed.txt")
    return _read("folder/renamed.txt") == "x"


def main() -> None:
    """Try everything and print what worked, and whether an ordinary program does."""
    succeeded = []
    for name, attempt in ATTEMPTS.items():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            attempt()
            succeeded.append(name)
    if any("SIGNALBOX" in name or "KEY" in name for name in os.environ):
        succeeded.append("found the service's environment in its own")
    worked: bool | str
    try:
        worked = _work()
    except Exception as error:  # noqa: BLE001 - whatever does not work is to be told
        worked = repr(error)
    print(json.dumps({"succeeded": succeeded, "worked": worked}))


if __name__ == "__main__":
    main()
