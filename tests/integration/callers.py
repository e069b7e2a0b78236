"""Keys for tests: made in the database of a running product, as `signalbox keys create` does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from domain.caller import SCOPES, ApiKey, CallerLimits, Scope
from service.ids import UuidIds
from service.secrets import hash_of, new_secret, prefix_of
from service.store import SqlRunStore
from service.store.api_keys import SqlKeyStore
from tests.fakes.running import Product


def key_store(product: Product) -> SqlKeyStore:
    """Return the keys of a product's database."""
    return SqlKeyStore(cast("SqlRunStore", product.services.store).database)


async def issue(
    product: Product,
    *scopes: Scope,
    tenant: str = "default",
    name: str = "test",
    days: float | None = None,
    **limits: Any,
) -> tuple[ApiKey, dict[str, str]]:
    """Make a key with some scopes, or all but `admin`; return it with the header that a client sends.

    A server that has served somebody without a key sees the first one some time later.
    """
    secret, now = new_secret(), datetime.now(UTC)
    key = ApiKey(
        id=UuidIds().new("key"),
        tenant_id=tenant,
        name=name,
        scopes=frozenset(scopes or set(SCOPES) - {"admin"}),
        prefix=prefix_of(secret),
        limits=CallerLimits(**limits),
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    await key_store(product).add(key, hash_of(secret))
    return key, {"authorization": f"Bearer {secret}"}
