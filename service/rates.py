"""How many requests callers have made in the last minute, counted by this process alone."""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from typing import Final, NamedTuple

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from domain.caller import LOCAL_CALLER, CallerIdentity
from tools.net.addresses import network_of

WINDOW_SECONDS: Final = 60

FAILURES_PER_MINUTE: Final = 30
"""Wrong credentials of an address that are answered with 401, before more are with 429."""

LINKS_PER_MINUTE: Final = 60
"""Pages of approval links that an address may ask for."""

MAX_CALLERS: Final = 10_000
"""Callers that a process counts; whose last request is the longest ago is forgotten first."""

_BUCKETS: Final = 4096
"""Addresses are as many as somebody likes to have, so they share this number of counters."""


class Rate(NamedTuple):
    """Where a caller stands."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    """When one more request, at least, will be allowed than now."""


class Rates:
    """Counts over a sliding minute."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._counted: OrderedDict[str, RateLimitItemPerMinute] = OrderedDict()

    async def take(self, name: str, per_minute: int) -> Rate:
        """Count one request where it is allowed, and say whether it is."""
        item = RateLimitItemPerMinute(per_minute)
        self._counted[name] = item
        self._counted.move_to_end(name)
        if len(self._counted) > MAX_CALLERS:
            oldest, its = self._counted.popitem(last=False)
            await self._limiter.clear(its, oldest)
        allowed = await self._limiter.hit(item, name)
        return await self._rate(item, name, allowed=allowed)

    async def _rate(self, item: RateLimitItemPerMinute, name: str, *, allowed: bool) -> Rate:
        reset, remaining = await self._limiter.get_window_stats(item, name)
        seconds = min(WINDOW_SECONDS, max(1, math.ceil(reset - time.time())))
        return Rate(allowed, item.amount, max(0, int(remaining)), seconds)


class CallerRates:
    """Counts the requests of callers, each against its own limit."""

    def __init__(self, per_minute: int) -> None:
        self._rates = Rates()
        self._links = Rates()
        self._per_minute = per_minute

    async def take(self, caller: CallerIdentity) -> Rate | None:
        """Count a request, and say where its caller stands; `None` for one without a limit."""
        limit = caller.limits.requests_per_minute or self._per_minute
        if limit == 0 or caller == LOCAL_CALLER:
            return None
        return await self._rates.take(f"{caller.tenant_id}/{caller.id}", limit)

    async def take_link(self, address: str) -> Rate:
        """Count a request for a page that needs no caller, by its address."""
        return await self._links.take(bucket_of(address), LINKS_PER_MINUTE)


def bucket_of(address: str) -> str:
    """Return the counter of an address, which it shares with others."""
    number = int.from_bytes(hashlib.sha256(network_of(address)).digest()[:4]) % _BUCKETS
    return str(number)
