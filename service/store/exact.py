"""Functions of SQL that each database spells in its own way: exact sums of money, and days in UTC."""

from __future__ import annotations

import sqlite3
from decimal import Context, Decimal
from typing import Any, Final

from sqlalchemy import String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from service.store.columns import Money

_EXACT: Final = Context(prec=60)
"""With more digits than any sum of money has."""


class exact_sum(GenericFunction[Decimal]):  # noqa: N801 - it is written like a function of SQL
    """The exact sum of a column of money: NULL where nothing is known."""

    type = Money()
    inherit_cache = True


class exact_add(GenericFunction[Decimal]):  # noqa: N801 - it is written like a function of SQL
    """The exact sum of two amounts of money; one that is NULL counts for nothing."""

    type = Money()
    inherit_cache = True


class utc_day(GenericFunction[str]):  # noqa: N801 - it is written like a function of SQL
    """The day in UTC of a time, as `2030-01-02`."""

    type = String()
    inherit_cache = True


@compiles(exact_sum, "postgresql")
def _sum_numbers(element: exact_sum, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return f"CAST(SUM(CAST({column} AS NUMERIC)) AS TEXT)"


@compiles(exact_add, "postgresql")
def _add_numbers(element: exact_add, compiler: SQLCompiler, **options: Any) -> str:
    one, other = (
        f"CAST({compiler.process(each, **options)} AS NUMERIC)" for each in element.clauses
    )
    return f"CAST(COALESCE({one} + {other}, {one}, {other}) AS TEXT)"


@compiles(utc_day, "postgresql")
def _format_time(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    # Every session of ours is in UTC.
    return f"TO_CHAR({compiler.process(element.clauses, **options)}, 'YYYY-MM-DD')"


@compiles(utc_day, "sqlite")
def _cut_text(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    return f"SUBSTR({compiler.process(element.clauses, **options)}, 1, 10)"


class ExactSum:
    """What `exact_sum` is in SQLite, whose own numbers are floats."""

    def __init__(self) -> None:
        self._total = Decimal(0)
        self._any = False

    def step(self, amount: str | None) -> None:
        """Add an amount."""
        if amount is not None:
            self._any = True
            self._total = _EXACT.add(self._total, Decimal(amount))

    def finalize(self) -> str | None:
        """Return the sum."""
        return str(self._total) if self._any else None


def _add(one: str | None, other: str | None) -> str | None:
    known = [Decimal(each) for each in (one, other) if each is not None]
    return str(_EXACT.add(*known)) if len(known) > 1 else one or other


def add_functions(connection: sqlite3.Connection) -> None:
    """Teach a connection to SQLite what the other databases can do."""
    connection.create_aggregate("exact_sum", 1, ExactSum)  # type: ignore[arg-type]  # says that it sums ints
    connection.create_function("exact_add", 2, _add, deterministic=True)
