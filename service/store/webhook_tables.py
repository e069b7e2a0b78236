"""The tables of webhooks; they are in the same schema as the others."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, Column, ForeignKey, Index, Integer, String, Table, Text

from service.store.columns import UtcDateTime, optional_json
from service.store.tables import metadata

webhook_endpoints: Final = Table(
    "webhook_endpoints",
    metadata,
    Column("tenant_id", String, primary_key=True),
    # Without a query.
    Column("url", String, primary_key=True),
    # As they are: there is nothing to encrypt them with that would not lie beside them.
    Column("secret", String, nullable=False),
    Column("previous_secret", String),
    Column("previous_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    # NULL until somebody was given the secret.
    Column("shown_at", UtcDateTime),
    # Since when it wants nothing more.
    Column("disabled_at", UtcDateTime),
)
"""Who receives webhooks, and what their messages are signed with."""

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("tenant_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("url", String, nullable=False),
    Column("endpoint", String, nullable=False),
    # `host:port`: only so many are sent to one at a time.
    Column("host", String, nullable=False),
    Column("status", String, nullable=False),
    # What is sent, but for the links below.
    Column("payload", JSON, nullable=False),
    # Where people decide, by approval; only while it is being sent, for whoever reads them may decide.
    Column("links", optional_json()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # Of those, since somebody asked for it.
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_at", UtcDateTime),
    # Who sends it has it until then.
    Column("claimed_until", UtcDateTime),
    Column("give_up_at", UtcDateTime, nullable=False),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
)
"""What is sent to webhooks: an outbox, and the log of what became of it."""

approval_links: Final = Table(
    "approval_links",
    metadata,
    # The SHA-256 of what stands in the url: whoever reads the table has no link.
    Column("token_hash", String, primary_key=True),
    Column("tenant_id", String, nullable=False),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("approval_id", ForeignKey("actions.id", ondelete="CASCADE"), nullable=False, index=True),
    # With which it was sent.
    Column("delivery_id", String, nullable=False),
    # Of the call that is shown, and of no other.
    Column("args_digest", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
)
"""Pages on which somebody without a key may decide about one approval, once."""

# What is to be sent next.
Index(None, deliveries.c.status, deliveries.c.next_at)
# A run's log.
Index(None, deliveries.c.run_id, deliveries.c.id)
