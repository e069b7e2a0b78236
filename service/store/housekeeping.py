"""The statements that forget: of a finished run first its scaffolding, at last everything.

`runs.tidied` says how far that has come, as a sum: `TRIMMED`, `PRUNED` and `CLEARED`. It is advanced
in the transaction that deletes, so a crash repeats nothing and leaves nothing out. Whatever makes a
finished run active again has to set it back to 0.

A file of SQLite is not made smaller: freed pages are used again, so it stays as large as it ever had
to be. Returning them to the disk would mean to move pages about (`auto_vacuum`) or to write the whole
file anew under a lock (`VACUUM`), for space that the next runs take again. The WAL needs no care
either: SQLite copies it back every thousand pages and begins it anew, and batches keep it short.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Connection,
    Delete,
    Select,
    bindparam,
    delete,
    or_,
    select,
    tuple_,
    update,
)

from domain.ports import RunRef
from domain.run import TERMINAL
from service.store import erasing, forgetting
from service.store.database import Database
from service.store.keys import KEY_LIFE
from service.store.tables import events, idempotency, runs

TRIMMED: Final = 1
"""Of the checkpoints, those of agents and what had not become part of a step are gone."""

PRUNED: Final = 2
"""Of the checkpoints, all but the last one of the run itself are gone."""

CLEARED: Final = 4
"""Of the events, all but the last one are gone."""

SETTLING: Final = timedelta(minutes=1)
"""How long after a cancellation its segment may still be saving; other ends are its last word."""

EVENTS_AT_ONCE: Final = 5_000
"""Events that the runs of one batch have had, which bounds how long its transaction takes."""

_EVERY_STATE: Final = range((TRIMMED | PRUNED | CLEARED) + 1)


def _due(without: int) -> Select[tuple[str, str, int]]:
    """Return the finished runs with which one thing has not been done, whoever has not taken them.

    The states are listed, because the index begins with them.
    """
    return (
        select(runs.c.id, runs.c.tenant_id, runs.c.last_seq)
        .where(
            runs.c.tidied.in_([state for state in _EVERY_STATE if not state & without]),
            runs.c.ended_at <= bindparam("before", type_=runs.c.ended_at.type),
            runs.c.status.in_(sorted(TERMINAL)),
        )
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


_TO_TRIM: Final = _due(TRIMMED).where(
    or_(
        runs.c.status != "cancelled",
        runs.c.ended_at <= bindparam("settled", type_=runs.c.ended_at.type),
    )
)
_TO_PRUNE: Final = _due(PRUNED)
_TO_CLEAR: Final = _due(CLEARED)
_TO_DELETE: Final = _due(0)

_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_ADVANCE: Final = (
    update(runs).where(runs.c.id.in_(_IDS)).values(tidied=runs.c.tidied.op("|")(bindparam("done")))
)
_CLEAR: Final = delete(events).where(
    events.c.run_id.in_(_IDS),
    # The last event of a finished run is the one that tells how it ended.
    events.c.seq < select(runs.c.last_seq).where(runs.c.id == events.c.run_id).scalar_subquery(),
)

_KEY: Final = (idempotency.c.tenant_id, idempotency.c.scope, idempotency.c.key)
_EXPIRE: Final = delete(idempotency).where(
    tuple_(*_KEY).in_(
        select(*_KEY)
        .where(idempotency.c.created_at <= bindparam("before", type_=idempotency.c.created_at.type))
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)
_KNOWN: Final = select(runs.c.tenant_id, runs.c.id).where(runs.c.id.in_(_IDS))


class SqlRunKeeper:
    """`domain.ports.RunKeeper` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def trim(self, *, now: datetime, limit: int) -> list[RunRef]:
        """Drop what only a run that executes needs."""
        return await self._database.write(_trim, now, limit)

    async def prune(self, *, before: datetime, limit: int) -> list[RunRef]:
        """Drop every checkpoint but the last."""
        return await self._database.write(_prune, before, limit)

    async def clear(self, *, before: datetime, limit: int) -> list[RunRef]:
        """Drop every event but the last."""
        return await self._database.write(_clear, before, limit)

    async def delete(self, *, before: datetime, now: datetime, limit: int) -> list[RunRef]:
        """Erase runs with all that the database has of them."""
        return await self._database.write(_delete, before, now, limit)

    async def expire_keys(self, *, now: datetime, limit: int) -> int:
        """Drop idempotency records that count no more."""
        return await self._database.write(_expire_keys, now, limit)

    async def unknown(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return those of the runs that do not exist."""
        return await self._database.read(_unknown, refs)


def _trim(connection: Connection, now: datetime, limit: int) -> list[RunRef]:
    refs = _take(connection, _TO_TRIM, before=now, settled=now - SETTLING, most=limit)
    _forget(connection, refs, forgetting.of(connection).trim)
    _advance(connection, refs, TRIMMED)
    return refs


def _prune(connection: Connection, before: datetime, limit: int) -> list[RunRef]:
    refs = _take(connection, _TO_PRUNE, before=before, most=limit)
    _forget(connection, refs, forgetting.of(connection).prune)
    _advance(connection, refs, TRIMMED | PRUNED)
    return refs


def _clear(connection: Connection, before: datetime, limit: int) -> list[RunRef]:
    refs = _take(connection, _TO_CLEAR, before=before, most=limit)
    _forget(connection, refs, [_CLEAR])
    _advance(connection, refs, CLEARED)
    return refs


def _delete(connection: Connection, before: datetime, now: datetime, limit: int) -> list[RunRef]:
    refs = _take(connection, _TO_DELETE, before=before, most=limit)
    erasing.erase(connection, refs, now)
    return refs


def _expire_keys(connection: Connection, now: datetime, limit: int) -> int:
    erasing.expire(connection, now)
    return connection.execute(_EXPIRE, {"before": now - KEY_LIFE, "most": limit}).rowcount


def _unknown(connection: Connection, refs: Sequence[RunRef]) -> list[RunRef]:
    found = connection.execute(_KNOWN, {"ids": [ref.run_id for ref in refs]})
    known = {RunRef(*row) for row in found}
    return [ref for ref in refs if ref not in known]


def _take(connection: Connection, due: Select[tuple[str, str, int]], **values: Any) -> list[RunRef]:
    """Return the runs of one batch, locked where several processes may take them."""
    refs: list[RunRef] = []
    left = EVENTS_AT_ONCE
    for run_id, tenant_id, last_seq in connection.execute(due, values).all():
        left -= last_seq
        if refs and left < 0:
            break
        refs.append(RunRef(tenant_id, run_id))
    return refs


def _forget(connection: Connection, refs: Sequence[RunRef], deletions: Sequence[Delete]) -> None:
    if refs:
        ids = [ref.run_id for ref in refs]
        for deletion in deletions:
            connection.execute(deletion, {"ids": ids})


def _advance(connection: Connection, refs: Sequence[RunRef], done: int) -> None:
    if refs:
        connection.execute(_ADVANCE, {"ids": [ref.run_id for ref in refs], "done": done})
