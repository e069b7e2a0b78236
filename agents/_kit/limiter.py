"""How many calls a provider is given at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from agents._kit.chains import Candidate

PARALLEL: Final = 32
"""Calls in flight where a chain does not say otherwise."""


class Limiter:
    """Holds calls back that a provider would be given beyond its number; who came first goes first."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        bounds: dict[str, int] = {}
        for each in candidates:
            # Where several are written for one provider, the smallest holds.
            if each.parallel is not None:
                bounds[each.provider] = min(each.parallel, bounds.get(each.provider, each.parallel))
        self._bounds = bounds
        self._slots: dict[str, asyncio.Semaphore] = {}

    def slot(self, provider: str) -> asyncio.Semaphore:
        """Return what a call to a provider holds while it is made: `async with`."""
        if provider not in self._slots:
            self._slots[provider] = asyncio.Semaphore(self.bound(provider))
        return self._slots[provider]

    def bound(self, provider: str) -> int:
        """Return how many calls a provider is given at once."""
        return self._bounds.get(provider, PARALLEL)
