"""Finds out who calls: by an API key, or as the one at this machine while there are no keys."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from domain.caller import LOCAL_CALLER, ApiKey, CallerIdentity
from domain.errors import CallerError
from domain.ports import Clock
from service.oidc import TokenRefusedError, Tokens
from service.rates import FAILURES_PER_MINUTE, Rates, bucket_of
from service.secrets import KEY_MARK, hash_of, new_secret
from service.store.api_keys import SqlKeyStore

KNOWN_SECONDS: Final = 3.0
"""How long a key that was found is taken as it was: so long may a revoked one still be good."""

KEYLESS_SECONDS: Final = 2.0
"""How often a server without keys looks whether there are some now."""

NOTE_SECONDS: Final = 60.0
"""How often it is written down when keys were used."""

MAX_KNOWN: Final = 10_000
MAX_CREDENTIAL: Final = 8192  # characters

NEEDS_KEY: Final = (
    "Without keys only this machine is served: run `signalbox keys create --name NAME`, "
    "or set SIGNALBOX_HOST to 127.0.0.1."
)

CHALLENGE: Final = 'Bearer realm="signalbox"'


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a request brings."""

    token: str | None
    """What stands behind `Bearer`; `None` where there is no `Authorization` at all."""
    address: str
    local: bool
    """Whether the request has come from this machine to this machine."""


class _Known(NamedTuple):
    key: ApiKey
    until: float


class Callers:
    """Who may call this server."""

    def __init__(
        self, store: SqlKeyStore, clock: Clock, *, production: bool, tokens: Tokens | None
    ) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._closed = production or tokens is not None
        """Whether nobody is served without a key; once it is so it stays so."""
        self._look_again = 0.0
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._own: dict[str, CallerIdentity] = {}
        self._used: dict[str, datetime] = {}
        self._failures = Rates()

    async def closed(self) -> bool:
        """Return whether nobody is served without a key."""
        if not self._closed and time.monotonic() >= self._look_again:
            self._closed = await self._store.any()
            self._look_again = time.monotonic() + KEYLESS_SECONDS
        return self._closed

    async def has_keys(self) -> bool:
        """Return whether anybody can be known: there is a key, or was one, or an issuer of tokens."""
        return self._tokens is not None or await self._store.any()

    def own_secret(self) -> str:
        """Return a secret for a client in this very process, which acts for whoever started it."""
        secret = new_secret()
        self._own[hash_of(secret)] = LOCAL_CALLER
        return secret

    async def identify(self, given: Credentials) -> CallerIdentity:
        """Return who calls; raises `CallerError` where that cannot be told, never with what was sent."""
        if not await self.closed():
            if given.local:
                return LOCAL_CALLER
            raise CallerError("forbidden", NEEDS_KEY)
        if given.token is None:
            msg = "Send `Authorization: Bearer` and a key; `signalbox keys create` makes one."
            raise unauthenticated(msg)
        secret_hash = hash_of(given.token)
        if secret_hash in self._own:
            return self._own[secret_hash]
        try:
            if self._tokens and not given.token.startswith(KEY_MARK):
                return await self._by_token(self._tokens, given.token)
            # Looked up however many wrong ones have come: others at the same address keep no good one out.
            return await self._find(given.token, secret_hash)
        except CallerError as error:
            if error.code == "unauthenticated":
                await self._count_failure(given.address)
            raise

    async def _by_token(self, tokens: Tokens, token: str) -> CallerIdentity:
        try:
            return await tokens.caller(token[: MAX_CREDENTIAL + 1])
        except TokenRefusedError as error:
            raise unauthenticated(f"The token is no good: {error}.", wrong=True) from None

    async def _count_failure(self, address: str) -> None:
        rate = await self._failures.take(bucket_of(address), FAILURES_PER_MINUTE)
        if not rate.allowed:
            msg = "Too many wrong keys came from your address. Wait, and send one that is good."
            raise CallerError("rate-limited", msg, headers={"retry-after": str(rate.reset_seconds)})

    async def _find(self, token: str, secret_hash: str) -> CallerIdentity:
        if not token.startswith(KEY_MARK) or len(token) > MAX_CREDENTIAL:
            raise unauthenticated(
                f"The credential is no key of this server; its keys begin with {KEY_MARK}.",
                wrong=True,
            )
        key = await self._key(secret_hash)
        if key is None:
            raise unauthenticated(
                "The key is not known here. Check that it is complete.", wrong=True
            )
        now = self._clock.now()
        if not key.stands(now):
            self._known.pop(secret_hash, None)
            ended = "was revoked" if key.revoked_at else "has expired"
            msg = f"The key {key.id} {ended}. Ask the operator for another one."
            raise unauthenticated(msg, wrong=True)
        self._used[key.id] = now
        return key.caller

    async def _key(self, secret_hash: str) -> ApiKey | None:
        known = self._known.get(secret_hash)
        if known and time.monotonic() < known.until:
            self._known.move_to_end(secret_hash)
            return known.key
        key = await self._store.find(secret_hash)
        if key is None:
            self._known.pop(secret_hash, None)
            return None
        self._known[secret_hash] = _Known(key, time.monotonic() + KNOWN_SECONDS)
        self._known.move_to_end(secret_hash)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return key

    async def note_use(self) -> None:
        """Write down when keys were used last, away from the requests that used them."""
        used, self._used = self._used, {}
        if used:
            await self._store.touch(used)


def unauthenticated(detail: str, *, wrong: bool = False) -> CallerError:
    """Return the refusal of a request whose caller is not known; `wrong`: what it brought is no good."""
    challenge = f'{CHALLENGE}, error="invalid_token"' if wrong else CHALLENGE
    return CallerError("unauthenticated", detail, headers={"www-authenticate": challenge})
