"""Who comes in: whatever is not public is for callers who are known, also what there is not.

It stands before the routes, so a body is read only for somebody who may be served, and a route that is
added is closed until it says otherwise here.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Final, cast

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.caller import LOCAL_CALLER, CallerIdentity
from domain.errors import CallerError
from service.callers import Callers, Credentials, unauthenticated
from service.http.browsers import SAFE, SIGN_IN, read_cookie, require_same_origin
from service.http.errors import answer_error
from service.http.pages import is_page
from service.http.sse import begins_stream
from service.rates import WINDOW_SECONDS, Rate
from service.services import Services
from service.store.links import PATH

PUBLIC: Final = frozenset(
    {
        "/docs",
        "/docs/oauth2-redirect",
        "/redoc",
        "/openapi.json",
        "/health/live",
        "/health/ready",
        SIGN_IN,
    }
)
"""What anybody may ask for: probes have no key, and the description and the sign-in are how to get in."""


LOOK_AGAIN_SECONDS: Final = 30.0
"""How often it is looked whether whoever follows a stream may still do so."""

FORWARDED: Final = frozenset(
    {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"}
)
"""What proxies add."""


class Door:
    """Wraps the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        services = cast("Services", scope["app"].state.services)
        try:
            given = read_credentials(request)
            caller = await services.callers.identify(given)
            if _is_by_cookie(given, caller) and request.method not in SAFE:
                require_same_origin(request, services.settings.public_url)
            rate = await services.rates.take(caller)
            if rate:
                send = _telling(send, rate)
                refuse_excess(rate)
        except Exception as error:
            response = await answer_error(request, error)
            if response is None:
                raise
            await response(scope, receive, send)
            return
        scope["caller"] = caller
        watched = _Watched(receive, send, services.callers, given)
        await self._app(scope, watched.receive, watched.send)
        await watched.close()


class _Watched:
    """A request whose answer, if it is a stream, ends when its caller is known no more."""

    def __init__(self, receive: Receive, send: Send, callers: Callers, given: Credentials) -> None:
        self._receive = receive
        self._send = send
        self._callers = callers
        self._given = given
        self._streams = False
        self._whole = False
        self._ended = False

    async def send(self, message: Message) -> None:
        """Pass a message on; notes whether a stream begins, and whether it has ended."""
        if message["type"] == "http.response.start":
            self._streams = begins_stream(message)
        elif message["type"] == "http.response.body":
            self._whole = not message.get("more_body", False)
        await self._send(message)

    async def receive(self) -> Message:
        """Return what comes next: of a stream that is the client's leaving, or that of its right to be here."""
        while self._streams:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    return await self._receive()
            if not await self._is_known():
                self._ended = True
                return {"type": "http.disconnect"}
        return await self._receive()

    async def _is_known(self) -> bool:
        try:
            await self._callers.identify(self._given)
        except CallerError as error:
            # What cannot be looked up now, such as the keys of an issuer, is looked up the next time.
            return error.code == "overloaded"
        except (DBAPIError, PoolTimeoutError):
            return True
        return True

    async def close(self) -> None:
        """End a stream that was cut off here as one that is whole, so that its client comes back and is told."""
        if self._ended and not self._whole:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def is_public(path: str) -> bool:
    """Return whether anybody may ask for a path."""
    # Whoever holds a link may come in: it is what says who may decide (docs/webhooks.md). The page shows nothing
    # of anybody: what it shows it asks the API for, as whoever has signed in.
    return path in PUBLIC or path.startswith(PATH) or is_page(path)


def _is_by_cookie(given: Credentials, caller: CallerIdentity) -> bool:
    """Return whether a caller is known by what a browser sends of itself, whichever page asked it to."""
    return given.token is None and given.cookie is not None and caller != LOCAL_CALLER


def _telling(send: Send, rate: Rate) -> Send:
    """Return how to send an answer that says where its caller stands (draft-ietf-httpapi-ratelimit-headers)."""
    headers = [
        (b"ratelimit-policy", b'"requests";q=%d;w=%d' % (rate.limit, WINDOW_SECONDS)),
        (b"ratelimit", b'"requests";r=%d;t=%d' % (rate.remaining, rate.reset_seconds)),
    ]

    async def send_with_rate(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *headers]
        await send(message)

    return send_with_rate


def refuse_excess(rate: Rate) -> None:
    """Refuse a caller that has asked too often."""
    if not rate.allowed:
        msg = (
            f"This key may make {rate.limit} requests in a minute, and has made them. "
            f"Go on in {rate.reset_seconds} s."
        )
        raise CallerError("rate-limited", msg, headers={"retry-after": str(rate.reset_seconds)})


def read_credentials(request: Request) -> Credentials:
    """Return what a request brings; raises `unauthenticated` where it is of no form we know."""
    given = request.headers.getlist("authorization")
    token = None
    if given:
        scheme, _, token = given[0].partition(" ")
        token = token.strip()
        if len(given) > 1 or scheme.lower() != "bearer" or not token:
            msg = "Send one `Authorization` header: `Bearer`, a space, and the key."
            raise unauthenticated(msg, wrong=True)
    return credentials_of(request, token=token, cookie=read_cookie(request))


def credentials_of(
    request: Request, *, token: str | None, cookie: str | None = None
) -> Credentials:
    """Return what was read of a request, with where that has come from."""
    client = request.scope.get("client")
    return Credentials(
        token=token,
        cookie=cookie,
        address=client[0] if client else "",
        local=_is_local(request),
    )


def _is_local(request: Request) -> bool:
    """Return whether a request is from this machine, to it, and means it.

    The last is about pages in a browser: a name that leads here only since the page was loaded would let
    its scripts in, but they cannot send another `Host` than that name.
    """
    server, client = request.scope.get("server"), request.scope.get("client")
    # What a proxy passes on is somebody else's, whatever it says of whom; on a Unix socket too.
    if not server or not is_loopback(_host(request)) or not FORWARDED.isdisjoint(request.headers):
        return False
    if server[1] is None:
        return True  # a Unix socket, which has no addresses
    return client is not None and is_loopback(server[0]) and is_loopback(client[0])


def _host(request: Request) -> str:
    host = request.headers.get("host", "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(name: str) -> bool:
    """Return whether a host is this machine as only this machine can reach it."""
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
