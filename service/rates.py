"""How many requests callers have made in the last minute, counted by this process alone."""

from __future__ import annotations

import hashlib
import math
import time
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from domain.caller import LOCAL_CALLER, CallerIdentity

WINDOW_SECONDS: Final = 60

FAILURES_PER_MINUTE: Final = 30
"""Credentials of an address that may turn out to be wrong before more are refused unseen."""

MAX_COUNTERS: Final = 20_000
"""Counters a process keeps; there are two for each caller of the last two minutes."""

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

    async def take(self, name: str, per_minute: int) -> Rate:
        """Count one request where it is allowed, and say whether it is."""
        item = RateLimitItemPerMinute(per_minute)
        if len(self._storage.storage) > MAX_COUNTERS:
            # Better to have counted too little than to keep counters without end.
            await self._storage.reset()
        allowed = await self._limiter.hit(item, name)
        return await self._rate(item, name, allowed=allowed)

    async def look(self, name: str, per_minute: int) -> Rate:
        """Say whether one more would be allowed."""
        item = RateLimitItemPerMinute(per_minute)
        return await self._rate(item, name, allowed=await self._limiter.test(item, name))

    async def _rate(self, item: RateLimitItemPerMinute, name: str, *, allowed: bool) -> Rate:
        reset, remaining = await self._limiter.get_window_stats(item, name)
        seconds = min(WINDOW_SECONDS, max(1, math.ceil(reset - time.time())))
        return Rate(allowed, item.amount, max(0, int(remaining)), seconds)


class CallerRates:
    """Counts the requests of callers, each against its own limit."""

    def __init__(self, per_minute: int) -> None:
        self._rates = Rates()
        self._per_minute = per_minute

    async def take(self, caller: CallerIdentity) -> Rate | None:
        """Count a request, and say where its caller stands; `None` for one without a limit."""
        limit = caller.limits.requests_per_minute or self._per_minute
        if limit == 0 or caller == LOCAL_CALLER:
            return None
        return await self._rates.take(f"{caller.tenant_id}/{caller.id}", limit)


def bucket_of(address: str) -> str:
    """Return the counter of an address. Of IPv6 everybody has 2^64 at least, which count as one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        network = address.encode()
    else:
        network = parsed.packed[:8] if isinstance(parsed, IPv6Address) else parsed.packed
    number = int.from_bytes(hashlib.sha256(network).digest()[:4]) % _BUCKETS
    return f"failures/{number}"
