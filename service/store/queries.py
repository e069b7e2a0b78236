"""The statements that look for runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, select

from domain.ports import EarlierTurn, RunQuery, RunRef
from domain.run import ACTIVE, Run
from domain.usage import Usage
from service.store import usage
from service.store.caller_tables import api_keys
from service.store.naming import OURS, THE_RUN, named
from service.store.rows import run_from
from service.store.tables import actions, run_tags, runs
from service.store.threads import NOT_BLOCKED, PLACES

_GET: Final = select(runs).where(*THE_RUN)
_REF: Final = select(runs.c.tenant_id, runs.c.id)
_QUEUED: Final = (
    select(runs.c.id)
    .where(runs.c.status == "queued", runs.c.id.not_in(bindparam("exclude", expanding=True)), OURS)
    .limit(1)
)
_UNFINISHED: Final = _REF.where(runs.c.status == "running", OURS).order_by(runs.c.id)
_CLAIMABLE: Final = (
    runs.c.status == "queued",
    runs.c.id.not_in(bindparam("exclude", expanding=True)),
    OURS,
    NOT_BLOCKED,
)
_RUNNABLE: Final = _REF.where(*_CLAIMABLE).order_by(runs.c.id).limit(bindparam("most"))
_BUSY: Final = (
    select(runs.c.tenant_id, runs.c.caller_id, func.count().label("taken"))
    .where(runs.c.status == "running")
    .group_by(runs.c.tenant_id, runs.c.caller_id)
    .subquery("busy")
)
_TAKEN: Final = func.coalesce(_BUSY.c.taken, 0)
_RANKED: Final = (
    select(
        runs.c.tenant_id,
        runs.c.id,
        # The place that the run would be given among its caller's.
        (
            _TAKEN
            + func.row_number().over(
                partition_by=(runs.c.tenant_id, runs.c.caller_id), order_by=runs.c.id
            )
        ).label("place"),
        PLACES.label("places"),
    )
    .select_from(
        runs.outerjoin(
            _BUSY,
            (_BUSY.c.tenant_id == runs.c.tenant_id) & (_BUSY.c.caller_id == runs.c.caller_id),
        )
    )
    .where(*_CLAIMABLE, PLACES > _TAKEN)
    .subquery("ranked")
)
_RUNNABLE_UNDER_LIMIT: Final = (
    select(_RANKED.c.tenant_id, _RANKED.c.id)
    .where(_RANKED.c.place <= _RANKED.c.places)
    .order_by(_RANKED.c.id)
    .limit(bindparam("most"))
)
_NO_LIMIT: Final = 2**31 - 1
_A_KEY_IS_LIMITED: Final = select(api_keys.c.id).where(api_keys.c.concurrent_runs >= 0).limit(1)
_ALL_QUEUED: Final = select(runs.c.id).where(runs.c.status == "queued").limit(bindparam("most"))
_WAITING: Final = select(func.count()).select_from(_ALL_QUEUED.subquery())
_STANDING: Final = (
    select(runs.c.status, func.count())
    .where(runs.c.status.in_(sorted(ACTIVE)), OURS)
    .group_by(runs.c.status)
)
_ASKED: Final = select(func.count()).select_from(actions).where(actions.c.approval == "pending")
_WAITING_OF_ONE: Final = select(func.count()).select_from(
    _ALL_QUEUED.where(
        runs.c.tenant_id == bindparam("tenant"), runs.c.caller_id == bindparam("caller")
    ).subquery()
)
_EARLIER_TURNS: Final = (
    select(runs.c.task, runs.c.result)
    .where(
        runs.c.tenant_id == bindparam("tenant"),
        runs.c.thread_id == bindparam("thread"),
        runs.c.id < bindparam("run"),
        runs.c.status.in_(["completed", "incomplete"]),
    )
    .order_by(runs.c.id.desc())
    .limit(bindparam("most"))
)


def get(connection: Connection, ref: RunRef) -> Run | None:
    """Return a run with its usage."""
    found = connection.execute(_GET, named(ref))
    row = found.mappings().one_or_none()
    # The run is read before its calls: a run read as ended has booked them all.
    return None if row is None else run_from(row, usage.of_run(connection, ref))


def search(connection: Connection, tenant_id: str, query: RunQuery) -> list[Run]:
    """Return the runs that match, newest first, and one more than asked for."""
    found = connection.execute(_search(tenant_id, query)).mappings().all()
    used = usage.of_runs(connection, tenant_id, [row["id"] for row in found]) if found else {}
    return [run_from(row, used.get(row["id"], Usage())) for row in found]


def _search(tenant_id: str, query: RunQuery) -> Select[tuple[object, ...]]:
    statement = select(runs).where(runs.c.tenant_id == tenant_id)
    if query.status is not None:
        statement = statement.where(runs.c.status == query.status)
    if query.thread_id is not None:
        statement = statement.where(runs.c.thread_id == query.thread_id)
    if query.tag is not None:
        tagged = select(run_tags.c.run_id).where(
            run_tags.c.tenant_id == tenant_id, run_tags.c.tag == query.tag
        )
        statement = statement.where(runs.c.id.in_(tagged))
    if query.created_after is not None:
        statement = statement.where(runs.c.created_at > query.created_after)
    if query.before is not None:
        statement = statement.where(runs.c.id < query.before)
    if query.after is not None:
        statement = statement.where(runs.c.id > query.after)
    order = runs.c.id if query.oldest_first else runs.c.id.desc()
    return statement.order_by(order).limit(query.limit + 1)


def runnable(
    connection: Connection, limit: int, exclude: Collection[str], max_per_caller: int | None
) -> list[RunRef]:
    """Return queued runs that no earlier run of their thread blocks, oldest first, and of a caller no
    more than it has places free."""
    values: dict[str, Any] = {"most": limit, "exclude": list(exclude)}
    if max_per_caller is None and connection.execute(_A_KEY_IS_LIMITED).first() is None:
        found = connection.execute(_RUNNABLE, values)
    else:
        values["max_per_caller"] = max_per_caller or _NO_LIMIT
        found = connection.execute(_RUNNABLE_UNDER_LIMIT, values)
    return [RunRef(*row) for row in found]


def count_queued(
    connection: Connection, most: int, tenant_id: str | None, caller_id: str | None
) -> int:
    """Return how many runs are `queued`, of all tenants or of one caller; of very many only that they are
    `most`."""
    statement = _WAITING if tenant_id is None else _WAITING_OF_ONE
    values = {"most": most, "tenant": tenant_id, "caller": caller_id}
    count: int = connection.execute(statement, values).scalar_one()
    return count


def standing(connection: Connection) -> dict[str, int]:
    """Return how many runs of all tenants have each status but those that have ended, and how many
    `approvals` are pending."""
    counts: dict[str, int] = dict(connection.execute(_STANDING).tuples().all())
    return {**counts, "approvals": connection.execute(_ASKED).scalar_one()}


def has_queued(connection: Connection, exclude: Collection[str]) -> bool:
    """Return whether any run besides these is `queued`."""
    return connection.execute(_QUEUED, {"exclude": list(exclude)}).first() is not None


def unfinished(connection: Connection) -> list[RunRef]:
    """Return the runs that are `running`, oldest first."""
    return [RunRef(*row) for row in connection.execute(_UNFINISHED)]


def earlier_turns(connection: Connection, run: Run, limit: int) -> list[EarlierTurn]:
    """Return the latest answered runs of the thread before this one, oldest first."""
    values = {"tenant": run.tenant_id, "thread": run.thread_id, "run": run.id, "most": limit}
    found = connection.execute(_EARLIER_TURNS, values).all()
    return [
        EarlierTurn(task=task, answer=result["output"] if result else "")
        for task, result in reversed(found)
    ]
