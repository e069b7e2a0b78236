"""Looks across the runs of all tenants, for whoever executes runs or tells about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import (
    ColumnClause,
    Connection,
    Interval,
    bindparam,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    table,
)

from domain.dispatch import Workers
from domain.ports import RunRef
from domain.run import Engine
from service.store.database import Database
from service.store.naming import OURS, THE_RUN, named
from service.store.tables import runs
from service.store.threads import NOT_BLOCKED, UNDER_LIMIT, UNDER_OWN_LIMIT

_QUEUED: Final = table(
    "procrastinate_jobs", *map(column, ("lock", "status", "queue_name", "scheduled_at"))
)
"""The queue's own table; a job's lock is the id of its run."""

# Literal, because a parameter would not be of the queue's own type.
_LIVE: Final[tuple[ColumnClause[str], ...]] = (literal_column("'todo'"), literal_column("'doing'"))

_POSITIONS: Final = select(runs.c.id, runs.c.last_seq).where(
    runs.c.id.in_(bindparam("runs", expanding=True))
)
_ORPHANS: Final = (
    select(runs.c.tenant_id, runs.c.id)
    .where(
        runs.c.status.in_(["queued", "running"]),
        runs.c.engine == bindparam("engine"),
        OURS,
        ~exists()
        .select_from(_QUEUED)
        .where(_QUEUED.c.lock == runs.c.id, _QUEUED.c.status.in_(_LIVE)),
        # What waits for its turn is put into the queue by the end of what it waits for.
        NOT_BLOCKED,
    )
    .order_by(runs.c.id)
    .limit(bindparam("most"))
)
_EXECUTING: Final = select(_QUEUED.c.lock).where(
    _QUEUED.c.lock.in_(bindparam("runs", expanding=True)),
    _QUEUED.c.status == literal_column("'doing'"),
)
_ORPHANS_WITHIN_OWN: Final = _ORPHANS.where(or_(runs.c.status == "running", UNDER_OWN_LIMIT))
_ORPHANS_WITHIN_LIMIT: Final = _ORPHANS.where(or_(runs.c.status == "running", UNDER_LIMIT))


_WORKERS: Final = table("procrastinate_workers", column("last_heartbeat"))
_OF_QUEUE: Final = _QUEUED.c.queue_name == bindparam("queue")
_WORK: Final = select(
    exists()
    .select_from(_WORKERS)
    .where(_WORKERS.c.last_heartbeat > func.now() - bindparam("age", type_=Interval))
    .label("alive"),
    exists()
    .select_from(_QUEUED)
    .where(
        _OF_QUEUE,
        _QUEUED.c.status == literal_column("'todo'"),
        or_(_QUEUED.c.scheduled_at.is_(None), _QUEUED.c.scheduled_at <= func.now()),
    )
    .label("waiting"),
    exists()
    .select_from(_QUEUED)
    .where(_OF_QUEUE, _QUEUED.c.status == literal_column("'doing'"))
    .label("busy"),
)

_ENGINE: Final = select(runs.c.engine).where(*THE_RUN)


def engine_of(connection: Connection, ref: RunRef) -> Engine:
    """Return the engine that a run needs."""
    engine: Engine = connection.execute(_ENGINE, named(ref)).scalar_one()
    return engine


class SqlRunWatch:
    """What crosses tenants: how far runs have come, and which are missing in the queue."""

    def __init__(
        self, database: Database, *, engine: Engine, max_per_caller: int | None = None
    ) -> None:
        self._database = database
        self._engine = engine
        self._max_per_caller = max_per_caller

    async def positions(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of the last stored event of each run there is."""
        return await self._database.read(_read_positions, run_ids)

    async def orphans(self, *, limit: int) -> list[RunRef]:
        """Return the oldest runs of the engine that should be in the queue and are not."""
        return await self._database.read(_read_orphans, limit, self._engine, self._max_per_caller)

    async def executing(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return those of the runs of which some process executes a segment, or has died with one."""
        return await self._database.read(_read_executing, refs) if refs else []

    async def workers(self, *, queue: str, seconds: float) -> Workers:
        """Return who works, by a sign of life so many seconds ago, and what there is to do."""
        return await self._database.read(_read_workers, queue, seconds)


def _read_workers(connection: Connection, queue: str, seconds: float) -> Workers:
    values = {"queue": queue, "age": timedelta(seconds=seconds)}
    return Workers(*connection.execute(_WORK, values).one())


def _read_executing(connection: Connection, refs: Sequence[RunRef]) -> list[RunRef]:
    found = connection.execute(_EXECUTING, {"runs": [ref.run_id for ref in refs]})
    busy = set(found.scalars())
    return [ref for ref in refs if ref.run_id in busy]


def _read_positions(connection: Connection, run_ids: Sequence[str]) -> dict[str, int]:
    found = connection.execute(_POSITIONS, {"runs": list(run_ids)})
    return {row.id: row.last_seq for row in found}


def _read_orphans(
    connection: Connection, limit: int, engine: Engine, max_per_caller: int | None
) -> list[RunRef]:
    if max_per_caller is None:
        found = connection.execute(_ORPHANS_WITHIN_OWN, {"most": limit, "engine": engine})
    else:
        values = {"most": limit, "engine": engine, "max_per_caller": max_per_caller}
        found = connection.execute(_ORPHANS_WITHIN_LIMIT, values)
    return [RunRef(*row) for row in found]
