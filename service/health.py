"""Looks at what a server depends on: each thing for itself, all at once, none for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeVar

T = TypeVar("T")

LOOK_SECONDS: Final = 2.0
"""How long is waited for one thing."""

HOLDS_SECONDS: Final = 5.0
"""For how long it is not looked again at what is dear to look at: anybody may ask."""

HealthStatus = Literal["ok", "degraded", "down"]
"""`ok` · `degraded`: runs are accepted, and something of what they want does not work · `down`: none is accepted."""

Look = Callable[[], Awaitable[str | None]]
"""Looks at something; returns why it does not work, short and without addresses, or `None`. It may raise."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that a server depends on."""

    name: str
    look: Look
    vital: bool = False
    """Whether no run can be accepted without it."""
    holds_seconds: float = 0.0
    """For how long what was seen is taken as it was."""


class Found(NamedTuple):
    """What was seen of one thing."""

    status: HealthStatus
    detail: str | None
    seconds: float
    """That the look took."""


class Health:
    """The checks of one process. However many ask at once, each thing is looked at once."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = [_Watched(check) for check in checks]

    async def look(self) -> dict[str, Found]:
        """Return what each check says, by its name."""
        found = await asyncio.gather(*(each.found() for each in self._checks))
        return {each.check.name: one for each, one in zip(self._checks, found, strict=True)}


def worst(found: dict[str, Found]) -> HealthStatus:
    """Return what all of it comes to."""
    statuses = {each.status for each in found.values()}
    if "down" in statuses:
        return "down"
    return "degraded" if "degraded" in statuses else "ok"


class _Watched:
    """A check with what it said last."""

    def __init__(self, check: Check) -> None:
        self.check: Final = check
        self._looking: asyncio.Task[str | None] | None = None
        self._last: tuple[float, Found] | None = None

    async def found(self) -> Found:
        begun = time.monotonic()
        if self._last and begun - self._last[0] < self.check.holds_seconds:
            return self._last[1]
        looking = self._looking
        if looking is None or looking.done():
            looking = self._looking = asyncio.ensure_future(_started(self.check.look))
        trouble = await _trouble(looking)
        bad: HealthStatus = "down" if self.check.vital else "degraded"
        found = Found(bad if trouble else "ok", trouble, round(time.monotonic() - begun, 3))
        self._last = time.monotonic(), found
        return found


async def _started(look: Look) -> str | None:
    return await look()


async def _trouble(looking: asyncio.Task[str | None]) -> str | None:
    said, error = await in_time(looking)
    # The text of an error may name an address.
    return f"does not answer ({type(error).__name__})" if error else said


async def in_time(
    asked: Coroutine[Any, Any, T] | asyncio.Task[T],
) -> tuple[T | None, BaseException | None]:
    """Return what something answers, or why it does not within `LOOK_SECONDS`."""
    asking = asyncio.ensure_future(asked)
    # Not a timeout around it: to be cancelled takes a driver as long as its server is frozen.
    await asyncio.wait([asking], timeout=LOOK_SECONDS)
    if not asking.done():
        asking.cancel()
        return None, TimeoutError()
    if asking.cancelled():
        return None, TimeoutError()  # another that waited for the same has given it up
    error = asking.exception()
    return (None, error) if error else (asking.result(), None)
