"""What runs may spend, and what their model calls came to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _of_calls() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("round", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("status", sa.String(), nullable=False, server_default="completed"),
        sa.Column("metered", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("most_tokens", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("most_cost_usd", sa.String()),
    )


def _of_runs() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("budget", sa.JSON()),
        sa.Column("ran_seconds", sa.Float(), nullable=False, server_default="0"),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
    )


def upgrade() -> None:
    """Apply."""
    for table, columns in (("usage", _of_calls()), ("runs", _of_runs())):
        for column in columns:
            op.add_column(table, column)
    op.create_index("ix_usage_tenant_id_ts", "usage", ["tenant_id", "ts"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_usage_tenant_id_ts", table_name="usage")
    for name, columns in (("usage", _of_calls()), ("runs", _of_runs())):
        with op.batch_alter_table(name) as table:
            for column in columns:
                table.drop_column(column.name)
