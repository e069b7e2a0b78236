"""Whose key created a run, and how far housekeeping has come with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # With a default, so that processes of the version before can go on inserting runs.
    op.add_column(
        "runs", sa.Column("caller_id", sa.String(), nullable=False, server_default="default")
    )
    op.add_column("runs", sa.Column("tidied", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_runs_tidied_ended_at", "runs", ["tidied", "ended_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_runs_tidied_ended_at", "runs")
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("tidied")
        runs.drop_column("caller_id")
