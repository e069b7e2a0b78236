"""The statements about keys of the API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from domain.caller import ApiKey, CallerLimits, Scope
from service.store.caller_tables import api_keys as rows
from service.store.database import Database

_SHOWN: Final = [column for column in rows.c if column.name != "hash"]
_BY_HASH: Final = select(*_SHOWN).where(rows.c.hash == bindparam("secret_hash"))
_BY_ID: Final = select(*_SHOWN).where(rows.c.id == bindparam("key_id"))
_ALL: Final = select(*_SHOWN).order_by(rows.c.created_at, rows.c.id)
_ANY: Final = select(rows.c.id).limit(1)
_REVOKE: Final = (
    update(rows)
    .where(rows.c.id == bindparam("key_id"), rows.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
)
_TOUCH: Final = (
    update(rows)
    .where(
        rows.c.id == bindparam("key_id"),
        or_(rows.c.last_used_at.is_(None), rows.c.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at"))
)


class SqlKeyStore:
    """The keys of a database. Who calls is what a key is looked up for, so only here no tenant is given."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey, secret_hash: str) -> None:
        """Keep a key; when this returns, not even a power cut takes it back."""
        await self._database.write_through(_add, key, secret_hash)

    async def find(self, secret_hash: str) -> ApiKey | None:
        """Return the key of a secret, whether it is good or not."""
        return await self._database.read(_find, secret_hash)

    async def all(self) -> list[ApiKey]:
        """Return every key, the oldest first."""
        return await self._database.read(_all)

    async def any(self) -> bool:
        """Return whether there is, or has been, a key."""
        return await self._database.read(_any)

    async def revoke(self, key_id: str, now: datetime) -> ApiKey | None:
        """Revoke a key, for good; return it, or `None` where there is none of that id."""
        return await self._database.write_through(_revoke, key_id, now)

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were used last."""
        await self._database.write(_touch, used)


def _add(connection: Connection, key: ApiKey, secret_hash: str) -> None:
    values = {
        "id": key.id,
        "tenant_id": key.tenant_id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "hash": secret_hash,
        "prefix": key.prefix,
        "requests_per_minute": key.limits.requests_per_minute,
        "concurrent_runs": key.limits.concurrent_runs,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
    connection.execute(insert(rows), values)


def _find(connection: Connection, secret_hash: str) -> ApiKey | None:
    found = connection.execute(_BY_HASH, {"secret_hash": secret_hash}).mappings().first()
    return None if found is None else _key(found)


def _all(connection: Connection) -> list[ApiKey]:
    return [_key(row) for row in connection.execute(_ALL).mappings()]


def _any(connection: Connection) -> bool:
    return connection.execute(_ANY).first() is not None


def _revoke(connection: Connection, key_id: str, now: datetime) -> ApiKey | None:
    connection.execute(_REVOKE, {"key_id": key_id, "at": now})
    return by_id(connection, key_id)


def by_id(connection: Connection, key_id: str) -> ApiKey | None:
    """Return a key, whether it is good or not."""
    found = connection.execute(_BY_ID, {"key_id": key_id}).mappings().first()
    return None if found is None else _key(found)


def _touch(connection: Connection, used: Mapping[str, datetime]) -> None:
    # In order: two processes that note the same keys would wait for each other.
    for key_id, at in sorted(used.items()):
        connection.execute(_TOUCH, {"key_id": key_id, "at": at})


def _key(row: Mapping[Any, Any]) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant_id=row["tenant_id"],
        name=row["name"],
        scopes=frozenset(cast("list[Scope]", row["scopes"])),
        prefix=row["prefix"],
        limits=CallerLimits(
            requests_per_minute=row["requests_per_minute"], concurrent_runs=row["concurrent_runs"]
        ),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
