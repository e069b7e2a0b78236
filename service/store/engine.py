"""Opens a database by its URL."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from domain.errors import ConfigurationError
from service.store import sqlite

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import ExceptionContext

MEMORY_URL: Final = "memory://"
SQLITE_PREFIX: Final = "sqlite:///"
FILE_CONNECTIONS: Final = 4  # one writer at a time, and readers beside it
CONNECTION_WAIT: Final = 30.0  # seconds to wait for a free connection

BEGIN_OPTION: Final = "sqlite_begin"
"""The execution option that says how SQLite starts a transaction; one that says nothing may write,
because reading first and writing then under a plain `BEGIN` loses to "database is locked"."""


def sqlite_path(url: str) -> Path | None:
    """Return the file of a `sqlite:///` URL, absolute, or `None` for `memory://`.

    Any other URL raises `ConfigurationError`.
    """
    if url == MEMORY_URL:
        return None
    name = url.removeprefix(SQLITE_PREFIX)
    if name in {url, "", ":memory:"} or "?" in name or name.endswith("/"):
        shown = re.sub(r"//.*@", "//***@", url)  # a password may stand before the host
        msg = (
            f"SIGNALBOX_DATABASE_URL is {shown!r}; it may be memory://, sqlite:///relative.db or "
            "sqlite:////absolute.db"
        )
        raise ConfigurationError(msg)
    return Path(name).expanduser().absolute()


def open_engine(url: str) -> AsyncEngine:
    """Return an engine for the URL; nothing is connected yet, but a file's folder exists."""
    path = sqlite_path(url)
    if path is None:
        return _sqlite_engine(":memory:", connections=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = (
            f"SIGNALBOX_DATABASE_URL is {url!r}, but its folder {str(path.parent)!r} cannot be "
            f"made ({error.strerror}); name a file in a folder this user may write"
        )
        raise ConfigurationError(msg) from error
    return _sqlite_engine(str(path), connections=FILE_CONNECTIONS)


def _sqlite_engine(database: str, *, connections: int) -> AsyncEngine:
    # A queue also for memory's only connection: whoever holds it has it alone, so two tasks can
    # never meet in one transaction.
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=database),
        async_creator=partial(sqlite.connect, database),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=CONNECTION_WAIT,
        pool_use_lifo=True,
        json_serializer=json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode,
    )
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "handle_error", _keep_connection)
    return engine


def _begin(connection: Connection) -> None:
    driver = cast("sqlite.Connection", connection.connection.driver_connection)
    driver.begin(connection.get_execution_options().get(BEGIN_OPTION, "BEGIN IMMEDIATE"))


def _keep_connection(context: ExceptionContext) -> None:
    # A cancelled statement is finished by the connection's thread and rolled back. Throwing the
    # connection away, as for drivers that stop half-way, would drop memory's whole database.
    if not isinstance(context.original_exception, Exception):
        context.is_disconnect = False
