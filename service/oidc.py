"""Checks tokens (JWT) of an OpenID Connect issuer: who they say calls, and whether the issuer says it.

Only signatures count that the issuer alone can make: with `none` there is no signature, and with HMAC whoever
can check one can make one, so a server that took it could be handed its public key as the secret.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from domain.caller import LOCAL_TENANT, SCOPES, TENANT, CallerIdentity
from domain.errors import CallerError
from domain.oidc import OidcRules
from domain.ports import Clock

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "Ed25519",
)
_KEY_TYPES: Final = frozenset({"RSA", "EC", "OKP"})

LEEWAY_SECONDS: Final = 30
"""By how much the issuer's clock may differ from this one."""

KEYS_SECONDS: Final = 600.0
"""How long the issuer's keys are used before they are fetched again."""

STALE_SECONDS: Final = 3600.0
"""How long they are used at most where the issuer cannot be reached."""

AGAIN_SECONDS: Final = 15.0
"""The pause after a fetch that failed, or that did not have the key it was for: a token can name any."""

MAX_DOCUMENT: Final = 256 * 1024
MAX_KEYS: Final = 100
MAX_SUBJECT: Final = 255

TIMEOUT: Final = httpx.Timeout(5.0)


class TokenRefusedError(Exception):
    """A token is no good; the message says why, and holds nothing of it but names of claims."""


class Bearer(NamedTuple):
    """Whom a token is about."""

    caller: CallerIdentity
    seconds: float
    """How long the token is good still."""


class Tokens:
    """Knows an issuer's keys."""

    def __init__(self, rules: OidcRules, client: httpx.AsyncClient, clock: Clock) -> None:
        self._rules = rules
        self._client = client
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._fetched = self._rests = float("-inf")
        self._lock = asyncio.Lock()

    async def caller(self, token: str) -> CallerIdentity:
        """Return who calls; raises `TokenRefusedError`, or `overloaded` where no key can be had."""
        return (await self.look(token)).caller

    def issued(self, caller: CallerIdentity) -> bool:
        """Return whether a caller was known by a token of this issuer."""
        return caller.id.startswith(f"{self._rules.issuer}|")

    async def look(self, token: str) -> Bearer:
        """Return who calls and until when; raises as `caller` does."""
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, ValueError):
            raise TokenRefusedError("it is neither a key nor a token that can be read") from None
        if header.get("alg") not in ALGORITHMS:
            raise TokenRefusedError(f"it is not signed in one of the ways {', '.join(ALGORITHMS)}")
        key = await self._key(header.get("kid"))
        try:
            claims = jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError):
            raise TokenRefusedError("its signature is not the issuer's") from None
        self._check(claims)
        left = claims["exp"] - self._clock.now().timestamp()
        return Bearer(self._identity(claims), left)

    def _check(self, claims: dict[str, Any]) -> None:
        registry = jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._rules.issuer},
            aud={"essential": True, "values": list(self._rules.audience)},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            registry.validate(claims)
        except JoseError as error:
            claim = getattr(error, "claim", None)
            why = f"the claim {claim!r} is not what it has to be" if claim else error.error
            raise TokenRefusedError(str(why)) from None

    def _identity(self, claims: Mapping[str, Any]) -> CallerIdentity:
        subject: str = claims["sub"]
        tenant: Any = LOCAL_TENANT
        if not subject.isprintable() or len(subject) > MAX_SUBJECT:
            raise TokenRefusedError(f"'sub' is no printable text of up to {MAX_SUBJECT} characters")
        if self._rules.tenant_claim:
            tenant = claims.get(self._rules.tenant_claim)
            if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
                msg = f"its claim {self._rules.tenant_claim!r} names no tenant"
                raise TokenRefusedError(msg)
        given = claims.get(self._rules.scopes_claim, "")
        named = given.split() if isinstance(given, str) else given
        found = [scope for scope in SCOPES if isinstance(named, list) and scope in named]
        return CallerIdentity(
            tenant_id=tenant, id=f"{self._rules.issuer}|{subject}", scopes=frozenset(found)
        )

    async def _key(self, kid: object) -> Key:
        """Return the key that a token names, fetched anew where it is not among those that are known."""
        if time.monotonic() >= self._fetched + KEYS_SECONDS or self._find(kid) is None:
            async with self._lock:
                now = time.monotonic()
                old = now >= self._fetched + KEYS_SECONDS
                if (old or self._find(kid) is None) and now >= self._rests:
                    await self._fetch()
                    if self._find(kid) is None:
                        self._rests = time.monotonic() + AGAIN_SECONDS
        if time.monotonic() >= self._fetched + STALE_SECONDS:
            msg = (
                "The keys of the issuer of tokens cannot be fetched at the moment. Try again soon."
            )
            headers = {"retry-after": str(int(AGAIN_SECONDS))}
            raise CallerError("overloaded", msg, headers=headers)
        key = self._find(kid)
        if key is None:
            raise TokenRefusedError("the issuer has no key of its 'kid'")
        return key

    def _find(self, kid: object) -> Key | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _fetch(self) -> None:
        try:
            self._keys = await self.fetch_keys()
        except (httpx.HTTPError, ValueError):
            # Those that are known are used for a while.
            self._rests = time.monotonic() + AGAIN_SECONDS
            return
        self._fetched = time.monotonic()

    async def fetch_keys(self) -> dict[str, Key]:
        """Return the issuer's keys as they are now; raises `httpx.HTTPError`, or `ValueError` with what is wrong."""
        url = self._rules.jwks_url or await self._discover()
        return _read_keys(await self._get(url))

    async def _discover(self) -> str:
        issuer = self._rules.issuer.rstrip("/")
        document = await self._get(f"{issuer}/.well-known/openid-configuration")
        if document.get("issuer") != self._rules.issuer:
            raise ValueError("the document is another issuer's")
        # Checked as the setting is: nobody is sent to a place in the clear.
        rules = OidcRules(**{**self._rules.model_dump(), "jwks_url": document.get("jwks_uri")})
        if rules.jwks_url is None:
            raise ValueError("the document names no keys")
        return rules.jwks_url

    async def _get(self, url: str) -> dict[str, Any]:
        """Return a JSON object that is not large; redirects are not followed."""
        async with self._client.stream("GET", url, timeout=TIMEOUT) as response:
            response.raise_for_status()
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_DOCUMENT:
                    raise ValueError("the document is too large")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError("the document is no object")  # noqa: TRY004 - as a wrong document is
        return document


def _read_keys(document: dict[str, Any]) -> dict[str, Key]:
    """Return the keys that signatures can be checked with; what is none of ours is passed over."""
    found: dict[str, Key] = {}
    listed = document.get("keys")
    for data in listed[:MAX_KEYS] if isinstance(listed, list) else []:
        if not isinstance(data, dict) or data.get("kty") not in _KEY_TYPES:
            continue
        if data.get("use", "sig") != "sig":
            continue
        try:
            key = JWKRegistry.import_key(data)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        found[str(data.get("kid") or key.thumbprint())] = key
    if not found:
        raise ValueError("the document has no key that signatures can be checked with")
    return found
