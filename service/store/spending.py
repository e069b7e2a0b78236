"""The statements that sum model calls over many runs, and the ledger over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    FromClause,
    RowMapping,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    type_coerce,
    union_all,
)

from domain.spending import Dimension, SpendingGroup, SpendingQuery
from domain.usage import UsageShare
from service.store.conflicts import add_spent
from service.store.database import Database
from service.store.exact import exact_sum, utc_day
from service.store.tables import runs, spent, usage

_TOKENS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_LOST: Final = usage.c.status == literal_column("'lost'")
_METERED: Final = and_(usage.c.metered, ~_LOST)
_CACHED: Final = usage.c.status == literal_column("'cached'")
_SAVED: Final = case((_CACHED, type_coerce(usage.c.saved_cost_usd, String)))


def _free(amount: ColumnElement[Any]) -> ColumnElement[bool]:
    return cast(type_coerce(amount, String), Float) == literal_column("0")


# As `service.store.rows.call_from` and `domain.usage.cost_of` have it for one run.
_COST: Final = case(
    (_CACHED, None),
    (_METERED, type_coerce(usage.c.cost_usd, String)),
    (and_(_LOST, _free(usage.c.most_cost_usd)), literal_column("'0'", String)),
    (and_(~_LOST, _free(usage.c.cost_usd)), literal_column("'0'", String)),
)
_USED: Final = usage.c.input_tokens + usage.c.output_tokens
_COUNTED_COST: Final = case((usage.c.metered, usage.c.cost_usd), else_=usage.c.most_cost_usd)
_OF_CALL: Final[dict[str, ColumnElement[Any]]] = {
    **{name: usage.c[name] for name in _TOKENS},
    "calls": case((_CACHED, 0), else_=1),
    "unmetered_calls": case((_METERED, 0), else_=1),
    "priced_calls": case((_COST.is_not(None), 1), else_=0),
    "cost_usd": _COST,
    "cached_pieces": case((_CACHED, 1), else_=0),
    "priced_pieces": case((_SAVED.is_not(None), 1), else_=0),
    "saved_usd": _SAVED,
}
"""What a call adds to each sum."""

_OF_DELETED: Final[dict[str, ColumnElement[Any]]] = {
    name: type_coerce(spent.c[name], String) if name in {"cost_usd", "saved_usd"} else spent.c[name]
    for name in _OF_CALL
}

_SUM_DELETED: Final = (
    select(
        usage.c.tenant_id,
        utc_day(usage.c.ts).label("day"),
        runs.c.caller_id,
        usage.c.agent,
        usage.c.model,
        *(
            (exact_sum(column) if name.endswith("_usd") else func.sum(column)).label(name)
            for name, column in _OF_CALL.items()
        ),
        func.sum(case((usage.c.metered, _USED), else_=usage.c.most_tokens)).label("counted_tokens"),
        exact_sum(type_coerce(_COUNTED_COST, String)).label("counted_usd"),
    )
    .join_from(usage, runs, usage.c.run_id == runs.c.id)
    .where(usage.c.run_id.in_(bindparam("ids", expanding=True)))
    .group_by(
        usage.c.tenant_id, utc_day(usage.c.ts), runs.c.caller_id, usage.c.agent, usage.c.model
    )
)


_WHOSE: Final = ("tenant_id", "day", "caller_id", "agent", "model")
_COUNTS: Final = {name for name in _OF_CALL if not name.endswith("_usd")} | {"counted_tokens"}
_BY: Final[dict[Dimension, ColumnElement[Any]]] = {
    "day": utc_day(usage.c.ts),
    "agent": usage.c.agent,
    "model": usage.c.model,
    "key": runs.c.caller_id,
}
_BY_DELETED: Final[dict[Dimension, ColumnElement[Any]]] = {
    "day": spent.c.day,
    "agent": spent.c.agent,
    "model": spent.c.model,
    "key": spent.c.caller_id,
}


class SqlSpendingLedger:
    """`domain.spending.SpendingLedger` over SQL: the database sums, so that few rows leave it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def groups(self, tenant_id: str, query: SpendingQuery) -> list[SpendingGroup]:
        """Return the groups in order, and one more than asked for."""
        return await self._database.read(_groups, tenant_id, query)

    async def total(self, tenant_id: str, query: SpendingQuery) -> UsageShare:
        """Return the sum over all groups."""
        return await self._database.read(_total, tenant_id, query)


