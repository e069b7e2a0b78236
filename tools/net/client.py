"""The client that follows urls which a model or a page names, and reaches public hosts alone."""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import httpcore
import httpx

from domain.errors import ToolFailedError
from tools.net.addresses import NotPublicError, refuse_private
from tools.net.bodies import PACKED, Body, read_body
from tools.net.dialling import CheckedBackend, Resolve, look_up
from tools.net.targets import Target, read_page, read_redirect

READABLE: Final = re.compile(
    r"text/[a-z0-9.+-]+|application/(?:pdf|(?:[a-z0-9.-]+\+)?(?:json|xml)|x-ndjson)"
)
"""Media types of pages: text in all its forms, XHTML, feeds, XML, JSON, and PDF."""

MEDIA_TYPE: Final = re.compile(r"[a-z0-9.+-]{1,50}/[a-z0-9.+-]{1,80}")
"""What a server may say of its type; anything else is not repeated to a model."""

_CHARSET: Final = re.compile(r"\bcharset\s*=\s*\"?([a-z0-9._:-]{1,40})")
_ACCEPTED: Final = "text/html, application/xhtml+xml, application/pdf, text/*;q=0.9, */*;q=0.5"
_LEADS_ASTRAY: Final = (
    "The page was not read: it redirects to a host that is not public, and nothing was sent to that. "
    "Take another page."
)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, kw_only=True)
class NetLimits:
    """What one request may take."""

    connect_seconds: float = 5.0
    total_seconds: float = 20.0
    """All of it: redirects and the whole body, too."""
    read_bytes: int = 1_000_000
    """Of the body, unpacked; what is longer is not read to its end."""
    redirects: int = 3


class Fetched(NamedTuple):
    """A page, as far as it was read."""

    url: str
    """Where it came from, after redirects."""
    status: int
    media_type: str
    """In small letters and without parameters; empty where the server names none."""
    charset: str | None
    body: bytes
    """Unpacked, at most `NetLimits.read_bytes`; empty where a refusal is of a type that is not read."""
    more: bool
    """The body goes on, or broke off."""


class Exchange(NamedTuple):
    """A response whose body has not been read yet."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    parts: AsyncIterator[bytes]

    @property
    def encoding(self) -> str:
        """Return how the body is packed."""
        return self.headers.get("content-encoding", "").strip().lower() or "identity"


@cache
def _trusted() -> ssl.SSLContext:
    # Reading the certificates takes longer than a whole request, and reads files.
    return httpx.create_ssl_context(trust_env=False)


class SafeClient:
    """Sends requests to public hosts, and to the `host:port`s that the operator vouches for.

    Nothing is kept from one request to the next: no connection, no cookie.
    """

    def __init__(
        self,
        *,
        vouched: Collection[str] = (),
        limits: NetLimits | None = None,
        resolve: Resolve = look_up,
    ) -> None:
        self.vouched: Final = frozenset(vouched)
        self.limits: Final = limits or NetLimits()
        self._resolve: Final = resolve

    def refuse(self, target: Target) -> None:
        """Raise `ToolFailedError` for a target that is visibly not to be reached; nothing is looked up."""
        if target.address not in self.vouched:
            refuse_private(target.host, target.port)

    @asynccontextmanager
    async def exchange(
        self, method: str, target: Target, headers: Mapping[str, str], content: bytes = b""
    ) -> AsyncIterator[Exchange]:
        """Send one request and yield its response; redirects are not followed.

        Raises `ToolFailedError` where the host is not to be reached, otherwise errors of httpcore; the
        caller bounds the whole.
        """
        self.refuse(target)
        seconds = self.limits.total_seconds
        connect = min(self.limits.connect_seconds, seconds)
        timeouts = {"connect": connect, "read": seconds, "write": seconds, "pool": connect}
        pool = httpcore.AsyncConnectionPool(
            ssl_context=await asyncio.to_thread(_trusted),
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=CheckedBackend(self.vouched, self._resolve),
        )
        url = target.url
        sent = {"host": url.netloc.decode("ascii"), **headers}
        async with pool, pool.stream(
            method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=[(k.encode("ascii"), v.encode("latin-1")) for k, v in sent.items()],
            content=content or None,
            extensions={"timeout": timeouts},
        ) as response:  # fmt: skip
            yield Exchange(response.status, _named(response.headers), response.aiter_stream())

    async def get(self, url: str) -> Fetched:
        """Return a page; redirects are followed, and each is checked like the first url.

        Raises `ToolFailedError` with a sentence for the model where there is none to be had.
        """
        target = read_page(url)
        failure = ToolFailedError("")
        try:
            async with asyncio.timeout(self.limits.total_seconds):
                return await self._follow(target)
        except TimeoutError:
            late = f"The page did not arrive within {self.limits.total_seconds:g} s."
            failure = ToolFailedError(f"{late} Take another one.")
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            failure = ToolFailedError(f"No connection to {target.address} could be made.")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            failure = ToolFailedError(f"{target.address} broke the connection off. Try again.")
        # Raised out here so that it is not chained: an error of the library may quote what was sent.
        raise failure

    async def _follow(self, target: Target) -> Fetched:
        for hop in range(self.limits.redirects + 1):
            try:
                found = await self._page(target)
            except NotPublicError:
                if not hop:
                    raise
                # Not the sentence itself: a server would choose the name in it.
                raise NotPublicError(_LEADS_ASTRAY) from None
            if isinstance(found, Fetched):
                return found
            target = found
        message = f"The page was not read: it redirects more than {self.limits.redirects} times. Take another."
        raise ToolFailedError(message)

    async def _page(self, target: Target) -> Fetched | Target:
        """Return a page, or where it says that it is."""
        headers = {"user-agent": "signalbox", "accept": _ACCEPTED, "accept-encoding": "gzip"}
        async with self.exchange("GET", target, headers) as response:
            location = response.headers.get("location")
            if response.status in _REDIRECTS and location:
                return read_redirect(target, location)
            media_type, charset = _type(response.headers)
            if media_type and not READABLE.fullmatch(media_type):
                if response.status < httpx.codes.MULTIPLE_CHOICES:
                    message = f"The page was not read: it is {media_type}, neither text nor PDF."
                    raise ToolFailedError(message)
                return Fetched(
                    str(target.url), response.status, media_type, charset, b"", more=False
                )
            body = await self._read(response)
        if body.data and not media_type:
            raise ToolFailedError(
                "The page was not read: its server does not say of what type it is."
            )
        return Fetched(
            str(target.url),
            response.status,
            media_type,
            charset,
            bytes(body.data),
            more=body.more or not body.complete,
        )

    async def _read(self, response: Exchange) -> Body:
        if response.encoding not in {*PACKED, "identity"}:
            raise ToolFailedError(
                "The page was not read: it is packed in a way that was not asked for."
            )
        body = Body()
        try:
            await read_body(body, response.parts, response.encoding, self.limits.read_bytes)
        except (zlib.error, httpcore.NetworkError, httpcore.ProtocolError):
            if not body.data:
                raise ToolFailedError("The page was not read: its body broke off.") from None
        return body


def _named(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("ascii").lower(), value.decode("latin-1")
        named[key] = f"{named[key]}, {text}" if key in named else text
    return named


def _type(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the media type and the charset of a body; nothing that a server made up otherwise."""
    name, _, more = headers.get("content-type", "").lower().partition(";")
    charset = _CHARSET.search(more)
    media_type = name.strip()
    return media_type if MEDIA_TYPE.fullmatch(media_type) else "", charset[1] if charset else None
