"""LangGraph's checkpoints, in the same database as the runs.

Those in Postgres are in `service.checkpoints.postgres`, whose driver not everybody has to load."""

from __future__ import annotations

from service.checkpoints.base import Checkpoints, Saver
from service.checkpoints.memory import MemoryCheckpoints
from service.checkpoints.sqlite import DeferringSaver, SqliteCheckpoints, open_sqlite_checkpoints

__all__ = [
    "Checkpoints",
    "DeferringSaver",
    "MemoryCheckpoints",
    "Saver",
    "SqliteCheckpoints",
    "open_sqlite_checkpoints",
]
