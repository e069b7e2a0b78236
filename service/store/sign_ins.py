"""The statements about browsers that have signed in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Connection, bindparam, delete, insert, select

from domain.caller import ApiKey, CallerIdentity, Scope
from service.store import api_keys
from service.store.caller_tables import sign_ins as rows
from service.store.database import Database

MOST_PER_CALLER: Final = 20
"""How many browsers a key may be signed in with at the same time; the oldest makes room for one more."""

_FIND: Final = select(rows).where(rows.c.hash == bindparam("secret_hash"))
_END: Final = delete(rows).where(rows.c.hash == bindparam("secret_hash"))
_EXPIRE: Final = delete(rows).where(rows.c.expires_at <= bindparam("now"))
_OF_CALLER: Final = (
    rows.c.tenant_id == bindparam("tenant"),
    rows.c.caller_id == bindparam("caller"),
)
_CROWD_OUT: Final = delete(rows).where(
    *_OF_CALLER,
    rows.c.hash.in_(
        select(rows.c.hash)
        .where(*_OF_CALLER)
        .order_by(rows.c.created_at.desc(), rows.c.hash)
        .offset(MOST_PER_CALLER)
        .scalar_subquery()
    ),
)


class SignIn(NamedTuple):
    """A browser that has signed in."""

    caller: CallerIdentity
    """Of a key as it stands now."""
    expires_at: datetime
    key: ApiKey | None
    """With what it has, unless that was a token."""


class SqlSignInStore:
    """The sign-ins of a database. Who calls is what one is looked up for, so no tenant is given."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        secret_hash: str,
        caller: CallerIdentity,
        *,
        by_key: bool,
        now: datetime,
        until: datetime,
    ) -> None:
        """Keep one; of those of its caller there are only so many."""
        row = {
            "hash": secret_hash,
            "tenant_id": caller.tenant_id,
            "caller_id": caller.id,
            "scopes": None if by_key else sorted(caller.scopes),
            "created_at": now,
            "expires_at": until,
        }
        await self._database.write(_add, row)

    async def find(self, secret_hash: str) -> SignIn | None:
        """Return the one of a cookie, whether it is still good or not."""
        return await self._database.read(_find, secret_hash)

    async def end(self, secret_hash: str) -> None:
        """End one; when this returns, not even a power cut brings it back."""
        await self._database.write_through(_end, secret_hash)

    async def expire(self, now: datetime) -> None:
        """Drop those that are over."""
        await self._database.write(_expire, now)


def _add(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(insert(rows), row)
    connection.execute(_CROWD_OUT, {"tenant": row["tenant_id"], "caller": row["caller_id"]})


def _find(connection: Connection, secret_hash: str) -> SignIn | None:
    row = connection.execute(_FIND, {"secret_hash": secret_hash}).mappings().first()
    if row is None:
        return None
    if row["scopes"] is not None:
        return SignIn(_of_token(row), row["expires_at"], None)
    key = api_keys.by_id(connection, row["caller_id"])
    return None if key is None else SignIn(key.caller, row["expires_at"], key)


def _of_token(row: Mapping[Any, Any]) -> CallerIdentity:
    scopes = frozenset(cast("list[Scope]", row["scopes"]))
    return CallerIdentity(tenant_id=row["tenant_id"], id=row["caller_id"], scopes=scopes)


def _end(connection: Connection, secret_hash: str) -> None:
    connection.execute(_END, {"secret_hash": secret_hash})


def _expire(connection: Connection, now: datetime) -> None:
    connection.execute(_EXPIRE, {"now": now})
