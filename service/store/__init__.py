"""All SQL: the tables, their migrations, and the stores over them."""

from __future__ import annotations

from service.store.engine import open_engine, sqlite_path
from service.store.migrations import migrate
from service.store.opening import open_store
from service.store.ownership import FileOwner
from service.store.runs import SqlRunStore

__all__ = ["FileOwner", "SqlRunStore", "migrate", "open_engine", "open_store", "sqlite_path"]
