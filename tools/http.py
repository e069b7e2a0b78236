"""The tool that sends one HTTP request, to a public host or to one that the operator lists."""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple

import httpcore
import httpx
import orjson
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationError

from domain.errors import EffectUnknownError, ToolFailedError
from domain.run import RunContext
from domain.tool import CallFacts
from tools.fencing import fence
from tools.net.bodies import PACKED, Body, read_body
from tools.net.client import MEDIA_TYPE, NetLimits, SafeClient
from tools.net.targets import Target, read_target

MAX_URL_CHARS: Final = 2_000
MAX_BODY_CHARS: Final = 100_000
MAX_HEADERS: Final = 20
SHOWN_CHARS: Final = 15_000
"""Together with status, headers and notes this stays below the limit of one tool result."""

READING: Final = frozenset({"GET", "HEAD"})

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_OWN_HEADERS: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade"),
        *("trailer", "expect", "accept-encoding", "idempotency-key"),
        "te",  # codespell:ignore te
        # Many servers obey these: a GET would be a DELETE, or of another path than it was judged by.
        *("x-method-override", "x-original-url", "x-rewrite-url"),
    }
)
_OWN_PREFIXES: Final = ("proxy-", "x-forwarded-", "x-http-method")

_TEXT_TYPE: Final = re.compile(
    r"text/.*|image/svg\+xml|application/(?:.*\+)?(?:json|xml|yaml|javascript|x-ndjson)"
)
_LOCATION: Final = re.compile(r"[!-;=?-~]{1,500}")

_NOT_SENT: Final = (
    *(httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout),
    *(httpcore.UnsupportedProtocol, httpcore.LocalProtocolError),
)
"""Errors that come before the first byte of a request."""

LIMITS: Final = NetLimits(total_seconds=30.0, read_bytes=200_000, redirects=0)
"""What one request may take."""


def _upper(value: object) -> object:
    # ASCII only: other letters have capitals that make a method of what is none.
    return value.upper() if isinstance(value, str) and value.isascii() else value


class HttpRequestArgs(BaseModel):
    """The arguments of `http_request`."""

    method: Annotated[
        Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], BeforeValidator(_upper)
    ] = Field(description="The HTTP method: GET, HEAD, POST, PUT, PATCH or DELETE.")
    url: str = Field(
        max_length=MAX_URL_CHARS, description="As in https://api.example.com/v1/items?page=2."
    )
    headers: dict[
        Annotated[str, StringConstraints(max_length=100)],
        Annotated[str, StringConstraints(max_length=2_000)],
    ] = Field(
        default={}, max_length=MAX_HEADERS, description=f"Headers to send, at most {MAX_HEADERS}."
    )
    body: str | None = Field(
        default=None, max_length=MAX_BODY_CHARS, description="The body: JSON or other text."
    )


class _Request(NamedTuple):
    """A request that may be sent as it is."""

    method: str
    target: Target
    headers: dict[str, str]
    content: bytes

    @property
    def name(self) -> str:
        # Without the query, which may hold a secret.
        return f"{self.method} {self.target.address}{self.target.path}"


@dataclass
class _Answer:
    """What came back, as far as it came."""

    status: int
    headers: Mapping[str, str]
    encoding: str
    body: Body = field(default_factory=Body)


def http_reads(args: Mapping[str, Any]) -> bool:
    """Return whether the call only reads, going by its method."""
    return _upper(args.get("method")) in READING


def http_facts(args: Mapping[str, Any], client: SafeClient) -> CallFacts:
    """Return what a gate may ask about the call; refuse one that its client would not send."""
    try:
        checked = HttpRequestArgs.model_validate(dict(args))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = f"The {first['loc'][0]} of the request cannot be used: {first['msg']}."
        raise ToolFailedError(message) from None
    request = _checked(checked.method, checked.url, checked.headers, checked.body)
    client.refuse(request.target)
    target, size = request.target, len(request.content)
    return CallFacts(method=request.method, host=target.address, path=target.path, size=size)


def make_http_request(client: SafeClient) -> BaseTool:
    """Return the tool `http_request`; it reaches what its client reaches."""

    async def http_request(
        method: str,
        url: str,
        runtime: ToolRuntime[RunContext, Any],
        headers: dict[str, str] | None = None,
        body: str | None = None,
    ) -> str:
        request = _checked(method, url, headers or {}, body)
        client.refuse(request.target)
        if runtime.context.action_id:
            request.headers["idempotency-key"] = runtime.context.action_id
        return _report(await _send(request, client))

    hosts = ", ".join(sorted(client.vouched)) or "none"
    return StructuredTool.from_function(
        coroutine=http_request,
        name="http_request",
        description=(
            "Send one HTTP request to a public host; redirects are not followed. A person is asked "
            "first, where it may change something, or where you have read text from outside and the "
            f"host is neither in the task nor one of the operator's. Of the operator's: {hosts}."
        ),
        args_schema=HttpRequestArgs,
    )


