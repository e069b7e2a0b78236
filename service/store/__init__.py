"""All SQL: the tables, their migrations, and the stores over them."""

from __future__ import annotations

from service.store.database import Database, SqliteDatabase
from service.store.engine import is_postgres, open_database, sqlite_path
from service.store.migrations import migrate
from service.store.opening import open_store
from service.store.ownership import FileOwner, Ownership
from service.store.runs import SqlRunStore

__all__ = [
    "Database",
    "FileOwner",
    "Ownership",
    "SqlRunStore",
    "SqliteDatabase",
    "is_postgres",
    "migrate",
    "open_database",
    "open_store",
    "sqlite_path",
]
