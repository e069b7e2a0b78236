"""When a process that shares its runs with others says that they may wait in vain."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from domain.dispatch import Workers
from domain.ports import RunRef
from service.dispatch.queue import QueueDispatcher


class Seen:
    """A watch that sees what it is told to."""

    def __init__(self) -> None:
        self.now = Workers(alive=True, waiting=False, busy=False)
        self.asked: list[tuple[str, float]] = []

    async def orphans(self, *, limit: int) -> list[RunRef]:
        raise NotImplementedError

    async def executing(self, refs: Sequence[RunRef]) -> list[RunRef]:
        raise NotImplementedError

    async def workers(self, *, queue: str, seconds: float) -> Workers:
        self.asked.append((queue, seconds))
        return self.now


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def dispatcher(seen: Seen) -> QueueDispatcher:
    queue = SimpleNamespace(name="runs", takeover_seconds=8.0)
    nothing = cast("Any", None)
    return QueueDispatcher(
        cast("Any", queue), seen, nothing, max_concurrent=1, tell_cancelled=nothing
    )


async def test_without_any_worker_runs_wait_in_vain(
    dispatcher: QueueDispatcher, seen: Seen
) -> None:
    assert await dispatcher.trouble() is None
    seen.now = Workers(alive=False, waiting=False, busy=False)
    assert str(await dispatcher.trouble()).startswith("no worker is alive")
    assert seen.asked == [("runs", 8.0)] * 2


async def test_runs_that_nobody_takes_for_a_while_have_no_worker_of_theirs(
    dispatcher: QueueDispatcher, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are alive may have another engine. As long as one works, the others wait their turn."""
    seen.now = Workers(alive=True, waiting=True, busy=False)
    assert await dispatcher.trouble() is None
    monkeypatch.setattr("service.dispatch.queue.UNTOUCHED_SECONDS", 0.0)
    assert "no worker takes any" in str(await dispatcher.trouble())
    seen.now = Workers(alive=True, waiting=True, busy=True)
    assert await dispatcher.trouble() is None
    monkeypatch.setattr("service.dispatch.queue.UNTOUCHED_SECONDS", 60.0)
    seen.now = Workers(alive=True, waiting=True, busy=False)
    assert await dispatcher.trouble() is None
