"""What came with a run's task."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("files", sa.JSON()))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("files")
