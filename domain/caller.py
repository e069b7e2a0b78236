"""Who calls, what a caller may do, and the keys by which callers are known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

Scope = Literal["runs:write", "runs:read", "approvals:decide", "admin"]
"""`runs:write` creates, changes and cancels runs · `runs:read` sees them and all that belongs to them ·
`approvals:decide` decides what people are asked · `admin` is every other scope, and those to come."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

LOCAL_TENANT: Final = "default"
"""The tenant of the local caller, and of keys that name no other."""

HOSTED_TENANT: Final = "_langgraph"
"""The tenant of runs that LangGraph's own server executes: no key can name it, and no process of ours executes its
runs."""

TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a tenant may be called: folders are named by it."""


@dataclass(frozen=True, kw_only=True)
class CallerLimits:
    """What holds for one caller in place of what the server is set to; `None` leaves that as it is."""

    requests_per_minute: int | None = None
    concurrent_runs: int | None = None


@dataclass(frozen=True, kw_only=True)
class CallerIdentity:
    """Who calls, and what that caller may do."""

    tenant_id: str
    id: str
    """Of the key, or `iss|sub` of a token: what a run and a decision keep of who made them."""
    scopes: frozenset[Scope]
    limits: CallerLimits = CallerLimits()

    def may(self, *scopes: Scope) -> bool:
        """Return whether the caller has one of these scopes."""
        return "admin" in self.scopes or not self.scopes.isdisjoint(scopes)


LOCAL_CALLER: Final = CallerIdentity(tenant_id=LOCAL_TENANT, id="default", scopes=frozenset(SCOPES))
"""Every caller, while the service has no keys: whoever sits at the machine, who may do everything."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is kept of a key: all but the secret itself."""

    id: str
    tenant_id: str
    name: str
    scopes: frozenset[Scope]
    prefix: str
    """How its secret begins, to recognise it by."""
    limits: CallerLimits
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def stands(self, now: datetime) -> bool:
        """Return whether the key is good: neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def caller(self) -> CallerIdentity:
        """Return who calls with this key."""
        return CallerIdentity(
            tenant_id=self.tenant_id, id=self.id, scopes=self.scopes, limits=self.limits
        )
