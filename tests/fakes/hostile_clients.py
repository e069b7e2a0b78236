"""Clients that mean harm, on raw sockets: each kind is one function that returns what it was answered."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

BOUND: Final = 60.0
"""Seconds after which a client that is still there fails the test."""

PAUSE: Final = 0.5
"""Seconds that a slow client waits for an answer before it sends its next byte."""

TEN_MEGABYTES: Final = b'{"task": "' + b"a" * 10_000_000 + b'"}'


class Address(NamedTuple):
    """Where the server is."""

    host: str
    port: int


Kind = Callable[[Address], Coroutine[Any, Any, bytes]]
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(
    address: Address, *, room: int | None = None, limit: int = 2**24
) -> AsyncIterator[_Streams]:
    """Connect; `room`: bytes that the kernel, `limit` that the reader keeps of what comes."""
    sock = socket.socket()
    if room is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.setblocking(False)
    async with asyncio.timeout(BOUND):
        await asyncio.get_running_loop().sock_connect(sock, address)
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server has closed the connection, however it does that."""
    came = b""
    with suppress(ConnectionError):
        while part := await reader.read(65_536):
            came += part
    return came


async def sent(address: Address, *pieces: bytes, half_close: bool = False) -> bytes:
    """Send pieces; return the answer."""
    async with connected(address) as (reader, writer):
        reading = asyncio.create_task(rest(reader))
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if half_close:
                writer.write_eof()
        return await reading


async def trickled(address: Address, start: bytes, drops: Iterable[bytes]) -> bytes:
    """Send a start, then one drop after another; return what was answered when the server has had enough."""
    async with connected(address) as (reader, writer):
        reading = asyncio.create_task(rest(reader))
        writer.write(start)
        for drop in drops:
            done, _ = await asyncio.wait([reading], timeout=PAUSE)
            if done:
                break
            writer.write(drop)
        return await reading


