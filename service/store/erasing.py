"""The statements that erase runs: every row that the database has of them, in one transaction.

What stays says nothing of a run: the sums of what was spent, that its idempotency keys were used, and its
id, until no machine can have a file of it any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Connection,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
)

from domain.errors import CallerError
from domain.keeping import Erased
from domain.ports import RunRef
from domain.problems import Code
from domain.run import ACTIVE, TERMINAL
from service.store import forgetting, keys, spending, threads
from service.store.database import Database, SqliteDatabase
from service.store.tables import erased_keys, erased_runs, runs

ERASED_LIFE: Final = timedelta(days=30)
"""How long a process that was away may come back and still remove its files of a run that was deleted."""

_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_DELETE: Final = delete(runs).where(runs.c.id.in_(_IDS))
_NOTE: Final = insert(erased_runs)
_OF_TENANT: Final = (
    select(runs.c.id, runs.c.status)
    .where(runs.c.tenant_id == bindparam("tenant"))
    .order_by(runs.c.id)
    # Whoever is just being given its answer gets it with its files first.
    .with_for_update()
)
_THE_RUN: Final = _OF_TENANT.where(runs.c.id == bindparam("run"))
_OF_THREAD: Final = _OF_TENANT.where(runs.c.thread_id == bindparam("thread"))
_ENDED: Final = select(runs.c.id).where(
    runs.c.tenant_id == bindparam("tenant"),
    runs.c.thread_id == bindparam("thread"),
    runs.c.status.in_(sorted(TERMINAL)),
)
_FIRST: Final = (
    select(erased_runs.c.erased_at, erased_runs.c.tenant_id, erased_runs.c.run_id)
    .order_by(erased_runs.c.erased_at, erased_runs.c.run_id)
    .limit(bindparam("most"))
)
_ERASED: Final = _FIRST.where(
    tuple_(erased_runs.c.erased_at, erased_runs.c.run_id)
    > tuple_(
        bindparam("since", type_=erased_runs.c.erased_at.type),
        bindparam("after", type_=erased_runs.c.run_id.type),
    )
)
_EXPIRE: Final = delete(erased_runs).where(
    erased_runs.c.erased_at <= bindparam("before", type_=erased_runs.c.erased_at.type)
)
_EXPIRE_KEYS: Final = delete(erased_keys).where(
    erased_keys.c.created_at <= bindparam("before", type_=erased_keys.c.created_at.type)
)


def erase(connection: Connection, refs: Sequence[RunRef], now: datetime) -> None:
    """Delete runs that have ended, whose rows are held, with all that the database has of them."""
    if not refs:
        return
    ids = [ref.run_id for ref in refs]
    spending.keep_sums(connection, ids)
    keys.forget(connection, ids)
    # Events, tags, usage, actions, artifacts, pieces and idempotency records go with their run.
    for deletion in (*forgetting.of(connection).delete, _DELETE):
        connection.execute(deletion, {"ids": ids})
    noted = [{"run_id": ref.run_id, "tenant_id": ref.tenant_id, "erased_at": now} for ref in refs]
    connection.execute(_NOTE, noted)


def expire(connection: Connection, now: datetime) -> None:
    """Forget that runs were deleted, where that is long enough ago."""
    connection.execute(_EXPIRE, {"before": now - ERASED_LIFE})
    connection.execute(_EXPIRE_KEYS, {"before": now - keys.KEY_LIFE})


class SqlRunEraser:
    """`domain.keeping.RunEraser` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def erase_run(self, ref: RunRef, *, now: datetime) -> bool:
        """Delete a run that has ended."""
        return await self._database.write(_erase_run, ref, now)

    async def erase_thread(
        self, tenant_id: str, thread_id: str, *, ended: Collection[RunRef], now: datetime
    ) -> bool:
        """Delete all runs of a thread, or none."""
        return await self._database.write(_erase_thread, tenant_id, thread_id, ended, now)

    async def ended_of(self, tenant_id: str, thread_id: str) -> list[RunRef]:
        """Return the runs of a thread that have ended."""
        return await self._database.read(_ended_of, tenant_id, thread_id)

    async def erased(self, after: Erased | None, *, limit: int) -> list[Erased]:
        """Return what was deleted, the oldest first."""
        return await self._database.read(_erased, after, limit)

    async def scrub(self, refs: Sequence[RunRef]) -> None:
        """Drop checkpoints that were saved of runs after they had been deleted."""
        await self._database.write(_scrub, refs)

    async def wipe(self) -> None:
        """See to it that what was deleted is in no file of the database any more."""
        if isinstance(self._database, SqliteDatabase):
            await self._database.empty_log()


def _erase_run(connection: Connection, ref: RunRef, now: datetime) -> bool:
    values = {"tenant": ref.tenant_id, "run": ref.run_id}
    row = connection.execute(_THE_RUN, values).one_or_none()
    if row is None:
        return False
    if row.status in ACTIVE:
        raise not_over(row.id, row.status)
    erase(connection, [ref], now)
    return True


def _erase_thread(
    connection: Connection,
    tenant_id: str,
    thread_id: str,
    ended: Collection[RunRef],
    now: datetime,
) -> bool:
    threads.hold_named_thread(connection, tenant_id, thread_id)
    rows = connection.execute(_OF_THREAD, {"tenant": tenant_id, "thread": thread_id}).all()
    refs = [RunRef(tenant_id, row.id) for row in rows]
    for row, ref in zip(rows, refs, strict=True):
        if row.status in ACTIVE or ref not in ended:
            raise not_over(row.id, row.status)
    erase(connection, refs, now)
    return bool(refs)


def _ended_of(connection: Connection, tenant_id: str, thread_id: str) -> list[RunRef]:
    found = connection.execute(_ENDED, {"tenant": tenant_id, "thread": thread_id})
    return [RunRef(tenant_id, row.id) for row in found]


def not_over(run_id: str, status: str) -> CallerError:
    """Return why a run is not deleted."""
    code: Code = "run-not-terminal"
    why = "has not ended" if status in ACTIVE else "has only just ended"
    msg = (
        f"The run {run_id} {why} ({status}), so it cannot be deleted, and nothing was. "
        "Cancel it or wait for its end, and try again."
    )
    return CallerError(code, msg, run_id=run_id)


def _erased(connection: Connection, after: Erased | None, limit: int) -> list[Erased]:
    values: dict[str, Any] = {"most": limit}
    statement = _FIRST if after is None else _ERASED
    if after is not None:
        values |= {"since": after.erased_at, "after": after.ref.run_id}
    return [
        Erased(row.erased_at, RunRef(row.tenant_id, row.run_id))
        for row in connection.execute(statement, values)
    ]


def _scrub(connection: Connection, refs: Sequence[RunRef]) -> None:
    for deletion in forgetting.of(connection).delete:
        connection.execute(deletion, {"ids": [ref.run_id for ref in refs]})
