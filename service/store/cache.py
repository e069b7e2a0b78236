"""The statements that keep pieces of work for other runs, and the store over them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, or_, select, true

from domain.ports import RunRef
from service.store.conflicts import put_piece
from service.store.database import Database
from service.store.tables import cache

MOST_PIECES: Final = 5_000
"""Pieces kept for one tenant; the oldest go first."""

_OF_KEY: Final = (cache.c.tenant_id == bindparam("tenant"), cache.c.key == bindparam("piece"))
_FIND: Final = select(cache.c.value, cache.c.run_id, cache.c.created_at, cache.c.web).where(
    *_OF_KEY,
    cache.c.created_at >= bindparam("since", type_=cache.c.created_at.type),
    or_(
        ~cache.c.web,
        bindparam("web_too", type_=cache.c.web.type) == true(),
        # What a run has read itself it may read again.
        cache.c.run_id == bindparam("run"),
    ),
)
_OLDEST: Final = (
    select(cache.c.created_at)
    .where(cache.c.tenant_id == bindparam("tenant"))
    .order_by(cache.c.created_at.desc())
    .offset(MOST_PIECES)
    .limit(1)
)
_CROWD_OUT: Final = delete(cache).where(
    cache.c.tenant_id == bindparam("tenant"), cache.c.created_at <= _OLDEST.scalar_subquery()
)
_EXPIRE: Final = delete(cache).where(
    cache.c.created_at <= bindparam("before", type_=cache.c.created_at.type)
)


_FORGET: Final = delete(cache).where(
    cache.c.tenant_id == bindparam("tenant"),
    cache.c.run_id.in_(bindparam("runs", expanding=True)),
    cache.c.kind == "assignment",
)


class Kept(NamedTuple):
    """A piece of work that is kept."""

    value: dict[str, Any]
    run_id: str
    created_at: datetime
    web: bool


class SqlPieceStore:
    """Keeps pieces of work in the database, each with the run that it was done for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, ref: RunRef, key: str, *, since: datetime, web_too: bool) -> Kept | None:
        """Return a piece that a run may have."""
        values = {
            "tenant": ref.tenant_id,
            "run": ref.run_id,
            "piece": key,
            "since": since,
            "web_too": web_too,
        }
        return await self._database.read(_find, values)

    async def put(
        self, ref: RunRef, key: str, kind: str, value: dict[str, Any], *, web: bool, now: datetime
    ) -> None:
        """Keep a piece in the place of an older one."""
        row = {
            "tenant_id": ref.tenant_id,
            "key": key,
            "kind": kind,
            "run_id": ref.run_id,
            "value": value,
            "web": web,
            "created_at": now,
        }
        await self._database.write(_put, row)

    async def forget(self, tenant_id: str, run_ids: Collection[str]) -> None:
        """Drop the assignments of runs."""
        await self._database.write(_forget, {"tenant": tenant_id, "runs": sorted(run_ids)})

    async def expire(self, *, before: datetime) -> None:
        """Drop what is older."""
        await self._database.write(_expire, before)


def _find(connection: Connection, values: dict[str, Any]) -> Kept | None:
    row = connection.execute(_FIND, values).one_or_none()
    return None if row is None else Kept(row.value, row.run_id, row.created_at, row.web)


def _put(connection: Connection, row: dict[str, Any]) -> None:
    put_piece(connection, row)
    connection.execute(_CROWD_OUT, {"tenant": row["tenant_id"]})


def _forget(connection: Connection, values: dict[str, Any]) -> None:
    connection.execute(_FORGET, values)


def _expire(connection: Connection, before: datetime) -> None:
    connection.execute(_EXPIRE, {"before": before})
