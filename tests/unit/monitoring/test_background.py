"""The thread behind a queue: what it does together, what it tries again, what it drops, and that it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from monitoring import background
from monitoring.background import MOST, Background

BOUND = 10.0


class Doing:
    """Does items, or fails, as the test says; stands still while it is held."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.done: list[list[int]] = []
        self.errors: list[Exception] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, items: list[int]) -> float | None:
        """Do them."""
        self.begun.set()
        assert self.go.wait(BOUND)
        if items and self.failures:
            self.failures -= 1
            msg = "away"
            raise ConnectionError(msg)
        self.done.append(list(items))
        return None


@contextmanager
def running(doing: Doing) -> Iterator[Background[int]]:
    """Run a thread for a test."""
    queue = Background[int]("test", doing, doing.errors.append)
    queue.start()
    yield queue
    doing.go.set()
    queue.stop(BOUND)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a pause be short: how long it is is a matter of taste."""
    monkeypatch.setattr(background, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(background, "AWAY_SECONDS", 0.0)


def test_what_waits_is_done_together_before_the_end() -> None:
    doing = Doing()
    doing.go.clear()
    with running(doing) as queue:
        assert doing.begun.wait(BOUND)  # with nothing to do yet
        for item in range(3):
            queue.put(item)
        doing.go.set()
        assert queue.stop(BOUND) == 0
    assert doing.done == [[], [0, 1, 2]]


def test_whoever_stands_still_is_not_waited_for() -> None:
    """Neither by those who put something, of which the last is dropped, nor by the end."""
    doing = Doing()
    doing.go.clear()
    with running(doing) as queue:
        assert doing.begun.wait(BOUND)
        for item in range(MOST + 5):
            queue.put(item)
        assert queue.is_full
        assert queue.stop(0.01) == MOST + 5
        queue.put(1)
        assert queue.dropped == MOST + 6


@pytest.mark.usefixtures("_quick")
def test_what_fails_is_tried_again() -> None:
    """In order, and once it succeeds nobody is away."""
    doing = Doing(failures=2)
    with running(doing) as queue:
        queue.put(1)
        doing.begun.clear()
        while not any(doing.done):
            assert doing.begun.wait(BOUND)
    assert [items for items in doing.done if items] == [[1]]
    assert len(doing.errors) == 2
    assert not queue.is_away


@pytest.mark.usefixtures("_quick")
def test_who_fails_again_and_again_is_away_and_the_items_are_dropped() -> None:
    doing = Doing(failures=10**6)
    with running(doing) as queue:
        queue.put(1)
        while not queue.is_away:
            assert doing.begun.wait(BOUND)
        queue.put(2)
    assert queue.dropped == 2
    assert not any(doing.done)
