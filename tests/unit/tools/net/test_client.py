"""How a page is fetched: its redirects, its types, its bounds."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from domain.errors import ToolFailedError
from tests.fakes.http_target import CountingTarget
from tests.unit.tools.net.hosts import Names
from tools.net.client import Fetched, NetLimits, SafeClient

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HTML = {"content-type": "text/html; charset=utf-8"}


def client_for(*targets: CountingTarget, **limits: Any) -> SafeClient:
    vouched = {target.address for target in targets}
    return SafeClient(vouched=vouched, limits=NetLimits(**limits), resolve=Names())


@asynccontextmanager
async def speaking(answer: Answer) -> AsyncIterator[str]:
    """Run a server that answers by itself; yield its address, and wait until it has hung up."""
    begun: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(asyncio.current_task())
        with suppress(ConnectionError):
            await answer(reader, writer)
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):
            await asyncio.gather(*(task for task in begun if task))


async def test_a_page_comes_with_its_type_and_charset(target: CountingTarget) -> None:
    headers = {"content-type": 'Text/HTML; q=1; Charset="ISO-8859-1"', "set-cookie": "id=1"}
    target.reply("/page", headers=headers, body=b"<p>gr\xfcn")
    found = await client_for(target).get(target.url("/page?a=1#part"))
    assert found == Fetched(
        target.url("/page?a=1"), 200, "text/html", "iso-8859-1", b"<p>gr\xfcn", more=False
    )
    (request,) = target.requests
    assert (request.method, request.query, request.body) == ("GET", "a=1", "")
    assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}


async def test_the_path_of_a_page_may_be_as_pages_have_it(target: CountingTarget) -> None:
    for path in ("/web/2020/https://example.com/", "/a;b=1/c", "/a%2Fb", "/x%3b", "/100%25"):
        await client_for(target).get(target.url(path))
        assert target.requests[-1].path == path


async def test_redirects_are_followed_as_far_as_allowed(target: CountingTarget) -> None:
    async with CountingTarget() as other:
        target.reply("/1", status=301, headers={"location": "2?x=1", "set-cookie": "id=secret"})
        target.reply("/2", status=302, headers={"location": other.url("/3#top")})
        other.reply("/3", status=307, headers={"location": "//" + target.address + "/gr\xc3\xbcn"})
        target.reply("/gr%C3%BCn", headers=HTML, body=b"here")
        found = await client_for(target, other).get(target.url("/1"))
        assert (found.url, found.body) == (target.url("/gr%C3%BCn"), b"here")
        assert "cookie" not in {name for r in target.requests for name in r.headers}
        target.reply("/0", status=308, headers={"location": "/1"})
        with pytest.raises(ToolFailedError, match="more than 3 times"):
            await client_for(target, other).get(target.url("/0"))
        assert len(other.requests) == 2
        assert target.count("/gr%C3%BCn") == 1


async def test_a_page_that_redirects_to_itself_ends(target: CountingTarget) -> None:
    target.reply("/", status=302, headers={"location": "/"})
    with pytest.raises(ToolFailedError, match="redirects more than 1 times"):
        await client_for(target, redirects=1).get(target.url("/"))
    assert len(target.requests) == 2


@pytest.mark.parametrize("status", [300, 304, 404, 500])
async def test_a_refusal_of_the_server_is_a_page_too(target: CountingTarget, status: int) -> None:
    target.reply("/", status=status, headers=HTML, body=b"" if status == 304 else b"no")
    found = await client_for(target).get(target.url("/"))
    assert (found.status, found.body) == (status, b"" if status == 304 else b"no")
    target.reply("/", status=404, headers={"content-type": "image/png"}, body=b"no")
    found = await client_for(target).get(target.url("/"))
    assert (found.status, found.media_type, found.body) == (404, "image/png", b"")


@pytest.mark.parametrize(
    "media_type",
    [
        *("text/html", "text/plain", "text/markdown", "application/xhtml+xml", "application/xml"),
        *("application/json", "application/ld+json", "application/rss+xml", "application/atom+xml"),
        "application/pdf",
    ],
)
async def test_pages_of_all_readable_types_are_read(
    target: CountingTarget, media_type: str
) -> None:
    target.reply("/", headers={"content-type": media_type}, body=b"x")
    assert (await client_for(target).get(target.url("/"))).media_type == media_type


@pytest.mark.parametrize(
    "media_type",
    ["image/png", "application/octet-stream", "application/zip", "video/mp4", "text/", "x", ""],
)
async def test_a_page_of_another_type_is_not_read(target: CountingTarget, media_type: str) -> None:
    target.reply("/", headers={"content-type": media_type}, body=b"x")
    with pytest.raises(ToolFailedError, match="The page was not read"):
        await client_for(target).get(target.url("/"))


async def test_a_body_is_read_up_to_its_bound(target: CountingTarget) -> None:
    target.reply("/", headers=HTML, body=b"x" * 1_001)
    found = await client_for(target, read_bytes=1_000).get(target.url("/"))
    assert (found.body, found.more) == (b"x" * 1_000, True)
    found = await client_for(target, read_bytes=1_001).get(target.url("/"))
    assert (len(found.body), found.more) == (1_001, False)


async def test_a_gzip_bomb_is_stopped_at_the_bound(target: CountingTarget) -> None:
    """100 MB in 100 kB: neither all of it nor a large part is ever in memory."""
    bomb = gzip.compress(bytes(100_000_000))
    target.reply("/", headers={**HTML, "content-encoding": "gzip"}, body=bomb)
    client = client_for(target)
    await client.get(target.url("/"))
    tracemalloc.start()
    try:
        found = await client.get(target.url("/"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(found.body), found.more) == (1_000_000, True)
    assert peak < 8_000_000


@pytest.mark.parametrize(
    ("encoding", "body", "read", "more"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0), b"hello", False),
        ("GZIP", gzip.compress(b"hello", mtime=0), b"hello", False),
        ("identity", b"hello", b"hello", False),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-6], b"hello", True),
    ],
)
async def test_a_packed_body_is_unpacked(
    target: CountingTarget, encoding: str, body: bytes, read: bytes, more: bool
) -> None:
    target.reply("/", headers={**HTML, "content-encoding": encoding}, body=body)
    found = await client_for(target).get(target.url("/"))
    assert (found.body, found.more) == (read, more)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("br", b"x"), ("gzip, gzip", b"x"), ("zstd", b"x"), ("gzip", b"not packed")],
)
async def test_a_body_that_cannot_be_unpacked_is_not_read(
    target: CountingTarget, encoding: str, body: bytes
) -> None:
    target.reply("/", headers={**HTML, "content-encoding": encoding}, body=body)
    with pytest.raises(ToolFailedError, match="The page was not read"):
        await client_for(target).get(target.url("/"))


async def test_a_server_that_drips_is_cut_at_the_time_limit() -> None:
    """Each part comes in time, and together they would never end."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        gone = asyncio.create_task(reader.read(), name="drip-client")
        while not gone.done():
            writer.write(b"x")
            await writer.drain()
            await asyncio.wait({gone}, timeout=0.02)
        await gone

    async with speaking(drip) as address:
        client = SafeClient(vouched={address}, limits=NetLimits(total_seconds=0.5))
        with pytest.raises(ToolFailedError, match=r"did not arrive within 0\.5 s"):
            await client.get(f"http://{address}/")