def head(
    method: str, path: str, headers: Mapping[str, str] | None = None, *, last: bool = True
) -> bytes:
    """Return a request's head; `last`: the server is told to close after it."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += ["connection: close"] if last else []
    return "\r\n".join([*lines, "", ""]).encode()


def posted(body: bytes, path: str = "/v1/runs") -> list[bytes]:
    """Return a POST with a length."""
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return [head("POST", path, headers), body]


def chunked(body: bytes, path: str = "/v1/runs") -> list[bytes]:
    """Return a POST without a length."""
    headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
    size = 65_536
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        head("POST", path, headers),
        *(b"%x\r\n%s\r\n" % (len(part), part) for part in parts),
        b"0\r\n\r\n",
    ]


def _budget(number: str) -> bytes:
    return f'{{"task": "x", "budget": {{"max_tokens": {number}}}}}'.encode()


REFUSED: Final[dict[str, tuple[list[bytes], int]]] = {
    "100,000 brackets": (posted(b"[" * 100_000), 400),
    "100,000 levels": (
        posted(b'{"task": "x", "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        400,
    ),
    "a number of 10,000 digits": (posted(_budget("9" * 10_000)), 400),
    "1e999": (posted(_budget("1e999")), 422),
    "a lone surrogate": (posted(rb'{"task": "\ud800"}'), 422),
    "a lone surrogate as a name": (posted(rb'{"\udfff": 1, "task": "x"}'), 422),
    "an escaped NUL": (posted(rb'{"task": "a\u0000b"}'), 422),
    "a NUL": (posted(b'{"task": "a\x00b"}'), 400),
    "a million values": (posted(b'{"task": [' + b"[]," * 1_000_000 + b"[]]}"), 413),
    "ten megabytes": (posted(TEN_MEGABYTES), 422),
    "ten megabytes in chunks": (chunked(TEN_MEGABYTES), 422),
    "ten megabytes where one may be": (posted(TEN_MEGABYTES, "/v1/runs/x/cancel"), 413),
    "ten megabytes in chunks where one may be": (chunked(TEN_MEGABYTES, "/v1/runs/x/cancel"), 413),
    "a NUL in a header": (
        [b"GET /v1/runs HTTP/1.1\r\nhost: localhost\r\nx-a: a\x00b\r\n\r\n"],
        400,
    ),
    "a NUL in a path": ([b"GET /v1/\x00 HTTP/1.1\r\nhost: localhost\r\n\r\n"], 400),
    "an escaped NUL in a path": ([head("GET", "/v1/runs/a%00")], 404),
    "a head of a megabyte": (
        [b"GET / HTTP/1.1\r\n", *(b"x-%d: %s\r\n" % (n, b"a" * 1000) for n in range(1000))],
        400,
    ),
    "a header of a megabyte": ([b"GET / HTTP/1.1\r\nx-a: ", *[b"a" * 10_000] * 100], 400),
    "no HTTP": ([b"\x16\x03\x01" + b"\x00" * 500], 400),
    "a chunk of no size": ([*chunked(b"")[:1], b"no number\r\n"], 400),
    "more bytes than there are": ([*chunked(b"")[:1], b"f" * 20 + b"\r\n"], 400),
}
"""What is sent, and the status of the answer."""

HALF: Final[dict[str, list[bytes]]] = {
    "half a head": [b"POST /v1/runs HTTP/1.1\r\nhost: local"],
    "half a body": [posted(b'{"task": "x"}')[0], b'{"ta'],
    "nothing": [],
}


async def garbage_behind(address: Address) -> bytes:
    """Send a good request and no HTTP behind it."""
    return await sent(address, head("GET", "/health/live", last=False), b"\x00\xff" * 500)


async def flood(address: Address) -> bytes:
    """Send ten thousand requests at once."""
    return await sent(address, head("GET", "/health/live", last=False) * 10_000)


async def slow_head(address: Address) -> bytes:
    """Send a header byte now and then."""
    start = b"GET /v1/runs HTTP/1.1\r\nhost: localhost\r\nx-slow: "
    return await trickled(address, start, [b"a"] * 1000)


async def slow_lines(address: Address) -> bytes:
    """Send an empty line now and then, which is not yet a request."""
    return await trickled(address, b"", [b"\r\n"] * 1000)


async def slow_body(address: Address) -> bytes:
    """Send a body that never ends."""
    start, _ = posted(b"a" * 1_000_000)
    return await trickled(address, start, [b"a"] * 1000)


async def slow_chunks(address: Address) -> bytes:
    """Send small parts of a body whose length nobody knows."""
    return await trickled(address, chunked(b"")[0], [b"1\r\na\r\n"] * 1000)


async def slow_rest(address: Address) -> bytes:
    """Go on with the body of a request that was refused before."""
    headers = {"content-type": "text/plain", "content-length": "1000000"}
    return await trickled(address, head("POST", "/v1/runs", headers, last=False), [b"a"] * 1000)


SLOW: Final[dict[str, Kind]] = {
    "a slow head": slow_head,
    "empty lines": slow_lines,
    "a slow body": slow_body,
    "slow chunks": slow_chunks,
    "a slow rest": slow_rest,
}
"""All of them wait for the server to close."""


async def ask_and_leave_it(address: Address, ended: asyncio.Event, *requests: bytes) -> None:
    """Ask, and take nothing of the answer until it is over for everybody."""
    async with connected(address, room=2048) as (reader, writer):
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        del reader
        for request in requests:
            writer.write(request)
        await ended.wait()


async def slow_reader(address: Address, path: str) -> bytes:
    """Take an answer little by little, and return all of it. This one means no harm."""
    came = b""
    async with connected(address, room=131_072, limit=131_072) as (reader, writer):
        writer.write(head("GET", path))
        while part := await reader.read(262_144):
            came += part
            await asyncio.sleep(PAUSE)
    return came


def never_reading(
    run_id: str, path: str
) -> tuple[Callable[[Address, asyncio.Event], Coroutine[Any, Any, None]], ...]:
    """Return the clients that take nothing: of a stream, and of lists that together fill every buffer."""
    headers = {"accept": "text/event-stream"}
    stream = head("GET", f"/v1/runs/{run_id}/events", headers, last=False)
    pages = [head("GET", path, last=False)] * 9

    async def leave_stream(address: Address, ended: asyncio.Event) -> None:
        await ask_and_leave_it(address, ended, stream)

    async def leave_pages(address: Address, ended: asyncio.Event) -> None:
        await ask_and_leave_it(address, ended, *pages)

    return leave_stream, leave_pages


def status_of(answer: bytes) -> int:
    """Return the status of an answer; 0 where none came."""
    return int(answer.split(maxsplit=2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def code_of(answer: bytes) -> str:
    """Return the code of an answer that is a problem."""
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"])
