"""Opens the store by its URL and closes what it opened, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DatabaseError

from domain.errors import ConfigurationError
from service.store.database import Database
from service.store.engine import open_database, sqlite_path
from service.store.migrations import migrate
from service.store.ownership import FileOwner
from service.store.runs import SqlRunStore

MIGRATION_LIMIT: Final = 60.0  # seconds


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[SqlRunStore]:
    """Open the database of a URL, migrated and, where it is a file, owned by this process."""
    database = await asyncio.to_thread(open_database, url)
    async with _owned(url) as owner:
        try:
            await _prepare(database, url)
            yield SqlRunStore(database, owner)
        finally:
            await database.close()


@asynccontextmanager
async def _owned(url: str) -> AsyncIterator[FileOwner | None]:
    path = sqlite_path(url)
    if path is None:
        yield None
        return
    owner = await asyncio.to_thread(_take, path)
    try:
        yield owner
    finally:
        await asyncio.to_thread(owner.release)


def _take(path: Path) -> FileOwner:
    return FileOwner(path).take()


async def _prepare(database: Database, url: str) -> None:
    try:
        async with asyncio.timeout(MIGRATION_LIMIT):
            await migrate(database)
    except DatabaseError as error:
        reason = str(error.orig)
    except TimeoutError:
        reason = f"migrating took more than {MIGRATION_LIMIT:.0f} s"
    else:
        return
    msg = (
        f"SIGNALBOX_DATABASE_URL is {url!r}, which cannot be used ({reason}); "
        "check that it is a database of Signalbox and that nothing else holds it"
    )
    raise ConfigurationError(msg)
