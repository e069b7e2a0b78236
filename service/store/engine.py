"""Finds the database a URL means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from domain.errors import ConfigurationError
from service.store.database import Database, MemoryDatabase, SqliteDatabase

MEMORY_URL: Final = "memory://"
SQLITE_PREFIX: Final = "sqlite:///"


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


def open_database(url: str) -> Database:
    """Return the database of a URL; nothing is connected yet, but a file's folder exists."""
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
