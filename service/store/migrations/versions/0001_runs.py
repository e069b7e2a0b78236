"""Runs, their tags, events and usage, and idempotency records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_runs()
    _create_run_tags()
    _create_events()
    _create_usage()
    _create_idempotency()


def downgrade() -> None:
    """Undo."""
    for table in ("idempotency", "usage", "events", "run_tags", "runs"):
        op.drop_table(table)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("thread_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("stop_reason", sa.String()),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON()),
        sa.Column("required_action", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("degraded", sa.JSON(), nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("cache", sa.JSON()),
        sa.Column("max_rounds", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("trace_url", sa.String()),
        sa.Column("graph_version", sa.String(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("agents", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    for columns in (
        ["tenant_id", "id"],
        ["tenant_id", "thread_id", "id"],
        ["status", "tenant_id", "id"],
        ["tenant_id", "created_at"],
    ):
        op.create_index(f"ix_runs_{'_'.join(columns)}", "runs", columns)


def _run_id(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["run_id"], ["runs.id"], f"fk_{table}_run_id_runs", ondelete="CASCADE"
    )


def _create_run_tags() -> None:
    op.create_table(
        "run_tags",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        _run_id("run_tags"),
        sa.PrimaryKeyConstraint("tenant_id", "tag", "run_id", name="pk_run_tags"),
    )
    op.create_index("ix_run_tags_run_id", "run_tags", ["run_id"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("agent", sa.String()),
        sa.Column("path", sa.String()),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        _run_id("events"),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_events"),
        sa.UniqueConstraint("run_id", "key", name="uq_events_run_id_key"),
    )


def _create_usage() -> None:
    op.create_table(
        "usage",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.String()),
        _run_id("usage"),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_usage"),
    )


def _create_idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
            "fk_idempotency_run_id_runs",
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_run_id", "idempotency", ["run_id"])