def keep_sums(connection: Connection, run_ids: Sequence[str]) -> None:
    """Add what runs have spent that are about to be deleted to what was spent before."""
    found = connection.execute(_SUM_DELETED, {"ids": list(run_ids)}).mappings()
    rows = [
        {name: int(value) if name in _COUNTS else value for name, value in row.items()}
        for row in found
    ]
    if rows:
        # In order: others may add to the same sums.
        add_spent(connection, sorted(rows, key=lambda row: [row[name] for name in _WHOSE]))


def _groups(connection: Connection, tenant_id: str, query: SpendingQuery) -> list[SpendingGroup]:
    # By bytes, so that every database has the same order.
    collation = "C" if connection.dialect.name == "postgresql" else "BINARY"
    calls = _calls(tenant_id, query)
    columns = [calls.c[name].collate(collation).label(name) for name in query.group_by]
    statement = select(*columns, *_sums(calls))
    if query.after is not None:
        passed = tuple_(*(literal(value, String) for value in query.after))
        statement = statement.where(tuple_(*columns) > passed)
    statement = statement.group_by(*columns).order_by(*columns).limit(query.limit + 1)
    return [
        SpendingGroup(tuple(str(row[name]) for name in query.group_by), _share(row))
        for row in connection.execute(statement).mappings()
    ]


def _total(connection: Connection, tenant_id: str, query: SpendingQuery) -> UsageShare:
    calls = _calls(tenant_id, query)
    return _share(connection.execute(select(*_sums(calls))).mappings().one())


def _sums(calls: FromClause) -> Iterator[ColumnElement[Any]]:
    for name in _OF_CALL:
        column = calls.c[name]
        yield (exact_sum(column) if name.endswith("_usd") else func.sum(column)).label(name)


def _calls(tenant_id: str, query: SpendingQuery) -> FromClause:
    """Return the calls that were booked within the days, and the sums of those of deleted runs."""
    columns = [_BY[name].label(name) for name in query.group_by]
    each = select(*columns, *(column.label(name) for name, column in _OF_CALL.items()))
    if "key" in query.group_by:
        each = each.join_from(usage, runs, usage.c.run_id == runs.c.id)
    else:
        each = each.select_from(usage)
    each = each.where(
        usage.c.tenant_id == tenant_id,
        usage.c.status != literal_column("'open'"),
        usage.c.ts >= _midnight(query.since),
    )
    if query.until < date.max:
        each = each.where(usage.c.ts < _midnight(query.until + timedelta(days=1)))
    names = [_BY_DELETED[name].label(name) for name in query.group_by]
    deleted = select(*names, *(column.label(name) for name, column in _OF_DELETED.items())).where(
        spent.c.tenant_id == tenant_id,
        spent.c.day >= query.since.isoformat(),
        spent.c.day <= query.until.isoformat(),
    )
    return union_all(each, deleted).subquery("calls")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _share(row: RowMapping) -> UsageShare:
    calls = int(row["calls"] or 0)
    known = int(row["priced_calls"] or 0) == calls
    saved_known = int(row["priced_pieces"] or 0) == int(row["cached_pieces"] or 0)
    tokens: dict[str, Any] = {name: int(row[name] or 0) for name in _TOKENS}
    return UsageShare(
        **tokens,
        cost_usd=(row["cost_usd"] or Decimal(0)) if known else None,
        cost_known=known,
        calls=calls,
        unmetered_calls=int(row["unmetered_calls"] or 0),
        cache_savings_usd=(row["saved_usd"] or Decimal(0)) if saved_known else None,
    )
