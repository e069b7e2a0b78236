"""Checkpoints that live as long as the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langgraph.checkpoint.memory import InMemorySaver

from domain.run import Run
from service.checkpoints.base import Saver


class MemoryCheckpoints:
    """`service.checkpoints.base.Checkpoints` in memory."""

    def __init__(self) -> None:
        self.saver: Saver = InMemorySaver()

    @asynccontextmanager
    async def segment(self, run: Run) -> AsyncIterator[Saver]:
        """Yield the one saver there is."""
        del run
        yield self.saver

    async def settle(self, run_id: str) -> None:
        """Return at once: there is nothing to wait for."""

    async def flush(self, run_id: str) -> None:
        """Return at once."""
