"""Runs that were forked from a checkpoint of another, and what they begin with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import optional_json

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("forked_from", optional_json()))
    op.create_table(
        "seeds",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("seed", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_seeds_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_seeds")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("seeds")
    op.drop_column("runs", "forked_from")
