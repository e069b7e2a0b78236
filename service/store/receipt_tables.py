"""The tables of what a receipt says beside the run's own row; they are in the same schema as the others."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, Column, ForeignKey, Integer, String, Table

from service.store.columns import UtcDateTime
from service.store.tables import metadata

configurations: Final = Table(
    "configurations",
    metadata,
    # Of the content, as a receipt gives it.
    Column("digest", String, primary_key=True),
    Column("content", JSON, nullable=False),
)
"""What servers were made of, each once. They are the operator's and say nothing of a tenant or a run."""

run_configurations: Final = Table(
    "run_configurations",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("tenant_id", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
)
"""With which configuration each attempt of a run was executed."""

budget_changes: Final = Table(
    "budget_changes",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    # 1, 2, …
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tenant_id", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("changed_by", String, nullable=False),
    # `patch`, `retry` or `decision`.
    Column("how", String, nullable=False),
    # The limits, with `max_rounds`, as they were and as they are since.
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
)
"""Who has changed what a run may spend."""
