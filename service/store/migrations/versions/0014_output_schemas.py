"""Runs whose answer is wanted as a JSON document too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import optional_json

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("output_schema", optional_json()))


def downgrade() -> None:
    """Undo."""
    op.drop_column("runs", "output_schema")
