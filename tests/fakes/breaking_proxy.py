"""A proxy before the product that breaks connections where a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE = 65_536


class BreakingProxy:
    """Passes on what comes; each connection ends after as many bytes of answers as `breaks` says, in order."""

    def __init__(self, target: str, breaks: Iterable[int | None] = ()) -> None:
        self._target = urlsplit(target)
        self._breaks = iter(breaks)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.requests = b""

    @property
    def base_url(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections there are."""
        for task in self._tasks:
            task.cancel()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        left = next(self._breaks, None)
        try:
            there = await asyncio.open_connection(self._target.hostname, self._target.port)
            asking = asyncio.create_task(self._ask(reader, there[1]))
            try:
                await _answer(there[0], writer, left)
            finally:
                asking.cancel()
                await _closed(there[1])
        except (OSError, asyncio.CancelledError):
            left = 0
        finally:
            await _closed(writer, gently=left is None)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                self.requests += piece
                writer.write(piece)
                await writer.drain()


async def _closed(writer: asyncio.StreamWriter, *, gently: bool = False) -> None:
    writer.close() if gently else writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
) -> None:
    while left is None or left > 0:
        piece = await reader.read(PIECE if left is None else min(left, PIECE))
        if not piece:
            return
        writer.write(piece)
        await writer.drain()
        left = None if left is None else left - len(piece)
