"""Finds out who calls: by an API key, a browser's sign-in with one, or as the one at this machine while there
are no keys."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from domain.caller import LOCAL_CALLER, ApiKey, CallerIdentity
from domain.errors import CallerError
from domain.ports import Clock
from service.oidc import Bearer, TokenRefusedError, Tokens
from service.rates import FAILURES_PER_MINUTE, Rates, bucket_of
from service.secrets import KEY_MARK, hash_of, new_cookie, new_secret
from service.store.api_keys import SqlKeyStore
from service.store.sign_ins import SignIn, SqlSignInStore

KNOWN_SECONDS: Final = 3.0
"""How long a key that was found is taken as it was: so long may a revoked one still be good."""

KEYLESS_SECONDS: Final = 2.0
"""How often a server without keys looks whether there are some now."""

NOTE_SECONDS: Final = 60.0
"""How often it is written down when keys were used."""

SIGN_IN_SECONDS: Final = 7 * 86_400
"""How long a browser that has signed in stays so; with a token no longer than that is good."""

EXPIRE_SECONDS: Final = 3600.0
"""How often sign-ins that are over are dropped."""

SIGN_IN_AGAIN: Final = "You are not signed in here any more. Sign in again with your key."

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
    cookie: str | None
    """What a browser got when it signed in; it counts only where there is no `Authorization`."""
    address: str
    local: bool
    """Whether the request has come from this machine to this machine."""


class _Known(NamedTuple):
    found: ApiKey | SignIn
    until: float


class NewSignIn(NamedTuple):
    """What a browser that has signed in is given."""

    secret: str
    seconds: int
    """How long it is good."""


class Callers:
    """Who may call this server."""

    def __init__(
        self,
        store: SqlKeyStore,
        sign_ins: SqlSignInStore,
        clock: Clock,
        *,
        production: bool,
        tokens: Tokens | None,
    ) -> None:
        self._store = store
        self._sign_ins = sign_ins
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
        if given.token is None and given.cookie is None:
            msg = "Send `Authorization: Bearer` and a key; `signalbox keys create` makes one."
            raise unauthenticated(msg)
        try:
            # Looked up however many wrong ones have come: others at the same address keep no good one out.
            if given.token is not None:
                return await self._by_credential(given.token)
            return await self._by_cookie(given.cookie or "")
        except CallerError as error:
            await self._count(error, given)
            raise

    async def _by_credential(self, token: str) -> CallerIdentity:
        secret_hash = hash_of(token)
        if secret_hash in self._own:
            return self._own[secret_hash]
        if self._tokens and not token.startswith(KEY_MARK):
            return (await self._look(self._tokens, token)).caller
        return (await self._find(token, secret_hash)).caller

    async def _by_cookie(self, cookie: str) -> CallerIdentity:
        """Return who has signed in: as long as the sign-in lasts, and the key with which that was."""
        secret_hash = hash_of(cookie)
        found = await self._known_or(secret_hash, self._sign_ins.find)
        now = self._clock.now()
        if not isinstance(found, SignIn) or now >= found.expires_at:
            self._known.pop(secret_hash, None)
            raise unauthenticated(SIGN_IN_AGAIN, wrong=True)
        if found.key is not None:
            self._note(found.key, secret_hash, now)
        elif self._tokens is None or not self._tokens.issued(found.caller):
            msg = (
                "This server takes no tokens any more of the issuer whose token you signed in with."
            )
            raise unauthenticated(msg, wrong=True)
        return found.caller

    async def sign_in(self, given: Credentials) -> NewSignIn:
        """Give a browser something of its own to be known by, for a key or token; raises as `identify` does."""
        token, seconds = given.token or "", float(SIGN_IN_SECONDS)
        try:
            if self._tokens and not token.startswith(KEY_MARK):
                caller, left = await self._look(self._tokens, token)
                seconds, by_key = max(1.0, min(seconds, left)), False
            else:
                caller, by_key = (await self._find(token, hash_of(token))).caller, True
        except CallerError as error:
            await self._count(error, given)
            raise
        secret, now = new_cookie(), self._clock.now()
        until = now + timedelta(seconds=seconds)
        await self._sign_ins.add(hash_of(secret), caller, by_key=by_key, now=now, until=until)
        return NewSignIn(secret, int(seconds))

    async def sign_out(self, cookie: str) -> None:
        """End a browser's sign-in, if it is one."""
        secret_hash = hash_of(cookie)
        # Looked for first: whoever makes cookies up makes nobody wait for the database's writer.
        if await self._sign_ins.find(secret_hash) is not None:
            await self._sign_ins.end(secret_hash)
        self._known.pop(secret_hash, None)

    async def expire_sign_ins(self) -> None:
        """Drop the sign-ins that are over."""
        await self._sign_ins.expire(self._clock.now())

    async def _look(self, tokens: Tokens, token: str) -> Bearer:
        try:
            return await tokens.look(token[: MAX_CREDENTIAL + 1])
        except TokenRefusedError as error:
            raise unauthenticated(f"The token is no good: {error}.", wrong=True) from None

    async def _count(self, error: CallerError, given: Credentials) -> None:
        """Count what was no good, and refuse its address where there was much of it."""
        if error.code != "unauthenticated":
            return
        rate = await self._failures.take(bucket_of(given.address), FAILURES_PER_MINUTE)
        if not rate.allowed:
            msg = "Too many wrong keys came from your address. Wait, and send one that is good."
            raise CallerError("rate-limited", msg, headers={"retry-after": str(rate.reset_seconds)})

    async def _find(self, token: str, secret_hash: str) -> ApiKey:
        if not token.startswith(KEY_MARK) or len(token) > MAX_CREDENTIAL:
            raise unauthenticated(
                f"The credential is no key of this server; its keys begin with {KEY_MARK}.",
                wrong=True,
            )
        key = await self._known_or(secret_hash, self._store.find)
        if not isinstance(key, ApiKey):
            raise unauthenticated(
                "The key is not known here. Check that it is complete.", wrong=True
            )
        self._note(key, secret_hash, self._clock.now())
        return key

    def _note(self, key: ApiKey, secret_hash: str, now: datetime) -> None:
        """Refuse a key that stands no more, and note that one was used."""
        if not key.stands(now):
            self._known.pop(secret_hash, None)
            ended = "was revoked" if key.revoked_at else "has expired"
            msg = f"The key {key.id} {ended}. Ask the operator for another one."
            raise unauthenticated(msg, wrong=True)
        self._used[key.id] = now

    async def _known_or(
        self, secret_hash: str, find: Callable[[str], Awaitable[ApiKey | SignIn | None]]
    ) -> ApiKey | SignIn | None:
        """Return what a secret stands for, as it was found some seconds ago or is now."""
        known = self._known.get(secret_hash)
        if known and time.monotonic() < known.until:
            self._known.move_to_end(secret_hash)
            return known.found
        found = await find(secret_hash)
        if found is None:
            self._known.pop(secret_hash, None)
            return None
        self._known[secret_hash] = _Known(found, time.monotonic() + KNOWN_SECONDS)
        self._known.move_to_end(secret_hash)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return found

    async def note_use(self) -> None:
        """Write down when keys were used last, away from the requests that used them."""
        used, self._used = self._used, {}
        if used:
            await self._store.touch(used)


def unauthenticated(detail: str, *, wrong: bool = False) -> CallerError:
    """Return the refusal of a request whose caller is not known; `wrong`: what it brought is no good."""
    challenge = f'{CHALLENGE}, error="invalid_token"' if wrong else CHALLENGE
    return CallerError("unauthenticated", detail, headers={"www-authenticate": challenge})
