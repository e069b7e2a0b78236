"""The housekeeper does its chores again and again, whatever becomes of one of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.checkpoints import MemoryCheckpoints
from service.housekeeper import AGAIN_AND_AGAIN, Chore, Forgetting, Housekeeper, Retention
from service.ids import SystemClock
from service.store import open_store
from service.store.housekeeping import SqlRunKeeper

SECONDS = 5.0


@asynccontextmanager
async def keeping(*chores: Chore) -> AsyncIterator[Housekeeper]:
    housekeeper = Housekeeper(chores)
    housekeeper.start()
    try:
        async with asyncio.timeout(SECONDS):
            yield housekeeper
    finally:
        await housekeeper.stop()
    assert not housekeeper.alive


class Calls:
    """Chores that say when they are done."""

    def __init__(self) -> None:
        self.done: asyncio.Queue[str] = asyncio.Queue()

    def chore(self, name: str, seconds: float, *returns: Any) -> Chore:
        """Return a chore that returns one thing after the other, or raises it, and then nothing."""
        waiting = list(returns)

        async def do() -> bool | None:
            self.done.put_nowait(name)
            result = waiting.pop(0) if waiting else None
            if isinstance(result, Exception):
                raise result
            return bool(result)

        return Chore(name=name, seconds=seconds, do=do)

    async def take(self, number: int) -> list[str]:
        return [await self.done.get() for _ in range(number)]


async def test_every_chore_is_done_at_once_and_then_at_its_own_pace() -> None:
    calls = Calls()
    async with keeping(calls.chore("often", 0.0), calls.chore("seldom", 3600.0)):
        assert (await calls.take(9)).count("seldom") == 1


async def test_a_chore_with_more_to_do_goes_on_soon() -> None:
    calls = Calls()
    async with keeping(calls.chore("long", 3600.0, True, True)) as housekeeper:
        assert await calls.take(3) == ["long"] * 3
        assert housekeeper.alive


async def test_a_chore_that_fails_is_logged_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = Calls()
    bad = calls.chore("bad", 0.001, LookupError("first"), LookupError("second"))
    with caplog.at_level(logging.ERROR):
        async with keeping(bad, calls.chore("good", 0.0)) as housekeeper:
            names: list[str] = []
            while names.count("bad") < 4:
                names += await calls.take(1)
            assert housekeeper.alive
    assert "good" in names
    said = [record.getMessage() for record in caplog.records]
    assert said == ["A chore failed (bad); it is tried again."] * 2
    assert [bool(record.exc_info) for record in caplog.records] == [True, False], "the trace once"


async def test_a_chore_that_hangs_does_not_hold_up_the_end() -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with keeping(Chore(name="hang", seconds=1.0, do=hang)):
        await begun.wait()


async def test_without_chores_there_is_nothing_to_stop() -> None:
    async with keeping() as housekeeper:
        assert not housekeeper.alive


class At:
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


def retention(runs: float, events: float, checkpoints: float) -> Retention:
    return Retention.of_days(runs=runs, events=events, checkpoints=checkpoints)


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        (retention(90, 30, 7), {"prune", "clear", "delete", "sweep folders"}),
        (retention(0, 30, 7), {"prune", "clear"}),
        (retention(90, 0, 7), {"prune", "delete", "sweep folders"}),
        (retention(90, 30, 0), {"clear", "delete", "sweep folders"}),
    ],
)
async def test_what_is_kept_for_ever_is_no_chore(
    kept: Retention, names: set[str], tmp_path: Path
) -> None:
    async with open_store("memory://") as store:
        keeper = SqlRunKeeper(store.database)
        always = {"trim", "expire keys"}
        forgetting = Forgetting(keeper, SystemClock(), kept, folders=[tmp_path])
        assert {chore.name for chore in forgetting.chores()} == always | names
        forgetting = Forgetting(
            keeper,
            SystemClock(),
            kept,
            folders=[tmp_path],
            memory=MemoryCheckpoints(store.database, SystemClock()),
        )
        swept = {"sweep folders"}
        assert {chore.name for chore in forgetting.chores()} == always | names - swept


async def test_every_chore_bears_an_empty_database_and_no_folder(tmp_path: Path) -> None:
    now = datetime.now(UTC) + timedelta(days=36_500)
    async with open_store("memory://") as store:
        forgetting = Forgetting(
            SqlRunKeeper(store.database),
            At(now),
            retention(36_500, 36_500, 36_500),
            folders=[tmp_path / "none"],
        )
        dos: list[Callable[[], Awaitable[bool | None]]] = [c.do for c in forgetting.chores()]
        assert [await do() for do in dos] == [False] * 6


async def test_a_chore_that_fails_again_and_again_is_named_until_it_is_done() -> None:
    calls = Calls()
    faults = [OSError() for _ in range(AGAIN_AND_AGAIN + 1)]
    async with keeping(calls.chore("sweep", 0.001, *faults)) as housekeeper:
        await calls.take(1)
        assert housekeeper.failing() == []
        await calls.take(AGAIN_AND_AGAIN)
        assert housekeeper.failing() == ["sweep"]
        await calls.take(2)
        assert housekeeper.failing() == []
