"""A reader is told of every stored event, also of those whose writer did not come to tell of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from domain.events import Event
from domain.ports import RunRef, RunStore
from service.events import follow
from service.hub import EventHub
from service.notices import Notice
from service.wire import PostgresWire

RUN = "run_1"
SECONDS = 10.0


def make_event(seq: int) -> Event:
    return Event(
        seq=seq,
        type="usage.updated",
        run_id=RUN,
        ts=datetime(2030, 1, 1, tzinfo=UTC),
        agent=None,
        path=None,
        round=0,
        attempt=1,
        data={},
        key=str(seq),
    )


class Stored:
    """The events of one run as they are in a store."""

    def __init__(self, last: int) -> None:
        self.events_so_far = [make_event(seq) for seq in range(1, last + 1)]

    def grow(self, last: int) -> None:
        first = len(self.events_so_far) + 1
        self.events_so_far += [make_event(seq) for seq in range(first, last + 1)]

    async def events(
        self, ref: RunRef, *, after: int, limit: int, types: object = None
    ) -> list[Event]:
        return self.events_so_far[after : after + limit]


class Following:
    """A reader and the numbers it was told."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.changed = asyncio.Event()

    async def until(self, enough: Callable[[list[int]], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not enough(self.told):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def following(hub: EventHub, stored: Stored) -> AsyncIterator[Following]:
    reader = Following()

    async def read() -> None:
        store = cast("RunStore", stored)
        async for page in follow(store, hub, RunRef("default", RUN), after=0):
            reader.told += [notice.seq for notice in page if notice.seq]
            reader.changed.set()

    task = asyncio.create_task(read())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_hole_in_what_other_processes_tell_is_read_from_the_store() -> None:
    """A stopping worker's last events are heard of after those of the worker that went on."""
    hub, stored = EventHub(), Stored(22)
    wire = PostgresWire("", hub, cast("Any", stored), cast("Any", None))
    async with following(hub, stored) as reader:
        await reader.until(lambda told: len(told) == 22)
        stored.grow(26)
        await wire._hear_item(["e", RUN, 26, 26])
        await wire._hear_item(["e", RUN, 23, 25])
        await reader.until(lambda told: len(told) == 26)
    assert reader.told == list(range(1, 27))


async def test_a_hole_before_what_is_told_here_is_read_from_the_store() -> None:
    """The run is taken over by the process at which it is followed."""
    hub, stored = EventHub(), Stored(22)
    async with following(hub, stored) as reader:
        await reader.until(lambda told: len(told) == 22)
        stored.grow(26)
        hub.publish(RUN, [Notice(stored.events_so_far[-1])])
        await reader.until(lambda told: len(told) == 26)
        stored.grow(27)
        hub.publish(RUN, [Notice(stored.events_so_far[-1])])
        await reader.until(lambda told: len(told) == 27)
    assert reader.told == list(range(1, 28))
