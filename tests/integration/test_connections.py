"""What a connection is read as, byte by byte, and what it may take from others."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from service.connections import MAX_HEAD_BYTES
from service.http import edge
from service.http.edge import LARGE_BODY_BYTES
from tests.fakes.hostile_clients import (
    Address,
    chunked,
    code_of,
    connected,
    head,
    posted,
    sent,
    status_of,
)
from tests.fakes.running import Product, running

# One product serves all of it.
pytestmark = pytest.mark.asyncio(loop_scope="module")

UPGRADE: Final = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)
"""How the HTTP client of a JDK begins each first request to `http://`."""

TASK: Final = b'{"task": "What is 17% of 80?"}'
INNER: Final = head("GET", "/health/live", {"x-request-id": "inner"})
LAST: Final = head("GET", "/health/live", {"x-request-id": "last"})


Form = Callable[[bytes, str], list[bytes]]
"""How a body is sent."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    """Run one product for all tests of this file."""
    async with running(tmp_path_factory.mktemp("edge")) as standing:
        yield standing


@pytest.fixture
def address(product: Product) -> Address:
    """Return where it listens."""
    parts = urlsplit(product.base_url)
    assert parts.hostname
    assert parts.port
    return Address(parts.hostname, parts.port)


def upgrading(request: bytes) -> bytes:
    """Return a request that asks for another protocol and does not end its connection."""
    return request.replace(b"connection: close\r\n", UPGRADE)


def statuses(answers: bytes) -> list[bytes]:
    """Return the statuses of all answers on a connection."""
    return re.findall(rb"HTTP/1.1 (\d+)", answers)


@pytest.mark.parametrize("together", [True, False], ids=["one segment", "segments"])
@pytest.mark.parametrize("form", [posted, chunked])
async def test_who_asks_for_another_protocol_is_answered_in_this_one(
    address: Address, form: Form, together: bool
) -> None:
    """With the body, and with what comes behind it in its turn."""
    first, *body = form(TASK, "/v1/runs")
    pieces = [upgrading(first), *body, LAST]
    answers = await sent(address, *([b"".join(pieces)] if together else pieces))
    assert statuses(answers) == [b"202", b"200"]
    assert b"x-request-id: last" in answers
    created = answers.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0]
    assert json.loads(created)["task"] == json.loads(TASK)["task"]


@pytest.mark.parametrize("form", [posted, chunked])
async def test_no_body_is_read_as_a_request(address: Address, form: Form) -> None:
    """Also where the parser would take the head for all there is."""
    first, *body = form(INNER, "/v1/runs/run_x/cancel")
    answers = await sent(address, upgrading(first), *body, LAST)
    assert statuses(answers) == [b"400", b"200"]
    assert b"inner" not in answers


async def test_requests_behind_upgrades_are_all_answered(address: Address) -> None:
    """However many ask for another protocol, and whichever."""
    live = head("GET", "/health/live", {"x-none": ""})
    socket = live.replace(b"close", b"upgrade").replace(
        b"x-none:", b"upgrade: websocket\r\nx-none:"
    )
    assert statuses(await sent(address, (upgrading(live) + socket) * 3 + LAST)) == [b"200"] * 7


async def test_what_was_to_be_tunnelled_is_no_request(address: Address) -> None:
    """CONNECT is refused, and its connection ends."""
    answer = await sent(address, head("CONNECT", "/health/live", last=False), INNER)
    assert statuses(answer) == [b"400"]
    assert code_of(answer) == "invalid-parameter"


async def test_trailers_are_no_headers(address: Address) -> None:
    """What comes behind a body changes nothing about the request."""
    first, *body, end = chunked(TASK)
    trailers = end.removesuffix(b"\r\n") + b"prefer: wait=20\r\nx-request-id: late\r\n\r\n"
    assert status_of(await sent(address, first, *body, trailers)) == 202


@pytest.mark.parametrize("filling", ["a header", "headers", "a path"])
async def test_a_head_has_so_many_bytes_and_no_more(address: Address, filling: str) -> None:
    """Counted to the byte, also where all of it comes at once."""

    def of(size: int) -> bytes:
        start = head("GET", "/health/live?").removesuffix(b"\r\n")
        room = size - len(start) - 2
        if filling == "a path":
            return start.replace(b"?", b"?" + b"a" * room) + b"\r\n"
        lines = [room] if filling == "a header" else [1000] * (room // 1000) + [room % 1000]
        return (
            start + b"".join(b"x-a: ".ljust(each - 2, b"a") + b"\r\n" for each in lines) + b"\r\n"
        )

    assert MAX_HEAD_BYTES == 64 * 1024
    assert len(of(MAX_HEAD_BYTES)) == MAX_HEAD_BYTES
    assert status_of(await sent(address, of(MAX_HEAD_BYTES))) == 200
    refused = await sent(address, of(MAX_HEAD_BYTES + 1))
    assert status_of(refused) == 400
    assert b"more than 65536 bytes" in refused


ASKING: Final = {"task": "What is 17% of 80?", "approvals": {"mode": "always"}}
LARGE: Final = json.dumps(ASKING).encode().ljust(2 * LARGE_BODY_BYTES)
"""Creates a run that waits for a person, so its stream does not end."""
ELSEWHERE: Final = "127.0.0.2"
"""Another address of this machine."""


@asynccontextmanager
async def held(address: Address, body: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for a stream with a large body, and send so much of it."""
    headers = {
        "content-type": "application/json",
        "content-length": str(len(LARGE)),
        "accept": "text/event-stream",
    }
    async with connected(address) as (reader, writer):
        writer.write(head("POST", "/v1/runs", headers, last=False) + body)
        yield reader


async def test_a_large_body_that_is_there_is_in_nobodys_way(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the answer takes: more streams than there are turns are open at once."""
    monkeypatch.setattr(edge, "LARGE_WAIT_SECONDS", 0.2)
    async with AsyncExitStack() as streams:
        for _ in range(edge.LARGE_AT_ONCE + 1):
            reader = await streams.enter_async_context(held(address, LARGE))
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_who_sends_large_bodies_slowly_leaves_turns_for_others(
    product: Product, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One address has half of the turns, and each of them a time."""
    monkeypatch.setattr(edge, "LARGE_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(edge, "LARGE_SECONDS", 0.5)
    transport = httpx.AsyncHTTPTransport(local_address=ELSEWHERE)
    headers = {"content-type": "application/json"}
    async with AsyncExitStack() as group:
        slow = [
            await group.enter_async_context(held(address, LARGE[: LARGE_BODY_BYTES + 1000]))
            for _ in range(edge.LARGE_AT_ONCE)
        ]
        other = await group.enter_async_context(
            httpx.AsyncClient(base_url=product.base_url, transport=transport, trust_env=False)
        )
        taken = await other.post("/v1/runs", content=LARGE, headers=headers)
        assert taken.status_code == 202
        answers = [await reader.readuntil(b"}") for reader in slow]
    assert [status_of(answer) for answer in answers] == [503] * 4
    # Two had a turn and were too slow, two waited for one.
    assert sum(b"too slowly" in answer for answer in answers) == edge.LARGE_OF_ONE
    assert sum(b"Too many large bodies" in answer for answer in answers) == 2
