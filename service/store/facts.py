"""What a database says about itself, for whoever looks after it."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from sqlalchemy import Connection, Executable, func, select, text

from service.store.database import Database
from service.store.migrations import current, read_scripts
from service.store.webhook_tables import webhook_endpoints

MOST_RECEIVERS: Final = 20

_SIZE: Final[dict[str, Executable]] = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}
_VERSION: Final[dict[str, Executable]] = {
    "sqlite": select(func.sqlite_version()),
    "postgresql": text("SHOW server_version"),
}
_RECEIVERS: Final = (
    select(webhook_endpoints.c.url)
    .where(webhook_endpoints.c.disabled_at.is_(None))
    .order_by(webhook_endpoints.c.url)
    .limit(MOST_RECEIVERS)
)


class DatabaseFacts(NamedTuple):
    """What a database is, and how far its tables are."""

    server: str
    """Such as `PostgreSQL 16.2`."""
    bytes: int
    revision: str | None
    newest: str | None
    """The revision that this product writes."""


async def facts_of(database: Database) -> DatabaseFacts:
    """Return what a database is."""
    newest = await asyncio.to_thread(_newest)
    return await database.read(_facts, newest)


async def receivers_of(database: Database) -> list[str]:
    """Return the addresses that webhooks of whichever tenant go to, up to `MOST_RECEIVERS`."""
    return await database.read(_receivers)


def _newest() -> str | None:
    return read_scripts().get_current_head()


def _facts(connection: Connection, newest: str | None) -> DatabaseFacts:
    dialect = connection.dialect.name
    name = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[dialect]
    return DatabaseFacts(
        server=f"{name} {connection.execute(_VERSION[dialect]).scalar_one()}",
        bytes=int(connection.execute(_SIZE[dialect]).scalar_one()),
        revision=current(connection),
        newest=newest,
    )


def _receivers(connection: Connection) -> list[str]:
    return list(connection.execute(_RECEIVERS).scalars())
