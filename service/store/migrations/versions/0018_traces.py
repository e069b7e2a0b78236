"""Runs that belong to the trace of a caller."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("traceparent", sa.String()))


def downgrade() -> None:
    """Undo."""
    op.drop_column("runs", "traceparent")
