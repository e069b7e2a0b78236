"""The client where answers have no end, and where it is shared, forked, cancelled or closed."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from signalbox import (
    AsyncSignalbox,
    ConfigurationError,
    ServerUnreachableError,
    Signalbox,
    UnexpectedAnswerError,
)
from tests.conftest import ROOT
from tests.fakes.breaking_proxy import BreakingProxy
from tests.fakes.running import Product
from tests.integration.client_faces import QUICK, facing
from tests.integration.test_client_hostile import answer, faces
from tests.integration.test_client_streams import saying

ENDLESS = b"HTTP/1.1 %d X\r\ncontent-length: 5000000000\r\n\r\n"


@asynccontextmanager
async def beginning(head: bytes, *, trickles: bool = False) -> AsyncIterator[str]:
    """Run a server that begins each answer so, and bears whatever a client does then."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while trickles:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.005)
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(say(reader, writer)))

    tasks: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*tasks)


@faces
async def test_an_answer_without_end_is_let_go_of(kind: str) -> None:
    """Of whatever is held in memory: an answer, a refusal of a stream, a file."""
    asks = (
        (200, lambda c: c.info()),
        (200, lambda c: c.artifacts.read("run_1", "a.csv")),
        (404, lambda c: c.artifacts.read("run_1", "a.csv")),
        (404, lambda c: c.follow("run_1")),
    )
    for status, ask in asks:
        said = beginning(ENDLESS % status + b"[" * 100_000)
        async with said as url, facing(kind, url, answer_bytes=10_000) as face:
            with pytest.raises(UnexpectedAnswerError, match="more than 10000 bytes"):
                await face.do(ask)


@faces
async def test_a_call_has_an_end_however_steadily_its_answer_comes(kind: str) -> None:
    async with (
        beginning(ENDLESS % 200, trickles=True) as url,
        facing(kind, url, call_seconds=0.1) as face,
    ):
        for ask in (lambda c: c.info(), lambda c: c.health(), lambda c: c.runs.create("Do it")):
            with pytest.raises(ServerUnreachableError, match="not whole in time"):
                await face.do(ask)


