"""Runs that go on after their end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "runs", sa.Column("retried_after", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("actions", sa.Column("taken_up_by", sa.String()))


def downgrade() -> None:
    """Undo."""
    op.drop_column("actions", "taken_up_by")
    op.drop_column("runs", "retried_after")
