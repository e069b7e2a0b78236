"""Finds the database a URL means."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from domain.addresses import SQLITE_PREFIX, shown_url
from domain.errors import ConfigurationError
from service.store.database import Database, MemoryDatabase, SqliteDatabase

MEMORY_URL: Final = "memory://"
POSTGRES_PREFIXES: Final = ("postgresql://", "postgres://")


def is_postgres(url: str) -> bool:
    """Return whether the URL names a Postgres."""
    return url.startswith(POSTGRES_PREFIXES)


def sqlite_path(url: str) -> Path | None:
    """Return the file of a `sqlite:///` URL, absolute, or `None` where there is no file.

    A URL that names no database raises `ConfigurationError`.
    """
    if url == MEMORY_URL or is_postgres(url):
        return None
    name = url.removeprefix(SQLITE_PREFIX)
    if name in {url, "", ":memory:"} or "?" in name or name.endswith("/"):
        msg = (
            f"SIGNALBOX_DATABASE_URL is {shown_url(url)!r}; it may be memory://, "
            "sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/name"
        )
        raise ConfigurationError(msg)
    return Path(name).expanduser().absolute()


def open_database(url: str, *, pool_size: int = 10) -> Database:
    """Return the database of a URL; nothing is connected yet, but a file's folder exists."""
    if is_postgres(url):
        # Its driver takes as long to load as all the rest of the store.
        from service.store.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url, pool_size=pool_size)
    path = sqlite_path(url)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = (
                f"SIGNALBOX_DATABASE_URL is {url!r}, but its folder {str(path.parent)!r} cannot be "
                f"made ({error.strerror}); name a file in a folder this user may write"
            )
            raise ConfigurationError(msg) from error
    return MemoryDatabase() if path is None else SqliteDatabase(path)
