"""A child process with a clean environment, a time limit, capped output, and no survivors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast

STREAM_BYTES: Final = 64 * 1024
"""How much of a child's standard error is kept, and of its standard output where nothing else is said."""

CLOSE_SECONDS: Final = 2.0
"""How long to wait for a dead child's pipes: a process that left the group may hold them open."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to start, and where."""

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    """The child's whole environment: nothing is inherited."""
    stdin: bytes = b""
    wall_seconds: float
    stdout_bytes: int = STREAM_BYTES
    """How much of its standard output is kept."""


class Finished(NamedTuple):
    """How a child ended and what it wrote."""

    status: int
    """Exit status; negative for the signal that ended it."""
    stdout: str
    stderr: str


class _Captured:
    """The first or the last bytes of a stream; the rest is counted and dropped."""

    def __init__(self, limit: int, *, tail: bool) -> None:
        self._kept = bytearray()
        self._limit = limit
        self._tail = tail
        self._dropped = 0

    def add(self, data: bytes) -> None:
        if self._tail:
            self._kept += data
            surplus = max(0, len(self._kept) - self._limit)
            del self._kept[:surplus]
        else:
            room = self._limit - len(self._kept)
            self._kept += data[:room]
            surplus = max(0, len(data) - room)
        self._dropped += surplus

    def text(self) -> str:
        kept = self._kept.decode("utf-8", "replace")
        if not self._dropped:
            return kept
        note = f"[{self._dropped} bytes left out]"
        return f"{note}\n{kept}" if self._tail else f"{kept}\n{note}"


class _Watch(asyncio.SubprocessProtocol):
    """Collects a child's output and tells its exit apart from the end of its pipes.

    `asyncio.subprocess.Process.wait` returns only when every pipe is closed, and a grandchild that
    was left behind keeps them open.
    """

    def __init__(self, stdout_bytes: int) -> None:
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        # Errors end with what matters (the traceback's last line), results begin with it.
        self.streams = {
            1: _Captured(stdout_bytes, tail=False),
            2: _Captured(STREAM_BYTES, tail=True),
        }

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.streams[fd].add(data)

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed.set()


async def run_command(command: Command) -> Finished:
    """Run a command to its end; raise `TimeoutError` at its limit. Its process group is killed."""
    loop = asyncio.get_running_loop()
    transport, watch = await loop.subprocess_exec(
        lambda: _Watch(command.stdout_bytes),
        *command.argv,
        cwd=command.folder,
        env=dict(command.environment),
        start_new_session=True,
    )
    try:
        _feed(transport, command.stdin)
        async with asyncio.timeout(command.wall_seconds):
            await watch.exited.wait()
        status = transport.get_returncode()
    finally:
        _kill_group(transport.get_pid())
        # Cancellation must not leave a zombie; this wait is short because everything is dead.
        await asyncio.shield(_close(transport, watch))
    return Finished(
        status=status if status is not None else -signal.SIGKILL,
        stdout=watch.streams[1].text(),
        stderr=watch.streams[2].text(),
    )


def _feed(transport: asyncio.SubprocessTransport, data: bytes) -> None:
    # A cast, because the transports of uvloop do not inherit from those of asyncio.
    pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
    pipe.write(data)
    # A plain `close` would drop what is still buffered on some event loops.
    pipe.write_eof()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _close(transport: asyncio.SubprocessTransport, watch: _Watch) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await watch.exited.wait()
            await watch.closed.wait()
    except TimeoutError:
        pass
    finally:
        transport.close()
