"""Opens the store by its URL and closes what it opened, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DatabaseError

from domain.addresses import shown_url
from domain.errors import ConfigurationError
from service.store.database import Database
from service.store.engine import is_postgres, open_database, sqlite_path
from service.store.migrations import migrate
from service.store.ownership import FileOwner, Ownership
from service.store.runs import SqlRunStore, ping
from service.store.threads import Enqueue, Share

MIGRATION_LIMIT: Final = 60.0  # seconds


@asynccontextmanager
async def open_store(
    url: str,
    *,
    owner: Ownership = "alone",
    pool_size: int = 10,
    enqueue: Enqueue | None = None,
    max_per_caller: int | None = None,
    share: Share | None = None,
) -> AsyncIterator[SqlRunStore]:
    """Open the database of a URL, owned by this process: alone or, a Postgres, shared.

    A file and a database in memory are migrated; a Postgres has to have been, by
    `signalbox db upgrade`.
    """
    database = await asyncio.to_thread(open_database, url, pool_size=pool_size)
    async with _owned(url, owner) as file_owner:
        try:
            await _prepare(database, url)
            yield SqlRunStore(
                database, file_owner, enqueue=enqueue, max_per_caller=max_per_caller, share=share
            )
        finally:
            await database.close()


@asynccontextmanager
async def _owned(url: str, ownership: Ownership) -> AsyncIterator[FileOwner | None]:
    if is_postgres(url):
        from service.store.advisory import LockOwner  # noqa: PLC0415 - its driver loads slowly

        lock = await LockOwner(url, ownership).take()
        try:
            yield None
        finally:
            await lock.release()
        return
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
            if is_postgres(url):
                from service.store.upgrading import require_upgraded  # noqa: PLC0415 - loads slowly

                await require_upgraded(database, url)
                await database.write(ping)
            else:
                await migrate(database)
    except DatabaseError as error:
        reason = str(error.orig)
    except TimeoutError:
        reason = f"preparing it took more than {MIGRATION_LIMIT:.0f} s"
    else:
        return
    msg = (
        f"SIGNALBOX_DATABASE_URL is {shown_url(url)!r}, which cannot be used "
        f"({' '.join(reason.split())}); "
        "check that it is a database of Signalbox and that nothing else holds it"
    )
    raise ConfigurationError(msg)
