"""Work that several runs of a process need at once, moment by moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final, cast

from domain.caching import Piece, Work
from domain.ports import RunRef
from domain.run import RunContext
from service.cache import StoredWork
from service.store.cache import Kept

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
PIECE: Final = Piece(kind="assignment", about={"task": "Do it"})


class Clock:
    def now(self) -> datetime:
        return NOW


class Slow:
    """A store whose second reading says what it has seen only when it is let."""

    def __init__(self) -> None:
        self.kept: Kept | None = None
        self.reads = 0
        self.reading = asyncio.Event()
        self.answer = asyncio.Event()

    async def find(self, ref: RunRef, key: str, **about: Any) -> Kept | None:
        del ref, key, about
        seen = self.kept
        self.reads += 1
        if self.reads == 2:
            self.reading.set()
            await self.answer.wait()
        return seen

    async def put(self, ref: RunRef, key: str, kind: str, value: Any, **about: Any) -> None:
        del key, kind, about
        self.kept = Kept(value, ref.run_id, NOW, web=False)


async def test_what_ends_while_the_store_is_read_is_not_done_again() -> None:
    work, store = StoredWork(Clock()), Slow()
    begun, done = asyncio.Event(), asyncio.Event()
    work.store = cast("Any", store)
    made: list[str] = []

    def making(name: str) -> Any:
        async def make() -> Work:
            made.append(name)
            begun.set()
            await done.wait()
            return Work({"by": name})

        return make

    def asking(name: str) -> Any:
        context = RunContext(run_id=name, cache_seconds=60)
        return asyncio.create_task(work.cached(context, PIECE, making(name)))

    async with asyncio.timeout(10):
        first = asking("run_1")
        await begun.wait()
        second = asking("run_2")
        await store.reading.wait()
        done.set()
        await first
        store.answer.set()
        had = await second
    assert (made, had.run_id, had.value) == (["run_1"], "run_1", {"by": "run_1"})
