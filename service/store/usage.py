"""The usage statements: model calls are booked once each and summed when a run is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, literal_column, select

from domain.ports import RunRef
from domain.usage import ModelCall, Usage, plain, total_usage
from service.store.conflicts import book_calls
from service.store.database import Database
from service.store.naming import named
from service.store.rows import call_from, call_row
from service.store.tables import usage

_CALL: Final = (
    usage.c.key,
    usage.c.agent,
    usage.c.model,
    usage.c.tier,
    usage.c.input_tokens,
    usage.c.output_tokens,
    usage.c.cached_tokens,
    usage.c.cost_usd,
    usage.c.reasoning_tokens,
    usage.c.round,
    usage.c.status,
    usage.c.metered,
    usage.c.most_tokens,
    usage.c.most_cost_usd,
    usage.c.saved_cost_usd,
)
_SHOWN: Final = (
    *("key", "agent", "model", "tier", "round", "status", "metered"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
)
# What is still being made has not been used yet.
_MADE: Final = usage.c.status != literal_column("'open'")
# Ordered, so that the same calls always give the same order of agents and models.
_OF_RUNS: Final = (
    select(usage.c.run_id, *_CALL)
    .where(
        usage.c.run_id.in_(bindparam("runs", expanding=True)),
        usage.c.tenant_id == bindparam("tenant"),
        _MADE,
    )
    .order_by(usage.c.run_id, usage.c.key)
)
_OF_RUN: Final = (
    select(*_CALL)
    .where(usage.c.run_id == bindparam("run"), usage.c.tenant_id == bindparam("tenant"), _MADE)
    .order_by(usage.c.key)
)
_PAGE: Final = (
    select(*_CALL, usage.c.ts)
    .where(
        usage.c.run_id == bindparam("run"),
        usage.c.tenant_id == bindparam("tenant"),
        usage.c.key > bindparam("after", type_=usage.c.key.type),
        _MADE,
    )
    .order_by(usage.c.key)
    .limit(bindparam("most"))
)

_CLOSE: Final = delete(usage).where(
    usage.c.run_id == bindparam("run"),
    usage.c.key == bindparam("call"),
    usage.c.status == "open",
)


def book(connection: Connection, ref: RunRef, calls: Sequence[ModelCall], now: datetime) -> None:
    """Insert model calls, each once; one that was open or lost becomes what it came to."""
    if calls:
        book_calls(
            connection,
            [call_row(c, tenant_id=ref.tenant_id, run_id=ref.run_id, now=now) for c in calls],
        )


def open_call(connection: Connection, ref: RunRef, call: ModelCall, now: datetime) -> None:
    """Insert a call that is being made, with the most that it can come to."""
    row = call_row(call, tenant_id=ref.tenant_id, run_id=ref.run_id, now=now)
    book_calls(connection, [{**row, "status": "open"}])


def close_call(connection: Connection, run_id: str, key: str) -> None:
    """Forget a call that was not made, or that nobody bills."""
    connection.execute(_CLOSE, {"run": run_id, "call": key})


def of_run(connection: Connection, ref: RunRef) -> Usage:
    """Return the usage of one run."""
    return total_usage(calls_of(connection, ref))


def calls_of(connection: Connection, ref: RunRef) -> list[ModelCall]:
    """Return the calls of one run, but for those that are being made."""
    rows = connection.execute(_OF_RUN, named(ref)).mappings()
    return [call_from(row) for row in rows]


def of_runs(connection: Connection, tenant_id: str, run_ids: Collection[str]) -> dict[str, Usage]:
    """Return the usage of each run that has any."""
    rows = connection.execute(_OF_RUNS, {"runs": list(run_ids), "tenant": tenant_id})
    calls: defaultdict[str, list[ModelCall]] = defaultdict(list)
    for row in rows.mappings():
        calls[row["run_id"]].append(call_from(row))
    return {run_id: total_usage(of_it) for run_id, of_it in calls.items()}


class SqlCallLog:
    """Reads the calls of runs one by one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_run(self, ref: RunRef, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Return calls as documents, in the order of their keys."""
        return await self._database.read(_page, ref, after, limit)


def _page(connection: Connection, ref: RunRef, after: str, limit: int) -> list[dict[str, Any]]:
    values = {"run": ref.run_id, "tenant": ref.tenant_id, "after": after, "most": limit}
    found = connection.execute(_PAGE, values).mappings()
    return [_shown(call_from(row), row["ts"]) for row in found]


def _shown(call: ModelCall, at: datetime) -> dict[str, Any]:
    cost, saved = call.cost_usd, call.saved_cost_usd
    return {
        **{name: getattr(call, name) for name in _SHOWN},
        "cost_usd": None if cost is None else plain(cost),
        "saved_cost_usd": None if saved is None else plain(saved),
        "at": at.isoformat().replace("+00:00", "Z"),
    }
