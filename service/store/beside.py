"""Opens a database for one small change, also while a server has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.addresses import shown_url
from domain.errors import ConfigurationError, DatabaseInUseError
from service.store.database import Database
from service.store.engine import MEMORY_URL, is_postgres, open_database
from service.store.opening import open_store


@asynccontextmanager
async def open_beside(url: str) -> AsyncIterator[Database]:
    """Open a database to change rows that no server owns: a file that one has is written beside it, in a
    transaction of its own, for which SQLite has the two wait for each other."""
    if url == MEMORY_URL:
        msg = (
            "SIGNALBOX_DATABASE_URL is 'memory://': nothing is kept there from one command to the next. "
            "Set it to the database of your server"
        )
        raise ConfigurationError(msg)
    if not is_postgres(url):
        try:
            async with open_store(url) as store:
                yield store.database
                return
        except DatabaseInUseError as error:
            await _refuse_older(url, error)
    database = await asyncio.to_thread(open_database, url, pool_size=2)
    try:
        if is_postgres(url):
            from service.store.upgrading import require_upgraded  # noqa: PLC0415 - loads slowly

            await require_upgraded(database, url)
        yield database
    finally:
        await database.close()


async def _refuse_older(url: str, in_use: DatabaseInUseError) -> None:
    """Raise where the tables of a file in use lack something: only its owner may upgrade them."""
    from service.store.upgrading import needed  # noqa: PLC0415 - loads slowly

    if await needed(url):
        msg = (
            f"The tables of {shown_url(url)!r} are older than this version of Signalbox, and the process that "
            "has them in use would have to be stopped; then run this again"
        )
        raise ConfigurationError(msg) from in_use
