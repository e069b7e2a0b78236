"""The tables of those who call; they are in the same schema as the others."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, Column, Index, Integer, String, Table

from service.store.columns import UtcDateTime, optional_json
from service.store.tables import metadata

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("scopes", JSON, nullable=False),
    # SHA-256 of the secret, in hex; the secret itself is kept nowhere.
    Column("hash", String, nullable=False, unique=True),
    Column("prefix", String, nullable=False),
    # What holds in place of the server's settings; NULL leaves them as they are.
    Column("requests_per_minute", Integer),
    Column("concurrent_runs", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
)
"""Who may call. A row stays when its key is revoked: runs name it, and a server that had keys stays closed."""

# Whether any has places of its own, which whoever looks for runs asks.
Index(None, api_keys.c.concurrent_runs)

sign_ins: Final = Table(
    "sign_ins",
    metadata,
    # SHA-256 of what the cookie holds: whoever reads the table has no cookie.
    Column("hash", String, primary_key=True),
    Column("tenant_id", String, nullable=False),
    # The key, which says what it may do as long as it stands; or `iss|sub` of a token.
    Column("caller_id", String, nullable=False),
    # What the token said of its caller; NULL of a key.
    Column("scopes", optional_json()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
"""Browsers that have signed in, each with a cookie of its own."""

Index(None, sign_ins.c.tenant_id, sign_ins.c.caller_id)
Index(None, sign_ins.c.expires_at)
