"""What a connection may take: time for a head, a body and an answer, bytes of a head, places among all others.

With httptools uvicorn bounds none of these, so its protocol is the base here. Whatever imports this opens
nothing: `uvicorn api:app --http service.connections:Connection` has the same bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar, Final, Literal, NoReturn

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from domain.problems import make_problem
from tools.net.addresses import network_of

HEAD_SECONDS: Final = 10
"""A connection on which no request begins, and a request whose head has not ended, are closed after this."""

BODY_SECONDS: Final = 10
BODY_BYTES_A_SECOND: Final = 16_384
"""A body has ten seconds, and one more for each 16 KiB that have come."""

LEFT_OVER_SECONDS: Final = 5
"""How long the rest of a body is thrown away whose request was answered already."""

TAKE_SECONDS: Final = 30
TAKE_BYTES: Final = 16_384
"""A client has so long to take so many bytes of what is sent; one that does not is gone."""

CLOSE_SECONDS: Final = 5
"""How long a connection may be closing that has nothing more to send."""

MAX_HEAD_BYTES: Final = 65_536
"""A head's first line and headers, and the trailers of a body in chunks with them."""

MAX_PIPELINED: Final = 8
"""Requests that may wait behind the one being answered; the next ends the connection."""

MAX_CONNECTIONS: Final = 1000
KEPT_FILES: Final = 128
"""File descriptors that are for other things than connections."""

CROWDED: Final = "crowded"
"""In a scope's state: there are more connections than there may be, so the request is refused."""

_Stage = Literal["head", "body", "whole"]
_Phase = Literal["closing", "taking", "left over", "body", "head", "answering"]

_SECONDS: Final[dict[_Phase, int | None]] = {
    "closing": CLOSE_SECONDS,
    "taking": TAKE_SECONDS,
    "left over": LEFT_OVER_SECONDS,
    "body": BODY_SECONDS,
    "head": HEAD_SECONDS,
    "answering": None,  # waits and streams are bounded where they are made
}


_NO_REQUEST: Final = "What came is no HTTP/1.1 request that could be read."
_LARGE_HEAD: Final = f"The head has more than {MAX_HEAD_BYTES} bytes. Send less."
_HOP: Final = frozenset({b"upgrade", b"http2-settings"})
"""Headers, and words of `connection`, that ask for another protocol."""


class RefusedError(Exception):
    """What comes is refused, with a sentence that says why; the parser reads no further."""


