"""Refuses runs while more wait than may."""

from __future__ import annotations

import time
from typing import Final

from domain.caller import LOCAL_CALLER
from domain.errors import CallerError
from service.store import SqlRunStore

COUNT_SECONDS: Final = 1.0
"""How long a count is good; what is created here meanwhile is added to it."""

AGAIN_SECONDS: Final = 5
"""When a client may try again."""

_AGAIN: Final = {"retry-after": str(AGAIN_SECONDS)}


class QueueBound:
    """Knows whether the queue is full. Each process counts for itself, so a little more may get in."""

    def __init__(self, store: SqlRunStore, most: int) -> None:
        self._store = store
        self._most = most
        self._share = max(1, most // 2)
        """Places that one caller may have, so that others get some."""
        self._waiting = 0
        self._until = 0.0
        self._full_until = 0.0

    async def refusal(self, tenant_id: str, caller_id: str) -> CallerError | None:
        """Return why no run of a caller is taken now, or `None`; then it counts as one that waits."""
        if not self._most:
            return None
        if time.monotonic() >= self._full_until and await self._has_room():
            if await self._has_its_share(tenant_id, caller_id):
                msg = (
                    f"{self._share} runs of yours wait for their turn, half of all that may. Nothing was created. "
                    f"Try again in {AGAIN_SECONDS} s or later."
                )
                return CallerError("rate-limited", msg, headers=dict(_AGAIN))
            self._waiting += 1
            return None
        msg = (
            f"{self._most} runs wait for their turn already, and no more may (SIGNALBOX_MAX_QUEUED). "
            f"Nothing was created. Try again in {AGAIN_SECONDS} s or later."
        )
        return CallerError("overloaded", msg, headers=dict(_AGAIN))

    async def _has_its_share(self, tenant_id: str, caller_id: str) -> bool:
        if self._waiting < self._share or caller_id == LOCAL_CALLER.id:
            return False
        found = await self._store.queued(self._share, tenant_id=tenant_id, caller_id=caller_id)
        return found >= self._share

    async def _has_room(self) -> bool:
        # Counted anew before anybody is refused: of those added many may have begun.
        if time.monotonic() >= self._until or self._waiting >= self._most:
            self._waiting = await self._store.queued(self._most)
            self._until = time.monotonic() + COUNT_SECONDS
        if self._waiting < self._most:
            return True
        self._full_until = time.monotonic() + COUNT_SECONDS / 2
        return False
