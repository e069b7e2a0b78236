"""Where runs report to, and what is sent there."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("webhook", sa.JSON()))
    op.create_table(
        "webhook_endpoints",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("previous_secret", sa.String()),
        _time("previous_until"),
        _time("created_at", nullable=False),
        _time("shown_at"),
        _time("disabled_at"),
        sa.PrimaryKeyConstraint("tenant_id", "url", name="pk_webhook_endpoints"),
    )
    _make_deliveries()
    _make_links()


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("links", sa.JSON()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        _time("next_at"),
        _time("claimed_until"),
        _time("give_up_at", nullable=False),
        sa.Column("last_status", sa.Integer()),
        sa.Column("last_error", sa.Text()),
        _time("created_at", nullable=False),
        _time("delivered_at"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], "fk_deliveries_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_status_next_at", "deliveries", ["status", "next_at"])
    op.create_index("ix_deliveries_run_id_id", "deliveries", ["run_id", "id"])


def _make_links() -> None:
    op.create_table(
        "approval_links",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("approval_id", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("args_digest", sa.String()),
        _time("created_at", nullable=False),
        _time("expires_at", nullable=False),
        _time("used_at"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], "fk_approval_links_run_id_runs", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["approval_id"],
            ["actions.id"],
            "fk_approval_links_approval_id_actions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_hash", name="pk_approval_links"),
    )
    op.create_index("ix_approval_links_run_id", "approval_links", ["run_id"])
    op.create_index("ix_approval_links_approval_id", "approval_links", ["approval_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("approval_links")
    op.drop_table("deliveries")
    op.drop_table("webhook_endpoints")
    with op.batch_alter_table("runs") as table:
        table.drop_column("webhook")
