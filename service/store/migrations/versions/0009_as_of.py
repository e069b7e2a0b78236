"""How old what an answer rests on is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("as_of", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("runs") as table:
        table.drop_column("as_of")