class Connection(HttpToolsProtocol):
    """One connection, looked at once a second."""

    most: ClassVar[int] = MAX_CONNECTIONS
    """Places of all clients together; one address has half of them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Take a place, or refuse."""
        super().connection_made(transport)
        self._stage: _Stage = "head"
        self._begun = 0  # requests, each of which has its own time
        self._head = 0  # bytes of this request's head
        self._came = 0  # bytes of its body
        self._moves = 0  # heads, parts of bodies and ends that were read
        self._quiet = 0  # bytes that came since the last of those
        self._refusal = _NO_REQUEST
        self._looked_at: tuple[_Phase, int] = ("head", 0)
        self._seconds = 0
        self._to_send = 0
        self.network = network_of(self.client[0] if self.client else "")
        self._timer = self.loop.call_later(1, self._look)
        own = sum(getattr(each, "network", None) == self.network for each in self.connections)
        over = max(len(self.connections) - self.most, own - max(1, self.most // 2))
        if over > self.most // 4:
            self.transport.abort()
        elif over > 0:
            self.app_state = {**self.app_state, CROWDED: True}

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. Unlike the base this logs nothing: what strangers send would fill the log."""
        self._unset_keepalive_if_required()
        moves = self._moves
        self._refusal = _NO_REQUEST
        try:
            self._read(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal)
            return
        self._quiet = self._quiet + len(data) if self._moves == moves else 0
        if self._quiet > MAX_HEAD_BYTES:
            self._refuse(_LARGE_HEAD)

    def _read(self, data: bytes) -> None:
        """Parse. A request that asks for another protocol is answered in this one, as if it had not asked.

        The parser takes such a head for the end of the request, whatever its body. So another parser gets the
        head again without the asking, and all that came behind it.
        """
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                first = b"%b %b HTTP/%b\r\n" % (
                    self.parser.get_method(),
                    self.url,
                    self.parser.get_http_version().encode(),
                )
                again = first + b"".join(
                    b"%b: %b\r\n" % each for each in _without_upgrade(self.headers)
                )
                self.parser = _parser(self)
                self.parser.feed_data(again + b"\r\n")
            else:
                return

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._stage = "head"
        self._begun += 1
        self._head = 0
        self._came = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count it."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count it. What comes behind a body is dropped: the request is being answered by then."""
        self._count(len(name) + len(value) + len(b": \r\n"))
        if self._stage == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that its head is there."""
        method = self.parser.get_method()
        self._count(len(method) + len(b"  HTTP/1.1\r\n\r\n"))
        if method == b"CONNECT":
            self._give_up("CONNECT is for proxies, and this is none.")
        if self.parser.should_upgrade():
            return  # the head comes again
        if len(self.pipeline) >= MAX_PIPELINED:
            self._give_up(_NO_REQUEST)
        self._stage = "body"
        self._moves += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note what has come of its body."""
        self._came += len(body)
        self._moves += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that it is whole."""
        if self.parser.should_upgrade():
            return
        self._stage = "whole"
        self._moves += 1
        super().on_message_complete()

    def _count(self, more: int) -> None:
        self._head += more
        if self._head > MAX_HEAD_BYTES:
            self._give_up(_LARGE_HEAD)

    def _give_up(self, why: str) -> NoReturn:
        """Have the parser fail."""
        self._refusal = why
        raise RefusedError(why)

    def _look(self) -> None:
        self._timer = self.loop.call_later(1, self._look)
        phase = self._phase()
        # Whoever takes nothing may not win time by asking for more.
        now = (phase, 0 if phase == "taking" else self._begun)
        if self._looked_at != now:
            self._looked_at = now
            self._seconds = 0
            self._to_send = 0
        to_send = self.transport.get_write_buffer_size()
        if phase == "taking" and self._to_send - to_send >= TAKE_BYTES:
            self._seconds = 0
            self._to_send = to_send
        self._to_send = max(self._to_send, to_send)
        if not (phase == "body" and self.flow.read_paused):  # then it is us who take our time
            self._seconds += 1
        bound = _SECONDS[phase]
        if phase == "body" and bound is not None:
            bound += self._came // BODY_BYTES_A_SECOND
        if bound is not None and self._seconds > bound:
            if phase in {"closing", "taking"}:
                self.transport.abort()
            else:
                self.transport.close()

    def _phase(self) -> _Phase:
        busy = self._busy()
        closing = self.transport.is_closing()
        if self.flow.write_paused or (closing and self.transport.get_write_buffer_size()):
            return "taking"
        if closing:
            return "closing"
        if self._stage == "body":
            return "body" if busy else "left over"
        return "answering" if busy else "head"

    def _busy(self) -> bool:
        """Return whether a request is being answered."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete  # type: ignore[redundant-expr]  # none at first

    def _refuse(self, detail: str) -> None:
        """Say that what came is no good, unless something else is being said on this connection."""
        cycle, busy = self.cycle, self._busy()
        if busy and self._stage != "body":
            cycle.keep_alive = False  # what was asked before is answered, and nothing after it
            self.flow.pause_reading()
        elif self.pipeline or (busy and cycle.response_started):
            self.transport.close()
        else:
            self.transport.write(_answer(detail))
            self.transport.close()


def _parser(connection: Connection) -> httptools.HttpRequestParser:
    """Return another parser, like the one of the base."""
    parser = httptools.HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def _without_upgrade(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            words = (word.strip() for word in value.split(b","))
            yield name, b", ".join(each for each in words if each.lower() not in _HOP)
        elif name not in _HOP:
            yield name, value


def _answer(detail: str) -> bytes:
    """Return a whole answer: there is no request that the application could answer."""
    body = orjson.dumps(make_problem("invalid-parameter", detail))
    head = (
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


def connections(most: int) -> type[Connection]:
    """Return the protocol with so many places, or with as many as the process has file descriptors for."""
    import resource  # noqa: PLC0415 - not on every platform

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY:
        most = min(most, max(4, (files - KEPT_FILES) * 4 // 5))
    fields: dict[str, Any] = {"most": most}
    return type("Connection", (Connection,), fields)
