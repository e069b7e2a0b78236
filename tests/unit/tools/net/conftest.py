"""Every connection that is tried, seen by the interpreter itself; and a server to go to."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from tests.fakes.http_target import CountingTarget

_SEEN: Final[list[list[tuple[str, int]]]] = []
"""Where connections are written down at the moment; an audit hook can never be taken out again."""


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _SEEN and isinstance(args[1], tuple):
        _SEEN[-1].append((str(args[1][0]), int(args[1][1])))


@pytest.fixture(scope="session")
def _hook() -> None:
    sys.addaudithook(_note)


@pytest.fixture
def connects(_hook: None) -> Iterator[list[tuple[str, int]]]:
    """Return each address and port to which a connection was tried, as they come."""
    seen: list[tuple[str, int]] = []
    _SEEN.append(seen)
    yield seen
    _SEEN.remove(seen)


@pytest.fixture
async def target() -> AsyncIterator[CountingTarget]:
    """Run a server that counts what is sent to it."""
    async with CountingTarget() as running:
        yield running