@faces
async def test_whoever_waits_for_a_run_waits_no_longer_than_said(
    kind: str, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server is silent, and where a call may take less than a look does."""
    monkeypatch.setattr("signalbox.runs.GRACE_SECONDS", 0.1)
    async with beginning(b"") as url, facing(kind, url) as face:
        with pytest.raises(ServerUnreachableError):
            await face.do(lambda c: c.runs.wait("run_1", within=0.1))
    run = await product.finished("What is 2 + 2?")
    async with facing(kind, product.base_url, call_seconds=5.0) as face:
        assert (await face.do(lambda c: c.runs.wait(run["id"]))).output


@faces
async def test_what_was_not_asked_to_be_packed_is_not_unpacked(kind: str) -> None:
    for how in ("zstd", "br", "gzip, gzip"):
        said = answer(200, b"x", f"content-encoding: {how}")
        async with saying(said, said) as url, facing(kind, url) as face:
            with pytest.raises(UnexpectedAnswerError, match="packed"):
                await face.do(lambda c: c.info())
            with pytest.raises(UnexpectedAnswerError, match="packed"):
                await face.do(lambda c: c.artifacts.read("run_1", "a"))
    packed = answer(200, gzip.compress(b'{"data": []}'), "content-encoding: gzip")
    async with saying(packed) as url, facing(kind, url) as face:
        assert await face.do(lambda c: c.agents()) == []


@faces
async def test_a_closed_client_says_that_it_is_closed(kind: str, product: Product) -> None:
    async with facing(kind, product.base_url) as face:
        await face.do(lambda c: c.info())
    for ask in (lambda c: c.info(), lambda c: c.follow("run_1")):
        with pytest.raises(ConfigurationError, match="closed"):
            await face.do(ask)


async def test_an_own_client_of_httpx_that_is_closed_is_said_too(product: Product) -> None:
    http = httpx.Client(trust_env=False)
    with Signalbox(product.base_url, http=http) as client:
        assert (await asyncio.to_thread(client.info)).version
    assert not http.is_closed
    await asyncio.to_thread(http.close)
    with pytest.raises(ConfigurationError, match="closed"):
        client.info()


FORKING = """
import os, sys
from signalbox import Signalbox

client = Signalbox(sys.argv[1])
client.info()
child = os.fork()
client.info()
if child:
    assert os.waitpid(child, 0)[1] == 0
    client.info()
client.close()
os._exit(0)
"""

LOOPS = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from signalbox import AsyncSignalbox, ConfigurationError

client = AsyncSignalbox(sys.argv[1])

async def ask():
    return (await client.info()).version

assert asyncio.run(ask()) == asyncio.run(ask())
with ThreadPoolExecutor(4) as pool:
    assert len(set(pool.map(lambda _: asyncio.run(ask()), range(8)))) == 1

async def close():
    await client.aclose()
    await ask()

try:
    asyncio.run(close())
except ConfigurationError as error:
    assert "closed" in str(error)
else:
    raise AssertionError
"""


async def carry_out(program: str, url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, url),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_a_fork_speaks_over_a_connection_of_its_own(product: Product) -> None:
    """On one connection each process would be told what the other has asked."""
    async with BreakingProxy(product.base_url) as proxy:
        await carry_out(FORKING, proxy.base_url)
        assert proxy.connections == 2


async def test_a_client_serves_one_loop_after_the_other(product: Product) -> None:
    """As `asyncio.run` twice with a client of the module does, and threads with a loop each."""
    await carry_out(LOOPS, product.base_url)


async def test_threads_share_a_client(product: Product) -> None:
    runs = [(await product.finished(f"What is {n} + 1?"))["id"] for n in range(3)]
    with Signalbox(product.base_url, retries=QUICK) as client:

        def look(number: int) -> bool:
            run_id = runs[number % 3]
            with client.runs.events(run_id) as stream:
                first = next(stream)
            return bool(first.run_id == client.runs.get(run_id).id == run_id)

        def use() -> bool:
            with ThreadPoolExecutor(8) as pool:
                return all(pool.map(look, range(24)))

        assert await asyncio.to_thread(use)


async def test_whoever_is_cancelled_leaves_no_connection(product: Product) -> None:
    """At whatever it waits for; with the same key the next attempt makes no second run."""
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as http:
        client = AsyncSignalbox(product.base_url, http=http, retries=QUICK, timeout=5.0)
        task = "What is 2 + 2?"
        for ticks in (*range(20), *range(20, 200, 20)):
            calling = asyncio.create_task(client.runs.create(task, idempotency_key="once"))
            for _ in range(ticks):
                await asyncio.sleep(0)
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await calling
        run = await client.runs.create(task, idempotency_key="once")
        assert [each.id async for each in client.runs.list()] == [run.id]
        for ticks in range(0, 60, 3):
            stream = client.runs.events(run.id)
            reading = asyncio.create_task(anext(stream))
            for _ in range(ticks):
                await asyncio.sleep(0)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            await stream.aclose()
        assert (await client.follow(run.id)).output


async def test_who_looks_away_from_a_stream_leaves_no_connection(product: Product) -> None:
    """A callback that raises, and a loop that is left."""
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as http:
        client = AsyncSignalbox(product.base_url, http=http, retries=QUICK, timeout=5.0)

        def fail(_: object) -> None:
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await client.run("What is 2 + 2?", on_event=fail)
        run = await anext(client.runs.list())
        async with client.runs.events(run.id) as stream:
            async for _ in stream:
                break
        assert (await client.follow(run.id)).id == run.id


@pytest.mark.may_block  # what is left is removed at once: a cancelled call waits for nothing more
async def test_a_download_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    ticks = 0
    for ticks in range(40):
        said = ENDLESS % 200 + b"x" * 100
        async with beginning(said) as url, AsyncSignalbox(url) as client:
            loading = asyncio.create_task(client.artifacts.download("run_1", "a.csv", tmp_path))
            for _ in range(ticks):
                await asyncio.sleep(0)
            loading.cancel()
            with suppress(asyncio.CancelledError):
                await loading
        assert list(tmp_path.iterdir()) == [], ticks


@faces
async def test_a_download_replaces_no_device(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "pipe"
    os.mkfifo(place)
    async with saying(answer(200, b"x")) as url, facing(kind, url) as face:
        with pytest.raises(ConfigurationError, match="is no file"):
            await face.do(lambda c: c.artifacts.download("run_1", "a.csv", place))
    assert place.is_fifo()


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://box.example", True),
        ("http://8.8.8.8:8000", True),
        ("https://box.example", False),
        ("http://127.0.0.1:8000", False),
        ("http://10.0.0.7", False),
        ("http://api:8000", False),
        ("http://api.team.svc.cluster.local", False),
    ],
)
def test_a_key_that_others_could_read_is_warned_of(
    url: str, *, warns: bool, recwarn: pytest.WarningsRecorder
) -> None:
    with Signalbox(url):
        pass
    assert not recwarn
    with Signalbox(url, "sk-hidden"):
        pass
    said = [str(each.message) for each in recwarn]
    assert len(said) == warns
    assert all("Use https" in each and "hidden" not in each for each in said)


def test_what_a_call_may_take_is_a_number() -> None:
    for options in ({"call_seconds": 0}, {"answer_bytes": 0}, {"call_seconds": float("nan")}):
        with pytest.raises(ConfigurationError, match="positive"):
            Signalbox("http://127.0.0.1:9", **options)
