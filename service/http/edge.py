"""What every request passes: a request id, the body's type and its size, and what browsers are told.

Plain ASGI, so streams stay streams."""

from __future__ import annotations

import re
from typing import Final

import uuid_utils
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import CallerError
from domain.problems import Code, make_problem
from service.http.errors import problem_response
from service.store.links import PATH

MAX_BODY_BYTES: Final = 1_048_576
"""The largest body: a task of 32 000 characters needs at most 128 kB, plus metadata."""

MAX_CREATE_BYTES: Final = 16 * 1_048_576
"""The largest body that creates a run: its files have up to 10 MiB, and base64 makes 14 of them."""

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        request_id = _request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        scope["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                message["headers"] = [
                    *own,
                    (b"x-request-id", request_id.encode()),
                    *_for_browsers(own),
                ]
            await send(message)

        refused = _refuse(scope, headers)
        if refused:
            await _answer(scope, receive, send_with_id, *refused)
            return
        await self._app(scope, _Bounded(receive, _limit(scope)), send_with_id)


def _for_browsers(own: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what an answer does not say itself; a page that says nothing of scripts keeps its own."""
    said = {name.lower(): value for name, value in own}
    page = said.get(b"content-type", b"").startswith(b"text/html")
    policy = (b"content-security-policy", _FRAMES if page else _NOTHING)
    return [each for each in (*_FOR_BROWSERS, policy) if each[0] not in said]


def _limit(scope: Scope) -> int:
    """Return how many bytes the body of a request may have."""
    creates = (scope["method"], scope["path"]) == ("POST", "/v1/runs")
    return MAX_CREATE_BYTES if creates else MAX_BODY_BYTES


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit} bytes. Send less."


class _Bounded:
    """Passes a body on up to the limit, also where no length was announced."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._limit:
                raise CallerError("payload-too-large", _too_large(self._limit))
        return message


def _request_id(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else f"req_{uuid_utils.uuid7().hex}"


def _refuse(scope: Scope, headers: dict[bytes, bytes]) -> tuple[Code, str] | None:
    """Return why a request is refused before its body is read."""
    if "\x00" in scope["path"]:
        return "not-found", "No resource has a NUL character in its name."
    length = headers.get(b"content-length", b"")
    limit = _limit(scope)
    if length.isdigit() and int(length) > limit:
        return "payload-too-large", _too_large(limit)
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
    return "unsupported-media-type", detail


async def _answer(scope: Scope, receive: Receive, send: Send, code: Code, detail: str) -> None:
    response = problem_response(Request(scope), make_problem(code, detail))
    await response(scope, receive, send)
