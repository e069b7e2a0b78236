"""`domain.caching.WorkCache` over the store: one process computes a piece once, all of them keep it together."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any, Final, NamedTuple

from domain.caching import Had, Piece, Work
from domain.errors import StoreUnavailableError
from domain.ports import Clock, RunRef
from domain.run import RunContext
from service.reuse import digest
from service.store.cache import SqlPieceStore

MOST_BYTES: Final = 256 * 1024
"""Of one piece, as JSON; what is longer is not kept."""

KEPT: Final = timedelta(days=7)
"""How long a piece is kept; then it is gone whatever a run would take."""

EXPIRE_SECONDS: Final = 300.0

_log = logging.getLogger("signalbox.cache")

_Key = tuple[str, str]


class _UnderWay(NamedTuple):
    """A piece that is being computed."""

    run_id: str
    over: asyncio.Future[None]


class StoredWork:
    """Keeps pieces of work for the runs of their tenant."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.store: SqlPieceStore | None = None
        """Where pieces are kept; until it is there each is computed."""
        self.version = ""
        """A hash of what may change a piece from one start of the server to the next."""
        self._under_way: dict[_Key, _UnderWay] = {}

    async def cached(
        self, context: RunContext, piece: Piece, compute: Callable[[], Awaitable[Work]]
    ) -> Had:
        """Return what the piece came to; see the port."""
        if context.cache_seconds is None or self.store is None:
            return Had((await compute()).value)
        key = digest({"version": self.version, "kind": piece.kind, "about": dict(piece.about)})
        place = (context.tenant_id, key)
        # Looked for before: what comes to its end while the store is read may be found neither there nor here.
        before = self._under_way.get(place)
        kept = await self._find(context, key)
        before = before or self._under_way.get(place)
        if kept is None and before is not None and _may_get(context, piece, before):
            # Afterwards it is in the store; or it may not be shared, and nobody waits a second time.
            await asyncio.wait([before.over])
            kept = await self._find(context, key)
        if kept is not None:
            return kept
        return Had((await self._compute(context, place, piece, compute)).value)

    async def _compute(
        self,
        context: RunContext,
        place: _Key,
        piece: Piece,
        compute: Callable[[], Awaitable[Work]],
    ) -> Work:
        """Compute a piece, and let those who wait for it go on when it is kept, or will not be."""
        own = _UnderWay(context.run_id, asyncio.get_running_loop().create_future())
        first = self._under_way.setdefault(place, own) is own
        try:
            work = await compute()
            if work.keep:
                await self._keep(context, place[1], piece, work)
        finally:
            if first:
                del self._under_way[place]
            own.over.set_result(None)
        return work

    async def _find(self, context: RunContext, key: str) -> Had | None:
        if not context.cache_seconds or self.store is None:
            return None
        now = self._clock.now()
        try:
            kept = await self.store.find(
                RunRef(context.tenant_id, context.run_id),
                key,
                since=now - min(timedelta(seconds=context.cache_seconds), KEPT),
                web_too=context.cache_web,
            )
        except StoreUnavailableError:
            return None
        if kept is None:
            return None
        age = max(int((now - kept.created_at).total_seconds()), 0)
        return Had(kept.value, kept.run_id, age, kept.web)

    async def _keep(self, context: RunContext, key: str, piece: Piece, work: Work) -> None:
        """Keep a piece; where that fails it is only not there for others."""
        # A page may be megabytes, and writing it as JSON holds up whoever does it.
        if self.store is None or await asyncio.to_thread(_size, work.value) > MOST_BYTES:
            return
        ref = RunRef(context.tenant_id, context.run_id)
        known = self._clock.now() - timedelta(seconds=work.age)
        try:
            await self.store.put(ref, key, piece.kind, work.value, web=work.web, now=known)
        except StoreUnavailableError:
            _log.warning("A piece of work could not be kept.", extra={"action": "piece_not_kept"})

    async def forget(self, tenant_id: str, run_ids: Collection[str]) -> None:
        """Drop what agents came to in these runs."""
        if self.store is not None:
            await self.store.forget(tenant_id, run_ids)

    async def expire(self) -> None:
        """Drop what has been kept for long enough."""
        if self.store is not None:
            await self.store.expire(before=self._clock.now() - KEPT)


def _size(value: dict[str, Any]) -> int:
    return len(json.dumps(value).encode())


def _may_get(context: RunContext, piece: Piece, before: _UnderWay) -> bool:
    """Return whether a run may have what is being computed: to wait for it takes of its own time."""
    own = before.run_id == context.run_id
    return bool(context.cache_seconds) and (own or context.cache_web or not piece.web)
