"""The self-test's program: tries what no program may do, and says what worked. Runs confined only."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys

AIMS = {}  # filled in by the self-test


def read(path):
    with open(path) as file:
        return file.read()


def write(path):
    with open(path, "w") as file:
        file.write("x")


def send_to_the_log():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        return True


def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def attach():
    # PTRACE_SEIZE stops nobody; refused calls return -1.
    if ctypes.CDLL(None).ptrace(0x4206, AIMS["service"], 0, 0) != 0:
        raise PermissionError


def map_memory():
    with open(f"/proc/{AIMS['service']}/mem", "rb"):
        return True


ATTEMPTS = {
    "read a file outside the workspace": lambda: read(AIMS["secret_file"]),
    "wrote a file outside the workspace": lambda: write(AIMS["written_file"]),
    "read the service's environment": lambda: read(f"/proc/{AIMS['service']}/environ"),
    "read the users of the machine": lambda: read("/etc/passwd"),
    "opened the service's memory": map_memory,
    "attached to the service": attach,
    "signalled the service": lambda: os.kill(AIMS["service"], 0),
    "signalled every process": lambda: os.kill(-1, 0),
    "made a network socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
    "connected to the loopback interface": lambda: socket.create_connection(
        ("127.0.0.1", AIMS["port"]), 1
    ).close(),
    "made a unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
    "made a socket that can send to any path": send_to_the_log,
    "made a process": fork,
    "started a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "made a link": lambda: os.symlink("/etc/passwd", "link"),
    "made a pipe with a name": lambda: os.mkfifo("fifo"),
}


def main():
    succeeded = []
    for name, attempt in ATTEMPTS.items():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            attempt()
            succeeded.append(name)
    if any("SIGNALBOX" in key or "KEY" in key for key in os.environ):
        succeeded.append("found the service's environment in its own")
    try:
        write("own.txt")
        os.mkdir("folder")
        os.replace("own.txt", "folder/own.txt")
        worked = read("folder/own.txt") == "x" and sum(range(10)) == 45
    except Exception as error:
        worked = repr(error)
    print(json.dumps({"succeeded": succeeded, "worked": worked}))


signal.signal(signal.SIGTERM, signal.SIG_DFL)
main()
