"""Both faces of the client, to be asked the same: one waits in a thread of its own, the other awaits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from signalbox import AsyncSignalbox, Retries, Signalbox
from tests.integration.team_script import SECONDS

QUICK = Retries(first_pause=0.001, longest_pause=0.01)
"""Nothing is waited for in tests."""


class Face:
    """A client, whichever it is."""

    def __init__(self, client: Signalbox | AsyncSignalbox) -> None:
        self.client: Any = client

    async def do(self, ask: Callable[[Any], Any]) -> Any:
        """Return what an operation comes to."""
        async with asyncio.timeout(2 * SECONDS):
            if isinstance(self.client, Signalbox):
                return await asyncio.to_thread(ask, self.client)
            return await ask(self.client)

    async def all(self, ask: Callable[[Any], Any]) -> list[Any]:
        """Return everything that an operation gives."""
        async with asyncio.timeout(2 * SECONDS):
            if isinstance(self.client, Signalbox):
                return await asyncio.to_thread(lambda: list(ask(self.client)))
            return [each async for each in ask(self.client)]


@asynccontextmanager
async def facing(kind: str, base_url: str, **options: Any) -> AsyncIterator[Face]:
    """Open one of both."""
    options.setdefault("retries", QUICK)
    if kind == "sync":
        with Signalbox(base_url, **options) as client:
            yield Face(client)
    else:
        async with AsyncSignalbox(base_url, **options) as async_client:
            yield Face(async_client)
