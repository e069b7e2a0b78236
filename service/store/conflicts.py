"""Inserts that meet an existing row without failing: the one thing each dialect spells itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Executable, Table, bindparam, literal_column
from sqlalchemy.dialects import postgresql, sqlite

from service.store.exact import exact_add
from service.store.receipt_tables import configurations
from service.store.tables import artifacts, cache, idempotency, spent, usage
from service.store.webhook_tables import webhook_endpoints

_Insert = Callable[[Table], sqlite.Insert] | Callable[[Table], postgresql.Insert]

_INSERTS: Final[dict[str, _Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

_UNTOLD: Final = ("open", "lost")
"""What a booked call may say later than at first: all else is what it came to, and stays."""

_BOOKED: Final = (
    *("ts", "agent", "model", "tier", "round", "status", "metered"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd"),
    *("most_tokens", "most_cost_usd", "saved_cost_usd"),
)
"""What booking a call writes beside whose it is."""

BOOKING: Final = ("run_id", "key", "tenant_id", *_BOOKED)


def _book(insert: _Insert) -> Executable:
    new = insert(usage)
    return new.on_conflict_do_update(
        index_elements=[usage.c.run_id, usage.c.key],
        set_={name: new.excluded[name] for name in _BOOKED},
        where=usage.c.status.in_([literal_column(f"'{status}'") for status in _UNTOLD]),
    )


_BOOK: Final[dict[str, Executable]] = {
    dialect: _book(insert) for dialect, insert in _INSERTS.items()
}


def _replace_artifact(insert: _Insert) -> Executable:
    new = insert(artifacts)
    return new.on_conflict_do_update(
        index_elements=[artifacts.c.run_id, artifacts.c.name],
        set_={
            column.name: new.excluded[column.name]
            for column in artifacts.c
            if not column.primary_key
        },
    )


_REPLACE_ARTIFACT: Final[dict[str, Executable]] = {
    dialect: _replace_artifact(insert) for dialect, insert in _INSERTS.items()
}


def _put_piece(insert: _Insert) -> Executable:
    new = insert(cache)
    return new.on_conflict_do_update(
        index_elements=[cache.c.tenant_id, cache.c.key],
        set_={
            column.name: new.excluded[column.name] for column in cache.c if not column.primary_key
        },
    )


_PUT_PIECE: Final[dict[str, Executable]] = {
    dialect: _put_piece(insert) for dialect, insert in _INSERTS.items()
}


def _take_key(insert: _Insert) -> Executable:
    new = insert(idempotency)
    return new.on_conflict_do_update(
        index_elements=[idempotency.c.tenant_id, idempotency.c.scope, idempotency.c.key],
        set_={name: new.excluded[name] for name in ("digest", "run_id", "created_at")},
        where=idempotency.c.created_at <= bindparam("expired", type_=idempotency.c.created_at.type),
    ).returning(literal_column("1"))


_TAKE_KEY: Final[dict[str, Executable]] = {
    dialect: _take_key(insert) for dialect, insert in _INSERTS.items()
}


def _add_endpoint(insert: _Insert) -> Executable:
    return insert(webhook_endpoints).on_conflict_do_nothing()


_ADD_ENDPOINT: Final[dict[str, Executable]] = {
    dialect: _add_endpoint(insert) for dialect, insert in _INSERTS.items()
}


def _keep_configuration(insert: _Insert) -> Executable:
    return insert(configurations).on_conflict_do_nothing()


_KEEP_CONFIGURATION: Final[dict[str, Executable]] = {
    dialect: _keep_configuration(insert) for dialect, insert in _INSERTS.items()
}

_SPENT_MONEY: Final = ("cost_usd", "saved_usd", "counted_usd")


def _add_spent(insert: _Insert) -> Executable:
    new = insert(spent)
    sums = {
        column.name: exact_add(column, new.excluded[column.name])
        if column.name in _SPENT_MONEY
        else column + new.excluded[column.name]
        for column in spent.c
        if not column.primary_key
    }
    return new.on_conflict_do_update(index_elements=list(spent.primary_key), set_=sums)


_ADD_SPENT: Final[dict[str, Executable]] = {
    dialect: _add_spent(insert) for dialect, insert in _INSERTS.items()
}


def book_calls(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert model calls. One that stands as open or lost becomes what it came to; any other stays."""
    connection.execute(_BOOK[connection.dialect.name], rows)


def booking_sql(mark: str) -> str:
    """Return the same statement as a driver takes it, its values in the order of `BOOKING`."""
    clauses = (
        f"INSERT INTO usage ({', '.join(BOOKING)})",
        f"VALUES ({', '.join([mark] * len(BOOKING))})",
        "ON CONFLICT (run_id, key) DO UPDATE",
        f"SET {', '.join(f'{name} = excluded.{name}' for name in _BOOKED)}",
        f"WHERE usage.status IN {_UNTOLD}",
    )
    return " ".join(clauses)


def replace_artifacts(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert artifacts; each takes the place of an earlier version."""
    connection.execute(_REPLACE_ARTIFACT[connection.dialect.name], rows)


def put_piece(connection: Connection, row: dict[str, Any]) -> None:
    """Insert a piece of work; it takes the place of an older one."""
    connection.execute(_PUT_PIECE[connection.dialect.name], row)


def add_endpoint(connection: Connection, row: dict[str, Any]) -> None:
    """Insert a receiver of webhooks; one that is there stays as it is."""
    connection.execute(_ADD_ENDPOINT[connection.dialect.name], row)


def keep_configuration(connection: Connection, digest: str, content: Mapping[str, Any]) -> None:
    """Insert what a server is made of; the same one that is there stays."""
    row = {"digest": digest, "content": content}
    connection.execute(_KEEP_CONFIGURATION[connection.dialect.name], row)


def take_key(connection: Connection, row: dict[str, Any]) -> bool:
    """Insert an idempotency record, or take over one not younger than `expired`; say whether."""
    return connection.execute(_TAKE_KEY[connection.dialect.name], row).first() is not None


def add_spent(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Add to what deleted runs have spent."""
    connection.execute(_ADD_SPENT[connection.dialect.name], rows)
