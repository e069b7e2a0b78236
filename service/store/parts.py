"""The tables of others in a Postgres, which `signalbox db upgrade` makes: the queue's and LangGraph's.

SQLite has no queue, and LangGraph's saver makes its tables there when it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection
from sqlalchemy import Connection, text

from domain.errors import ConfigurationError

QUEUE: Final = "queue"
CHECKPOINTS: Final = "checkpoints"

_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS signalbox_parts (name TEXT PRIMARY KEY, version TEXT NOT NULL)"
)
_IS_THERE: Final = "SELECT to_regclass('procrastinate_jobs') IS NOT NULL"
_FIND: Final = "SELECT name, version FROM signalbox_parts"
_RECORD: Final = (
    "INSERT INTO signalbox_parts (name, version) VALUES (%s, %s) "
    "ON CONFLICT (name) DO UPDATE SET version = excluded.version"
)


class Parts(NamedTuple):
    """What the installed packages expect: the queue's migrations, in order, and checkpoints'."""

    queue: Sequence[Path]
    checkpoints: str

    @property
    def versions(self) -> dict[str, str]:
        """Return the newest version of each part; versions sort by age."""
        return {QUEUE: self.queue[-1].stem, CHECKPOINTS: self.checkpoints}


def read_parts() -> Parts:
    """Return what the installed packages expect; reads their folders."""
    migrations = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    return Parts(migrations, f"{len(AsyncPostgresSaver.MIGRATIONS) - 1:04}")


def outdated(connection: Connection, parts: Parts) -> list[str]:
    """Return the parts that are missing or older than what is installed; newer ones will do."""
    there = connection.execute(text("SELECT to_regclass('signalbox_parts') IS NOT NULL"))
    found: dict[str, str] = {}
    if there.scalar_one():
        found = {row.name: row.version for row in connection.execute(text(_FIND))}
    return [name for name, version in parts.versions.items() if found.get(name, "") < version]


async def upgrade_queue(connection: AsyncConnection[Any], parts: Parts) -> str:
    """Bring the queue's tables to the installed package's; return what was done."""
    newest = parts.queue[-1].stem
    before = await _version(connection, QUEUE)
    if before is None:
        await _make_queue(connection, newest)
        return f"{newest} made"
    missing = [path for path in parts.queue if path.stem > before]
    for path in missing:
        sql = await asyncio.to_thread(path.read_bytes)
        # Each by itself: a migration may use a value that the one before added to a type.
        async with connection.transaction():
            await connection.execute(sql)
            await connection.execute(_RECORD, (QUEUE, path.stem))
    return f"{before} upgraded to {newest}" if missing else f"{before} already"


async def _make_queue(connection: AsyncConnection[Any], newest: str) -> None:
    cursor = await connection.execute(_IS_THERE)
    if (await cursor.fetchone() or [False])[0]:
        msg = (
            "SIGNALBOX_DATABASE_URL names a database with another application's procrastinate "
            "tables; make a database for Signalbox alone and name that"
        )
        raise ConfigurationError(msg)
    schema = await asyncio.to_thread(SchemaManager.get_schema)
    async with connection.transaction():
        await connection.execute(schema.encode())
        await connection.execute(_RECORD, (QUEUE, newest))


async def upgrade_checkpoints(connection: AsyncConnection[Any], parts: Parts) -> str:
    """Bring LangGraph's tables to the installed package's; return what was done."""
    before = await _version(connection, CHECKPOINTS)
    if before is not None and before >= parts.checkpoints:
        return f"{before} already"
    await AsyncPostgresSaver(connection).setup()
    await connection.execute(_RECORD, (CHECKPOINTS, parts.checkpoints))
    return f"{before} upgraded to {parts.checkpoints}" if before else f"{parts.checkpoints} made"


async def _version(connection: AsyncConnection[Any], name: str) -> str | None:
    await connection.execute(_TABLE)
    cursor = await connection.execute(_FIND)
    return dict(await cursor.fetchall()).get(name)