async def test_a_chain_of_slow_redirects_has_one_time_limit(target: CountingTarget) -> None:
    target.reply("/", status=302, headers={"location": "/slow"})
    gate = target.hold("/slow")
    with pytest.raises(ToolFailedError, match="did not arrive within"):
        await client_for(target, total_seconds=0.5).get(target.url("/"))
    gate.open()


async def test_a_name_server_that_does_not_answer_is_not_waited_for() -> None:
    async def silent(host: str, port: int) -> Sequence[str]:
        raise await asyncio.Event().wait()  # type: ignore[misc]  # it never comes to that

    client = SafeClient(limits=NetLimits(connect_seconds=0.2), resolve=silent)
    with pytest.raises(ToolFailedError, match="No connection to slow"):
        await client.get("http://slow.example.com/")


async def test_a_page_without_a_server_or_an_answer_is_told(target: CountingTarget) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for scheme in ("http", "https"):
            with pytest.raises(ToolFailedError, match="No connection"):
                await SafeClient(vouched={address}).get(f"{scheme}://{address}/")
    with pytest.raises(ToolFailedError, match="No connection"):
        await client_for(target).get(f"https://{target.address}/")
    target.drop("/")
    with pytest.raises(ToolFailedError, match="broke the connection off") as caught:
        await client_for(target).get(target.url("/?token=s3cret"))
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_a_certificate_is_asked_for_by_name_at_the_checked_address() -> None:
    """What a client says first, before anything is encrypted, names the host in clear."""
    hello: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        hello.set_result(await reader.read(4_096))

    async with speaking(listen) as address:
        port = address.partition(":")[2]
        names = Names({"wiki.internal": ["127.0.0.1"]})
        client = SafeClient(vouched={f"wiki.internal:{port}"}, resolve=names)
        with pytest.raises(ToolFailedError, match="No connection"):
            await client.get(f"https://wiki.internal:{port}/")
    assert b"wiki.internal" in await hello


async def test_a_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, target: CountingTarget
) -> None:
    async with CountingTarget() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        monkeypatch.setenv("ALL_PROXY", proxy.url())
        await client_for(target).get(target.url("/"))
        assert proxy.requests == []
    assert len(target.requests) == 1
