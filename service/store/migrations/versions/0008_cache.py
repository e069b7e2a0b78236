"""Work that is done once for several runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _of_runs() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("cache_key", sa.String()),
        sa.Column("cache_seconds", sa.Integer()),
        sa.Column("cache_web", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("leader_id", sa.String()),
        sa.Column("reusable", sa.String()),
    )


def upgrade() -> None:
    """Apply."""
    for column in _of_runs():
        op.add_column("runs", column)
    op.add_column("usage", sa.Column("saved_cost_usd", sa.String()))
    op.create_index(
        "ix_runs_tenant_id_cache_key_ended_at", "runs", ["tenant_id", "cache_key", "ended_at"]
    )
    op.create_index("ix_runs_leader_id", "runs", ["leader_id"])
    op.create_table(
        "cache",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("web", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], "fk_cache_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_cache"),
    )
    op.create_index("ix_cache_run_id", "cache", ["run_id"])
    op.create_index("ix_cache_created_at", "cache", ["created_at"])
    op.create_index("ix_cache_tenant_id_created_at", "cache", ["tenant_id", "created_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("cache")
    op.drop_index("ix_runs_leader_id", table_name="runs")
    op.drop_index("ix_runs_tenant_id_cache_key_ended_at", table_name="runs")
    with op.batch_alter_table("usage") as table:
        table.drop_column("saved_cost_usd")
    with op.batch_alter_table("runs") as table:
        for column in _of_runs():
            table.drop_column(column.name)
