"""What every request passes: a request id, the body's type and its size, and what browsers are told.

Plain ASGI, so streams stay streams."""

from __future__ import annotations

import asyncio
import re
from typing import Final
from weakref import WeakValueDictionary

import uuid_utils
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import CallerError
from monitoring.logs import about
from service.connections import CROWDED
from service.http.browsers import SIGN_IN
from service.http.errors import answer_error
from service.http.measuring import measuring
from service.http.tracing import tracing
from service.store.links import PATH
from tools.net.addresses import network_of

MAX_BODY_BYTES: Final = 1_048_576
"""The largest body: a task of 32 000 characters needs at most 128 kB, plus metadata."""

MAX_CREATE_BYTES: Final = 16 * 1_048_576
"""The largest body that creates a run: its files have up to 10 MiB, and base64 makes 14 of them."""

MAX_FORM_BYTES: Final = 262_144
"""The largest form of an approval's page: 16 000 characters, each up to four bytes, each of them as `%F0`."""

LARGE_BODY_BYTES: Final = 262_144
LARGE_AT_ONCE: Final = 4
"""Bodies larger than that which one process reads at the same time; the others are not read any further."""

LARGE_OF_ONE: Final = 2
"""How many of them one address may send, of IPv6 one /64 network."""

LARGE_WAIT_SECONDS: Final = 15.0
"""How long one of those waits for its turn."""

LARGE_SECONDS: Final = 10.0
LARGE_BYTES_A_SECOND: Final = 524_288
"""A turn has ten seconds, and one more for each 512 KiB that have come: others wait for it."""

CROWDED_AGAIN_SECONDS: Final = 5
"""When a client may try again for which there was no place."""

MAX_SIGN_IN_BYTES: Final = 65_536
"""The largest body with a key, which anybody may send: a token has up to 8192 characters."""

_FRAMES: Final = b"frame-ancestors 'none'"
_NOTHING: Final = b"default-src 'none'; " + _FRAMES

_FOR_BROWSERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""No page of another site embeds an answer, frames it or learns its address. There is no CORS: a browser
keeps what it reads here from every other site."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = _Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        request_id = _request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        scope["request_id"] = request_id

        with (
            about(request_id=request_id),
            measuring(scope, headers, receive, send) as measured,
            tracing(scope, measured.send) as sending,
        ):
            bounded = _Bounded(measured.receive, scope, self._turns)

            async def send_with_id(message: Message) -> None:
                if message["type"] == "http.response.start":
                    bounded.close()  # an answer may take as long as its run
                    own = list(message.get("headers", []))
                    message["headers"] = [
                        *own,
                        (b"x-request-id", request_id.encode()),
                        *_for_browsers(own),
                    ]
                await sending(message)

            refused = _refuse(scope, headers)
            if refused:
                response = await answer_error(Request(scope), refused)
                if response:
                    await response(scope, measured.receive, send_with_id)
                return
            try:
                await self._app(scope, bounded, send_with_id)
            finally:
                bounded.close()


def _for_browsers(own: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what an answer does not say itself; a page that says nothing of scripts keeps its own."""
    said = {name.lower(): value for name, value in own}
    page = said.get(b"content-type", b"").startswith(b"text/html")
    policy = (b"content-security-policy", _FRAMES if page else _NOTHING)
    return [each for each in (*_FOR_BROWSERS, policy) if each[0] not in said]


def _limit(scope: Scope) -> int:
    """Return how many bytes the body of a request may have."""
    if scope["path"].startswith(PATH):
        return MAX_FORM_BYTES
    if scope["path"] == SIGN_IN:
        return MAX_SIGN_IN_BYTES
    creates = (scope["method"], scope["path"]) == ("POST", "/v1/runs")
    return MAX_CREATE_BYTES if creates else MAX_BODY_BYTES


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit} bytes. Send less."


class _Turns:
    """Who may send a large body: a few of each address, a few more of all together."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(LARGE_AT_ONCE)
        self._own: WeakValueDictionary[bytes, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, scope: Scope) -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
        """Return what a request takes a place of, in this order; it holds what is its address's own."""
        client = scope.get("client")
        network = network_of(client[0] if client else "")
        own = self._own.get(network)
        if own is None:
            own = self._own[network] = asyncio.Semaphore(LARGE_OF_ONE)
        return own, self._all


class _Bounded:
    """Passes a body on up to the limit, also where no length was announced; a large one when it is its turn."""

    def __init__(self, receive: Receive, scope: Scope, turns: _Turns) -> None:
        self._receive = receive
        self._scope = scope
        self._limit = _limit(scope)
        self._turns = turns
        self._held: list[asyncio.Semaphore] = []
        self._since = 0.0
        self._bytes = 0

    async def __call__(self) -> Message:
        message = await self._next()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._limit:
                raise CallerError("payload-too-large", _too_large(self._limit))
            if not message.get("more_body"):
                self.close()
            elif self._bytes > LARGE_BODY_BYTES and not self._held:
                await self._wait()
        return message

    async def _next(self) -> Message:
        """Return what comes next, while there is time for it."""
        if not self._held:
            return await self._receive()
        seconds = LARGE_SECONDS + self._bytes / LARGE_BYTES_A_SECOND
        try:
            async with asyncio.timeout_at(self._since + seconds):
                return await self._receive()
        except TimeoutError:
            msg = (
                "The body comes too slowly, and few large ones are read at the same time. "
                "Send it again over a faster connection."
            )
            raise _full(msg) from None

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LARGE_WAIT_SECONDS):
                for turn in self._turns.of(self._scope):
                    await turn.acquire()
                    self._held.append(turn)
        except TimeoutError:
            msg = "Too many large bodies come at the same time. Send this one again."
            raise _full(msg) from None
        self._since = asyncio.get_running_loop().time()

    def close(self) -> None:
        """Give the turn to the next one."""
        while self._held:
            self._held.pop().release()


def _full(detail: str) -> CallerError:
    return CallerError("overloaded", detail, headers={"retry-after": str(CROWDED_AGAIN_SECONDS)})


def _request_id(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else f"req_{uuid_utils.uuid7().hex}"


def _refuse(scope: Scope, headers: dict[bytes, bytes]) -> CallerError | None:
    """Return why a request is refused before its body is read."""
    if scope.get("state", {}).get(CROWDED) and scope["path"] != "/health/live":
        error = _full(
            "There are as many connections as there may be. Close some, or come back soon."
        )
        error.headers["connection"] = "close"
        return error
    if "\x00" in scope["path"]:
        return CallerError("not-found", "No resource has a NUL character in its name.")
    length = headers.get(b"content-length", b"")
    limit = _limit(scope)
    if length.isdigit() and int(length) > limit:
        return CallerError("payload-too-large", _too_large(limit))
    if scope["method"] not in {"POST", "PATCH", "PUT"} or (
        not int(length or b"0") and b"transfer-encoding" not in headers
    ):
        return None
    media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if scope["path"].startswith(PATH):
        return None  # a form of a page, which is read as one whatever it is called
    if media == "application/json" or (
        media.startswith("application/") and media.endswith("+json")
    ):
        return None
    detail = (
        f"The body's media type is {media[:80]!r}. Send JSON with content-type: application/json."
    )
    return CallerError("unsupported-media-type", detail)
