"""What callers think of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import optional_json

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("score", optional_json()),
        sa.Column("comment", sa.Text()),
        sa.Column("caller_id", sa.String(), nullable=False),
        sa.Column("sent_with", sa.String()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], "fk_feedback_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_run_id_id", "feedback", ["run_id", "id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("feedback")
