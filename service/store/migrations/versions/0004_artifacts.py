"""The files that runs have produced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # With a default, so that processes of the version before can go on inserting runs.
    op.add_column("runs", sa.Column("artifacts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("actions", sa.Column("artifacts", sa.JSON()))
    op.create_table(
        "artifacts",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], "fk_artifacts_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_artifacts"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("artifacts")
    with op.batch_alter_table("actions") as actions:
        actions.drop_column("artifacts")
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("artifacts")
