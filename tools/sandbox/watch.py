"""Watches one confined program: reads what it shows, ends it at its limits, says what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from time import perf_counter
from typing import Any, Final, cast

from domain.errors import ToolFailedError
from domain.sandbox import CodeFault, CodeLimits, CodeResult, Limit
from tools.sandbox.confined.lockdown import REFUSED, Rules
from tools.sandbox.fill import measure
from tools.sandbox.fork_server import Ended, ForkServer, program_environment
from tools.sandbox.output import TOO_MUCH_OUTPUT, cleaned

POLL_SECONDS: Final = 0.1
"""How often the workspace is measured while a program runs, and so how long it may overshoot."""

ANSWER_BYTES: Final = 256 * 1024
READ_BYTES: Final = 64 * 1024

NOT_RUN: Final = "The program was not run: "

_END_SECONDS: Final = 5.0
"""How long a killed process may take to be gone."""


async def run_watched(
    server: ForkServer, code: str, workspace: Path, rules: Rules, limits: CodeLimits
) -> CodeResult:
    """Run a program to its end or its limit. Raises `ForkServerError`, and `ToolFailedError` where the
    program could not be confined and so was not run."""
    started = perf_counter()
    watch = _Watch(limits)
    descriptors = watch.open()
    try:
        try:
            number, ended = server.run(rules, program_environment(workspace), descriptors)
        finally:
            watch.close_their_ends()
        try:
            limit = await _attend(server, number, ended, watch, code, workspace, limits)
        except BaseException:
            # Cancelled, or failed: nothing of it may be left running.
            server.kill(number)
            with contextlib.suppress(Exception):
                await asyncio.shield(asyncio.wait({ended}, timeout=_END_SECONDS))
            raise
        watch.read_rest()
    finally:
        watch.close()
    wall_ms = round((perf_counter() - started) * 1000)
    return _result(watch, ended.result(), limit, limits, wall_ms)


async def _attend(
    server: ForkServer,
    number: int,
    ended: asyncio.Future[Ended],
    watch: _Watch,
    code: str,
    workspace: Path,
    limits: CodeLimits,
) -> Limit | None:
    """Return when the program has ended: which limit ended it, or `None`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + limits.wall_seconds
    before = await asyncio.to_thread(measure, workspace)
    sending = asyncio.ensure_future(watch.send(code))
    limit: Limit | None = None
    try:
        while not ended.done():
            pause = min(POLL_SECONDS, max(until - loop.time(), 0))
            ends: set[asyncio.Future[Any]] = {ended, watch.flooded}
            await asyncio.wait(ends, timeout=pause, return_when="FIRST_COMPLETED")
            if sending.done():
                sending.result()
            if ended.done():
                break
            if watch.flooded.done():
                limit = "output"
            elif loop.time() >= until:
                limit = "wall_time"
            else:
                now = await asyncio.to_thread(measure, workspace)
                limit = "disk" if now.beyond(limits, before) else None
            if limit:
                server.kill(number)
                await asyncio.wait_for(asyncio.shield(ended), _END_SECONDS)
        ended.result()
    finally:
        sending.cancel()
    if limit is None and watch.flooded.done():
        # Nobody reads it any more, which may have ended it before we did.
        limit = "output"
    if limit is None and (await asyncio.to_thread(measure, workspace)).beyond(limits, before):
        limit = "disk"
    return limit


class _Stream:
    """The beginning and the end of what a program writes; what lies between is counted and dropped."""

    def __init__(self, kept: int) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        # Results begin with what matters, errors end with it.
        self._room = kept * 3 // 4
        self._last = kept - self._room
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._room - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -self._last]

    def text(self) -> str:
        left_out = self.total - len(self._head) - len(self._tail)
        note = f"\n[{left_out} bytes left out]\n".encode() if left_out else b""
        return cleaned((self._head + note + self._tail).decode("utf-8", "replace"))


