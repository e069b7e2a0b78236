"""Column types that mean the same on every database: UTC times, exact money and JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from sqlalchemy import JSON, DateTime, String
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy import Dialect

to_json: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
"""How every database writes JSON; in ASCII, so that half a character survives."""


def utc(time: datetime) -> datetime:
    """Return an aware time in UTC; refuse a naive one, which could mean any moment."""
    if time.tzinfo is None:
        msg = f"{time!r} is naive; pass a timezone-aware time"
        raise ValueError(msg)
    return time.astimezone(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Stores aware datetimes as UTC and returns them aware; refuses naive ones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC."""
        del dialect
        return None if value is None else utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its timezone, which SQLite does not keep."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """Stores an exact decimal as its text, because SQLite's numbers are floats."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Return the decimal's text."""
        del dialect
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        """Return the decimal."""
        del dialect
        return None if value is None else Decimal(value)


def optional_json() -> JSON:
    """Return a JSON type whose `None` is SQL's NULL rather than JSON's `null`."""
    return JSON(none_as_null=True)
