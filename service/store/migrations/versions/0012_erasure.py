"""What stays of runs that are deleted: sums of what they cost, and what keeps them deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NAMES = ("tenant_id", "day", "caller_id", "agent", "model")
_COUNTS = (
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("calls", "unmetered_calls", "priced_calls"),
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "spent",
        *(sa.Column(name, sa.String(), nullable=False) for name in _NAMES),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.Column("cost_usd", sa.String()),
        sa.Column("cached_pieces", sa.BigInteger(), nullable=False),
        sa.Column("priced_pieces", sa.BigInteger(), nullable=False),
        sa.Column("saved_usd", sa.String()),
        sa.Column("counted_tokens", sa.BigInteger(), nullable=False),
        sa.Column("counted_usd", sa.String()),
        sa.PrimaryKeyConstraint(*_NAMES, name="pk_spent"),
    )
    op.create_table(
        "erased_runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_erased_runs"),
    )
    op.create_index("ix_erased_runs_erased_at_run_id", "erased_runs", ["erased_at", "run_id"])
    op.create_table(
        "erased_keys",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name="pk_erased_keys"),
    )
    op.create_index("ix_erased_keys_created_at", "erased_keys", ["created_at"])


def downgrade() -> None:
    """Undo."""
    for table in ("erased_keys", "erased_runs", "spent"):
        op.drop_table(table)
