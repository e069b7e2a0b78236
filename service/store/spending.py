"""The statements that sum model calls over many runs, and the ledger over them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    RowMapping,
    Select,
    String,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    type_coerce,
)

from domain.spending import Dimension, SpendingGroup, SpendingQuery
from domain.usage import UsageShare
from service.store.database import Database
from service.store.exact import exact_sum, utc_day
from service.store.tables import runs, usage

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
_SUMS: Final = (
    *(func.sum(usage.c[name]).label(name) for name in _TOKENS),
    func.sum(case((_CACHED, 0), else_=1)).label("calls"),
    func.sum(case((_METERED, 0), else_=1)).label("unmetered_calls"),
    func.count(_COST).label("priced_calls"),
    exact_sum(_COST).label("cost_usd"),
    func.sum(case((_CACHED, 1), else_=0)).label("cached_pieces"),
    func.count(_SAVED).label("priced_pieces"),
    exact_sum(_SAVED).label("saved_usd"),
)
_BY: Final[dict[Dimension, ColumnElement[Any]]] = {
    "day": utc_day(usage.c.ts),
    "agent": usage.c.agent,
    "model": usage.c.model,
    "key": runs.c.caller_id,
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


def _groups(connection: Connection, tenant_id: str, query: SpendingQuery) -> list[SpendingGroup]:
    # By bytes, so that every database has the same order.
    collation = "C" if connection.dialect.name == "postgresql" else "BINARY"
    columns = [_BY[name].collate(collation).label(name) for name in query.group_by]
    statement = _among(select(*columns, *_SUMS), tenant_id, query)
    if query.after is not None:
        passed = tuple_(*(literal(value, String) for value in query.after))
        statement = statement.where(tuple_(*columns) > passed)
    statement = statement.group_by(*columns).order_by(*columns).limit(query.limit + 1)
    return [
        SpendingGroup(tuple(str(row[name]) for name in query.group_by), _share(row))
        for row in connection.execute(statement).mappings()
    ]


def _total(connection: Connection, tenant_id: str, query: SpendingQuery) -> UsageShare:
    return _share(connection.execute(_among(select(*_SUMS), tenant_id, query)).mappings().one())


def _among(statement: Select[Any], tenant_id: str, query: SpendingQuery) -> Select[Any]:
    """Return the statement over the calls that were booked within the days."""
    if "key" in query.group_by:
        statement = statement.join_from(usage, runs, usage.c.run_id == runs.c.id)
    else:
        statement = statement.select_from(usage)
    statement = statement.where(
        usage.c.tenant_id == tenant_id,
        usage.c.status != literal_column("'open'"),
        usage.c.ts >= _midnight(query.since),
    )
    if query.until < date.max:
        statement = statement.where(usage.c.ts < _midnight(query.until + timedelta(days=1)))
    return statement


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _share(row: RowMapping) -> UsageShare:
    calls = int(row["calls"] or 0)
    known = row["priced_calls"] == calls
    saved_known = row["priced_pieces"] == int(row["cached_pieces"] or 0)
    tokens: dict[str, Any] = {name: int(row[name] or 0) for name in _TOKENS}
    return UsageShare(
        **tokens,
        cost_usd=(row["cost_usd"] or Decimal(0)) if known else None,
        cost_known=known,
        calls=calls,
        unmetered_calls=int(row["unmetered_calls"] or 0),
        cache_savings_usd=(row["saved_usd"] or Decimal(0)) if saved_known else None,
    )
