"""Notes to runs that are under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "notes",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request", sa.String()),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_notes_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_notes"),
    )
    op.add_column("runs", sa.Column("notes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(
        "runs", sa.Column("notes_closed", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("runs") as table:
        table.drop_column("notes_closed")
        table.drop_column("notes")
    op.drop_table("notes")
