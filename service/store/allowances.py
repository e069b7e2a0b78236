"""The statements about what runs may spend: their limits, their running time, and calls under way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, update

from domain.limits import DaySpent, Limits
from domain.ports import RunRef
from service.store import actions
from service.store.columns import utc
from service.store.naming import THE_RUN, named
from service.store.rows import limits_of, seconds_of
from service.store.tables import events, runs, spent, usage

_LIMITS: Final = select(runs.c.budget).where(*THE_RUN)
_CLOCK: Final = select(runs.c.claimed_at, runs.c.ran_seconds, runs.c.ended_at).where(*THE_RUN)
_LAST_EVENT: Final = select(func.max(events.c.ts)).where(
    events.c.run_id == bindparam("run"), events.c.tenant_id == bindparam("tenant")
)
_OPEN: Final = (
    usage.c.run_id == bindparam("run"),
    usage.c.tenant_id == bindparam("tenant"),
    usage.c.status == "open",
)
_LOSE: Final = update(usage).where(*_OPEN).values(status="lost", metered=False)
_OF_DAY: Final = (
    select(
        usage.c.input_tokens,
        usage.c.output_tokens,
        usage.c.cost_usd,
        usage.c.metered,
        usage.c.status,
        usage.c.most_tokens,
        usage.c.most_cost_usd,
    )
    .join(runs, runs.c.id == usage.c.run_id)
    .where(
        usage.c.tenant_id == bindparam("tenant"),
        usage.c.ts >= bindparam("since", type_=usage.c.ts.type),
        runs.c.caller_id == bindparam("caller"),
    )
)
# To delete a run gives nobody back what it has spent.
_OF_DELETED: Final = select(spent.c.counted_tokens, spent.c.counted_usd).where(
    spent.c.tenant_id == bindparam("tenant"),
    spent.c.day >= bindparam("day"),
    spent.c.caller_id == bindparam("caller"),
)


def limits(connection: Connection, ref: RunRef) -> Limits | None:
    """Return the limits of a run; `None` where it is not there."""
    row = connection.execute(_LIMITS, named(ref)).mappings().one_or_none()
    return None if row is None else limits_of(row)


def raised(connection: Connection, ref: RunRef, agent: str, args: Mapping[str, Any]) -> int:
    """Return how often the same question about a budget was answered by raising it."""
    return sum(
        row["args"] == args and row["decision"]["type"] == "edit"
        for row in actions.of_run(connection, ref)
        if row["type"] == "budget" and row["agent"] == agent and row["approval"] == "resolved"
    )


def change_limits(connection: Connection, ref: RunRef, changes: Limits) -> Limits:
    """Change the limits of a run whose row is held; return them as they are now."""
    before = limits(connection, ref) or Limits()
    after = before.changed_by(changes)
    changed = update(runs).where(*THE_RUN).values(budget=after.stored())
    connection.execute(changed, named(ref))
    return after


def resume_clock(connection: Connection, ref: RunRef, now: datetime) -> None:
    """Start to count the running time of another attempt, with what the one before it has used.

    Of one that a crash has ended nobody knows when that was: the last that it told is what counts."""
    row = connection.execute(_CLOCK, named(ref)).mappings().one()
    ran = float(row["ran_seconds"])
    if row["claimed_at"] is not None:
        told = connection.execute(_LAST_EVENT, named(ref)).scalar_one_or_none()
        ran += max((utc(told) - row["claimed_at"]).total_seconds(), 0.0) if told else 0.0
    counted = update(runs).where(*THE_RUN).values(claimed_at=now, ran_seconds=ran)
    connection.execute(counted, named(ref))


def stop_clock(connection: Connection, ref: RunRef, now: datetime) -> dict[str, Any]:
    """Return what a run's row is to have whose time does not count for now."""
    row = connection.execute(_CLOCK, named(ref)).mappings().one()
    return {"claimed_at": None, "ran_seconds": seconds_of(row, now)}


def lose_calls(connection: Connection, ref: RunRef) -> None:
    """Note that nobody knows what became of the calls that were being made."""
    connection.execute(_LOSE, named(ref))


def of_day(connection: Connection, tenant_id: str, caller_id: str, since: datetime) -> DaySpent:
    """Return what the runs of a caller have spent since a time, and what is set aside."""
    tokens, costs = {True: 0, False: 0}, {True: Decimal(0), False: Decimal(0)}
    values = {"tenant": tenant_id, "caller": caller_id, "since": since}
    for row in connection.execute(_OF_DAY, values):
        used = row.input_tokens + row.output_tokens
        open_ = row.status == "open"
        tokens[open_] += used if row.metered else row.most_tokens
        costs[open_] += (row.cost_usd if row.metered else row.most_cost_usd) or Decimal(0)
    deleted = {"tenant": tenant_id, "caller": caller_id, "day": utc(since).date().isoformat()}
    for row in connection.execute(_OF_DELETED, deleted):
        tokens[False] += row.counted_tokens
        costs[False] += row.counted_usd or Decimal(0)
    return DaySpent(tokens[False], costs[False], tokens[True], costs[True])