def _checked(method: str, url: str, headers: Mapping[str, str], body: str | None) -> _Request:
    target = read_target(url)
    sent = _headers(headers)
    if body and method in READING:
        raise ToolFailedError(f"A {method} request has no body; put what you ask for into the url.")
    content = (body or "").encode("utf-8")
    if content:
        sent.setdefault("content-type", _content_type(content))
    return _Request(method, target, sent, content)


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to send, by their names in lower case."""
    sent = {"user-agent": "signalbox", "accept-encoding": "identity"}
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            # The value may be a secret, and is not repeated.
            message = f"The header {name!r} has a character that a header may not have."
            raise ToolFailedError(message)
        # Behind some gateways `_` and `-` are the same.
        plain = name.lower().replace("_", "-")
        if plain in _OWN_HEADERS or plain.startswith(_OWN_PREFIXES):
            raise ToolFailedError(f"The header {name!r} may not be set; leave it out.")
        sent[name.lower()] = value.strip()
    return sent


def _content_type(content: bytes) -> str:
    with suppress(orjson.JSONDecodeError):
        orjson.loads(content)
        return "application/json"
    return "text/plain; charset=utf-8"


async def _send(request: _Request, client: SafeClient) -> _Answer:
    """Send a request once; raises where no answer came."""
    answer: _Answer | None = None
    failure: Exception | None = None
    limits = client.limits
    sending = client.exchange(request.method, request.target, request.headers, request.content)
    try:
        async with asyncio.timeout(limits.total_seconds), sending as response:
            answer = _Answer(response.status, response.headers, response.encoding)
            await read_body(answer.body, response.parts, answer.encoding, limits.read_bytes)
    except Exception as error:  # noqa: BLE001 - whatever it is, the request may have been sent
        failure = error
    if answer is None:
        # Raised out here so that it is not chained: an error of the library may quote a header.
        raise _failed(request, failure, limits)
    # With a status the effect is known, even if the body never came.
    return answer


def _failed(
    request: _Request, error: Exception | None, limits: NetLimits
) -> ToolFailedError | EffectUnknownError:
    if isinstance(error, ToolFailedError):
        return ToolFailedError(error.detail)
    late = isinstance(error, TimeoutError | httpcore.TimeoutException)
    if isinstance(error, _NOT_SENT):
        when = f" within {limits.connect_seconds:g} s" if late else ""
        message = f"{request.name}: no connection could be made{when}; nothing was sent."
        return ToolFailedError(message)
    when = f"within {limits.total_seconds:g} s" if late else "before the connection broke"
    message = f"{request.name}: no answer came {when}"
    if request.method in READING:
        return ToolFailedError(f"{message}. It only reads and may be tried again.")
    return EffectUnknownError(f"{message}, and it is not known whether the request took effect.")


def _report(answer: _Answer) -> str:
    status, headers, body = answer.status, answer.headers, answer.body
    # Outside of the fence stands nothing that the server could phrase: no reason, no odd type.
    media_type = headers.get("content-type", "").lower().partition(";")[0].strip()
    media_type = media_type if MEDIA_TYPE.fullmatch(media_type) else ""
    first = f"HTTP {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
    lines = [first, f"content-type: {media_type or '(none)'}"]
    if httpx.codes.is_redirect(status) and "location" in headers:
        location = headers["location"]
        lines.append(f"location: {location if _LOCATION.fullmatch(location) else '(not shown)'}")
    lines.append(_body(answer, media_type))
    if body.more:
        lines.append(f"(the body goes on; only its first {len(body.data)} bytes were read)")
    if not body.complete:
        lines.append("(the body broke off; the status above is certain)")
    return "\n".join(lines)


def _body(answer: _Answer, media_type: str) -> str:
    body = answer.body
    if not body.data:
        return "(no body)"
    text = _text(answer) if not media_type or _TEXT_TYPE.fullmatch(media_type) else None
    if text is None:
        size = f"{'more than ' if body.more else ''}{len(body.data)} bytes"
        return f"({size} of {media_type or 'an unnamed type'}, not shown)"
    # The body is data from outside: it must not end the fence and go on as if it were ours.
    return fence("response", text, limit=SHOWN_CHARS)


def _text(answer: _Answer) -> str | None:
    # Where the body was cut, its last character may be half of one.
    body = answer.body
    whole = body.complete and not body.more
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(bytes(body.data), final=whole)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text or answer.encoding not in {*PACKED, "identity"} else text
