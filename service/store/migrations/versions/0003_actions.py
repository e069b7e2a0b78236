"""What people are asked and have decided, and what became of actions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "runs", sa.Column("approval_mode", sa.String(), nullable=False, server_default="policy")
    )
    op.create_table(
        "actions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("thread_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("tool", sa.String()),
        sa.Column("args", sa.JSON()),
        sa.Column("args_digest", sa.String()),
        sa.Column("approval", sa.String()),
        sa.Column("status", sa.String()),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("response_schema", sa.JSON()),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("on_expiry", sa.String(), nullable=False),
        sa.Column("decision", sa.JSON()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("attempt", sa.Integer()),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("result", sa.Text()),
        sa.Column("settled_by", sa.String()),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], "fk_actions_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_actions"),
    )
    op.create_index("ix_actions_run_id", "actions", ["run_id"])
    op.create_index(
        "ix_actions_tenant_id_created_at_id", "actions", ["tenant_id", "created_at", "id"]
    )
    op.create_index("ix_actions_approval_expires_at", "actions", ["approval", "expires_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("actions")
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("approval_mode")
