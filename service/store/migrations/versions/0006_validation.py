"""Whether a run's results are checked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "runs", sa.Column("validation", sa.String(), nullable=False, server_default="off")
    )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("validation")