class _Watch:
    """The service's ends of a program's outputs and control socket."""

    def __init__(self, limits: CodeLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = limits.stream_bytes * TOO_MUCH_OUTPUT
        self.stdout = _Stream(limits.stream_bytes)
        self.stderr = _Stream(limits.stream_bytes)
        self.answer = bytearray()
        self.flooded: asyncio.Future[None] = self._loop.create_future()
        self._sinks: dict[int, _Stream | bytearray] = {}
        self._theirs: list[int] = []
        self._control: socket.socket | None = None

    def open(self) -> list[int]:
        """Return the program's ends: standard output, standard error, control."""
        for stream in (self.stdout, self.stderr):
            ours, theirs = os.pipe()
            self._theirs.append(theirs)
            self._listen(ours, stream)
        control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        control.setblocking(False)  # noqa: FBT003 - its only argument
        self._control = control
        self._theirs.append(other.detach())
        self._listen(control.fileno(), self.answer)
        return self._theirs

    def close_their_ends(self) -> None:
        """Close the program's ends here, so that they end with the program."""
        while self._theirs:
            os.close(self._theirs.pop())

    async def send(self, code: str) -> None:
        """Give the program its text."""
        control = cast("socket.socket", self._control)
        with contextlib.suppress(ConnectionError):  # it may have been ended before it read
            await self._loop.sock_sendall(control, code.encode("utf-8"))
            control.shutdown(socket.SHUT_WR)

    def read_rest(self) -> None:
        """Read what a program has left that has ended."""
        for fd in list(self._sinks):
            while fd in self._sinks and self._read(fd):
                pass

    def close(self) -> None:
        """Close everything."""
        self.close_their_ends()
        control = self._control.fileno() if self._control else -1
        for fd in list(self._sinks):
            self._forget(fd)
        if self._control is not None and control >= 0:
            self._control.close()
        self.flooded.cancel()

    def _listen(self, fd: int, sink: _Stream | bytearray) -> None:
        os.set_blocking(fd, False)
        self._sinks[fd] = sink
        self._loop.add_reader(fd, self._read, fd)

    def _read(self, fd: int) -> bool:
        """Read a piece; return whether there may be more."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._forget(fd)
            return False
        sink = self._sinks[fd]
        if isinstance(sink, _Stream):
            sink.add(data)
            too_much = sink.total > self._most
        else:
            sink += data
            too_much = len(sink) > ANSWER_BYTES
        if too_much:
            if not self.flooded.done():
                self.flooded.set_result(None)
            # What comes until it is dead is not even looked at.
            self._forget(fd)
            return False
        return True

    def _forget(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        del self._sinks[fd]
        if self._control is None or fd != self._control.fileno():
            os.close(fd)


def _result(
    watch: _Watch, ended: Ended, limit: Limit | None, limits: CodeLimits, wall_ms: int
) -> CodeResult:
    answer = _read_answer(bytes(watch.answer), ended)
    limit = limit or ended.limit
    if limit is None:
        limit = _limit_of(ended, limits) if answer is None else None
    fault = None if limit else _fault_of(answer, ended)
    return CodeResult(
        value=_text_of(answer or {}, "value"),
        stdout=watch.stdout.text(),
        stderr=watch.stderr.text(),
        fault=fault,
        limit=limit,
        wall_ms=wall_ms,
        cpu_ms=ended.cpu_ms,
        peak_kb=ended.peak_kb,
    )


def _read_answer(data: bytes, ended: Ended) -> dict[str, Any] | None:
    """Return what the process says came of its program. The program may have written it itself."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    if ended.status == REFUSED and "refused" in answer:
        message = f"{NOT_RUN}{_text_of(answer, 'refused')[:300]}."
        raise ToolFailedError(message)
    return answer


def _limit_of(ended: Ended, limits: CodeLimits) -> Limit | None:
    """Return the limit at which the kernel ended a process."""
    spent = ended.cpu_ms >= limits.cpu_seconds * 1000
    if ended.status == -signal.SIGXCPU or (ended.status == -signal.SIGKILL and spent):
        return "cpu_time"
    return "file_size" if ended.status == -signal.SIGXFSZ else None


def _fault_of(answer: dict[str, Any] | None, ended: Ended) -> CodeFault | None:
    if answer is None:
        how = f"exit status {ended.status}" if ended.status >= 0 else _name_signal(-ended.status)
        return CodeFault("Crash", f"the interpreter ended in the middle of the program ({how})")
    fault = answer.get("fault")
    if not isinstance(fault, dict):
        return None
    return CodeFault(*(_text_of(fault, name) for name in CodeFault._fields))


def _text_of(answer: dict[str, Any], name: str) -> str:
    """Return a text of an answer; whatever else a program has put in its place is dropped."""
    text = answer.get(name)
    return cleaned(text) if isinstance(text, str) else ""


def _name_signal(number: int) -> str:
    # Of the real-time signals only two have a name.
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
