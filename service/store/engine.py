"""Finds the database a URL means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from domain.errors import ConfigurationError
from service.store.database import Database, MemoryDatabase, SqliteDatabase

MEMORY_URL: Final = "memory://"
SQLITE_PREFIX: Final = "sqlite:///"
POSTGRES_PREFIXES: Final = ("postgresql://", "postgres://")


def is_postgres(url: str) -> bool:
    """Return whether the URL names a Postgres."""
    return url.startswith(POSTGRES_PREFIXES)


def shown_url(url: str) -> str:
    """Return the URL as it may be shown: without who logs in and with which password."""
    if "://" not in url and re.search("[@=]", url):
        return "***"  # of no form we know, so that anything in it may be the password
    # Greedy: a password may hold an "@" or an "&" that should have been escaped.
    if not url.startswith(SQLITE_PREFIX):
        url = re.sub(r"//.*@", "//***@", url)
    return re.sub(r"([?&]\w*password=).*", r"\1***", url)


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
