"""`signalbox keys`: makes, lists and revokes the keys of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from domain.caller import ApiKey, CallerLimits, Scope
from domain.errors import ConfigurationError
from service.ids import SystemClock, UuidIds
from service.secrets import hash_of, new_secret, prefix_of
from service.settings import Settings
from service.store.api_keys import SqlKeyStore
from service.store.beside import open_beside

DEFAULT_SCOPES: Final[tuple[Scope, ...]] = ("runs:write", "runs:read")


@dataclass(frozen=True, kw_only=True)
class KeyAsked:
    """What somebody wants a key to be."""

    name: str
    tenant_id: str
    scopes: Sequence[Scope]
    days: float | None
    limits: CallerLimits


async def create(settings: Settings, asked: KeyAsked) -> tuple[ApiKey, str]:
    """Make a key; return it with its secret, which is shown now and never again."""
    secret, now = new_secret(), SystemClock().now()
    key = ApiKey(
        id=UuidIds().new("key"),
        tenant_id=asked.tenant_id,
        name=asked.name,
        scopes=frozenset(asked.scopes or DEFAULT_SCOPES),
        prefix=prefix_of(secret),
        limits=asked.limits,
        created_at=now,
        expires_at=_after(now, asked.days),
    )
    async with open_keys(settings.database_url) as keys:
        await keys.add(key, hash_of(secret))
    return key, secret


def _after(now: datetime, days: float | None) -> datetime | None:
    if days is None:
        return None
    try:
        return now + timedelta(days=days)
    except OverflowError:
        raise ConfigurationError("--expires-days: that is after the year 9999.") from None


async def list_keys(settings: Settings) -> list[ApiKey]:
    """Return all keys, the oldest first."""
    async with open_keys(settings.database_url) as keys:
        return await keys.all()


async def revoke(settings: Settings, key_id: str) -> ApiKey:
    """Revoke a key; raises `ConfigurationError` where there is none of that id."""
    async with open_keys(settings.database_url) as keys:
        key = await keys.revoke(key_id, SystemClock().now())
    if key is None:
        msg = f"There is no key {key_id!r}; `signalbox keys list` shows those that are."
        raise ConfigurationError(msg)
    return key


@asynccontextmanager
async def open_keys(url: str) -> AsyncIterator[SqlKeyStore]:
    """Open the keys of a database, also while a server runs on it, which only reads them."""
    async with open_beside(url) as database:
        yield SqlKeyStore(database)


def as_json(key: ApiKey) -> dict[str, Any]:
    """Return a key as the command prints it."""

    def time(value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant_id,
        "scopes": sorted(key.scopes),
        "prefix": key.prefix,
        "requests_per_minute": key.limits.requests_per_minute,
        "concurrent_runs": key.limits.concurrent_runs,
        "created_at": time(key.created_at),
        "expires_at": time(key.expires_at),
        "revoked_at": time(key.revoked_at),
        "last_used_at": time(key.last_used_at),
    }


def as_line(key: ApiKey) -> str:
    """Return a key in a line."""
    state = "good"
    if not key.stands(SystemClock().now()):
        state = "revoked" if key.revoked_at else "expired"
    used = f"used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
    until = f", until {key.expires_at:%Y-%m-%d}" if key.expires_at else ""
    scopes = " ".join(sorted(key.scopes))
    return f"{key.id}  {key.prefix}…  {state}{until}, {used}  {key.tenant_id}/{key.name}  {scopes}"
