"""Brings a database to what the code expects, and says whether it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from alembic.script import ScriptDirectory
from psycopg import Error as DriverError
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DatabaseError

from domain.addresses import shown_url
from domain.errors import ConfigurationError
from service.store.advisory import only_upgrade
from service.store.database import Database, SqliteDatabase
from service.store.engine import is_postgres, sqlite_path
from service.store.migrations import accept_newer, bring_up, read_scripts, standing
from service.store.opening import open_store
from service.store.parts import Parts, outdated, read_parts, upgrade_checkpoints, upgrade_queue
from service.store.postgres import PostgresDatabase, connect, one_line, unusable
from service.store.tables import metadata

_REMEDY: Final = "let its user own the database, or grant it what it needs there"

SCHEMA: Final = "runs"
"""What the product's own tables are called where parts are named."""


async def upgrade_store(url: str) -> list[str]:
    """Bring the database of a URL to what the code expects; return what was done, in lines."""
    if is_postgres(url):
        return await _upgrade_postgres(url)
    scripts = await asyncio.to_thread(read_scripts)
    async with open_store(url) as store:
        return [f"{SCHEMA}: {await store.database.write(bring_up, scripts)}"]


async def _upgrade_postgres(url: str) -> list[str]:
    scripts = await asyncio.to_thread(read_scripts)
    parts = await asyncio.to_thread(read_parts)
    database = PostgresDatabase(url, pool_size=2, bounded=False)
    connection = await connect(url)
    try:
        async with _told(url), only_upgrade(connection):
            await database.read(_refuse_foreign, scripts)
            return [
                f"queue: {await upgrade_queue(connection, parts)}",
                f"checkpoints: {await upgrade_checkpoints(connection, parts)}",
                f"{SCHEMA}: {await database.write(bring_up, scripts)}",
            ]
    finally:
        await connection.close()
        await database.close()


async def needed(url: str) -> list[str]:
    """Return the parts of a database that `upgrade_store` would make or change."""
    path = sqlite_path(url)
    if is_postgres(url):
        await (await connect(url)).close()  # says in one line why it cannot be reached
        database: Database = PostgresDatabase(url, pool_size=2)
        parts = await asyncio.to_thread(read_parts)
    elif path is None:
        return []  # made anew whenever it is opened
    elif not await asyncio.to_thread(path.exists):
        return [SCHEMA]
    else:
        database, parts = SqliteDatabase(path), None
    scripts = await asyncio.to_thread(read_scripts)
    try:
        async with _told(url):
            return await database.read(_needed, scripts, parts)
    finally:
        await database.close()


@asynccontextmanager
async def _told(url: str) -> AsyncIterator[None]:
    """Turn what the database refuses into one line with the remedy."""
    try:
        yield
    except DatabaseError as error:
        raise unusable(url, one_line(error.orig or error), _REMEDY) from None
    except DriverError as error:
        raise unusable(url, one_line(error), _REMEDY) from None


def _refuse_foreign(connection: Connection, scripts: ScriptDirectory) -> None:
    """Refuse a database with tables of our names that we have not made, before any is made."""
    if standing(connection, scripts) == "missing":
        found = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
        if found:
            msg = (
                "SIGNALBOX_DATABASE_URL names a database with another application's tables "
                f"({', '.join(found)}); make a database for Signalbox alone and name that"
            )
            raise ConfigurationError(msg)


def _needed(connection: Connection, scripts: ScriptDirectory, parts: Parts | None) -> list[str]:
    found = standing(connection, scripts)
    if found == "newer":
        accept_newer(connection)
    own = [SCHEMA] if found in {"missing", "older"} else []
    return own + (outdated(connection, parts) if parts else [])


async def require_upgraded(database: Database, url: str) -> None:
    """Raise `ConfigurationError` where a Postgres has to be upgraded first."""
    scripts = await asyncio.to_thread(read_scripts)
    parts = await asyncio.to_thread(read_parts)
    missing = await database.read(_needed, scripts, parts)
    if missing:
        msg = (
            f"SIGNALBOX_DATABASE_URL is {shown_url(url)!r}, whose tables are missing or older than "
            f"this version of Signalbox ({', '.join(missing)}); run `signalbox db upgrade` once"
        )
        raise ConfigurationError(msg)
