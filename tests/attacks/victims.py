"""What attacks are aimed at: real files, sockets and processes, and what has been done to them."""

from __future__ import annotations

import hashlib
import os
import resource
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

RECORDED: Final = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGIO, signal.SIGHUP, signal.SIGTERM, signal.SIGURG),
    *(signal.SIGALRM, signal.SIGCONT, signal.SIGPIPE),
)

KEY: Final = "OPENAI_API_KEY"


class Victims:
    """Everything an attack could harm, each with a mark that nobody else has."""

    def __init__(self, server_files: list[Path]) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="attacks-")).resolve()
        self.data = self.base / "data"
        self.other = self.data / "workspaces" / "tenant" / "run_other"
        self.other.mkdir(parents=True, mode=0o700)
        self.secrets = {
            name: f"secret-{name}-{secrets.token_hex(8)}" for name in ("env", "db", "run")
        }
        self.secrets["key"] = os.environ[KEY]
        self.dotenv = self.base / ".env"
        self.dotenv.write_text(f"{KEY}={self.secrets['env']}\n")
        self.database = self.data / "signalbox.db"
        with sqlite3.connect(self.database) as db:
            db.execute("CREATE TABLE runs (task TEXT)")
            db.execute("INSERT INTO runs VALUES (?)", (self.secrets["db"],))
        db.close()
        (self.other / "notes.txt").write_text(self.secrets["run"])
        self.watched = [
            self.dotenv,
            self.database,
            self.other,
            self.other / "notes.txt",
            *server_files,
        ]
        self.sockets = self._listen()
        self.signals: list[int] = []
        for number in RECORDED:
            signal.signal(number, lambda got, _: self.signals.append(got))
        self.process = _start_victim()
        self.before = self._condition()

    def aims(self) -> dict[str, Any]:
        """Return what a program is told about its victims."""
        sockets = self.sockets
        return {
            "base": str(self.base),
            "dotenv": str(self.dotenv),
            "database": str(self.database),
            "other": str(self.other),
            "tcp": sockets["tcp"].getsockname()[1],
            "udp": sockets["udp"].getsockname()[1],
            **{name: sockets[name].getsockname() for name in sockets if "_" in name},
            "service": os.getpid(),
            "victim": self.process.pid,
        }

    def find_harm(self, shown: str) -> list[str]:
        """Return what has happened since the last look; the victims are whole again afterwards."""
        harm = [f"{name} leaked" for name, secret in self.secrets.items() if secret in shown]
        harm += [f"{name} was reached" for name in self._reached()]
        harm += [f"signal {number} came" for number in self.signals]
        self.signals.clear()
        now = self._condition()
        changed = [what for what, value in now.items() if value != self.before[what]]
        harm += [f"{what} changed" for what in changed]
        if changed:
            self._mend()
            self.before = self._condition()
        harm += [f"{path} was made" for path in self._made()]
        return harm

    def _mend(self) -> None:
        """Let the victims be reached again by whom they belong to."""
        for path in (self.other, self.dotenv, self.database, self.other / "notes.txt"):
            with suppress(OSError):
                path.chmod(0o700)
        if self.process.poll() is not None:
            self.process = _start_victim()

    def close(self) -> None:
        """Take everything away."""
        self.process.kill()
        self.process.wait()
        for sock in self.sockets.values():
            sock.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def _listen(self) -> dict[str, socket.socket]:
        inet, unix = socket.AF_INET, socket.AF_UNIX
        places: dict[str, tuple[int, int, Any]] = {
            "tcp": (inet, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "udp": (inet, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "stream_path": (unix, socket.SOCK_STREAM, str(self.base / "docker.sock")),
            "datagram_path": (unix, socket.SOCK_DGRAM, str(self.base / "log")),
            "stream_abstract": (unix, socket.SOCK_STREAM, f"\0attacks-{os.getpid()}-s"),
            "datagram_abstract": (unix, socket.SOCK_DGRAM, f"\0attacks-{os.getpid()}-d"),
        }
        opened = {}
        for name, (family, kind, address) in places.items():
            sock = socket.socket(family, kind)
            sock.bind(address)
            if kind == socket.SOCK_STREAM:
                sock.listen(64)
            sock.setblocking(False)
            opened[name] = sock
        return opened

    def _reached(self) -> list[str]:
        reached = []
        for name, sock in self.sockets.items():
            with suppress(BlockingIOError):
                while True:
                    if sock.type == socket.SOCK_STREAM:
                        sock.accept()[0].close()
                    else:
                        sock.recv(4096)
                    reached.append(name)
        return reached

    def _condition(self) -> dict[str, Any]:
        found: dict[str, Any] = {str(path): _look(path) for path in self.watched}
        for name, pid in (("service", os.getpid()), ("victim", self.process.pid)):
            with suppress(ProcessLookupError):
                found[f"limits of {name}"] = [resource.prlimit(pid, n) for n in range(16)]
                found[f"schedule of {name}"] = (
                    os.sched_getaffinity(pid),
                    os.getpriority(os.PRIO_PROCESS, pid),
                    os.sched_getscheduler(pid),
                )
        found["victim"] = self.process.poll()
        return found

    def _made(self) -> list[Path]:
        places = [self.base, self.other, self.data / "workspaces" / "tenant", Path("/tmp")]
        places += [Path("/var/tmp"), Path("/dev/shm")]
        found = []
        for place in places:
            for name in ("made-by-an-attack", "made-by-an-attack-too", "attack"):
                path = place / name
                if path.is_dir():
                    found.append(path)
                    path.rmdir()
                elif path.exists():
                    found.append(path)
                    path.unlink()
        return found


def _start_victim() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "3600"], stdin=subprocess.DEVNULL)


def _look(path: Path) -> Any:
    try:
        status = path.stat()
        names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        content = repr(names).encode() if path.is_dir() else path.read_bytes()
    except OSError as error:
        return repr(error)
    return (
        *(oct(status.st_mode), status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns),
        *(status.st_nlink, hashlib.sha256(content).hexdigest()),
    )


def descendants() -> dict[int, str]:
    """Return this process's children and theirs, with their names."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                text = Path(entry.path, "stat").read_text()
                name, _, rest = text.partition("(")[2].rpartition(")")
                parents[int(entry.name)] = (int(rest.split()[1]), name)
    found: dict[int, str] = {}
    edge = {os.getpid()}
    while edge:
        edge = {pid for pid, (parent, _) in parents.items() if parent in edge} - found.keys()
        found |= {pid: parents[pid][1] for pid in edge}
    return found


@contextmanager
def library(python: Path) -> Iterator[Path]:
    """Make a file among the libraries of programs, which they can read: never one that anybody needs."""
    folder = next(iter((python.parent.parent / "lib").glob("python3*/site-packages")))
    path = folder / f"victim_of_attacks_{os.getpid()}.py"
    try:
        path.write_text("victim = True\n")
    except PermissionError:
        # Not ours to make, so not the programs' to change either.
        yield folder / "six.py"
        return
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
