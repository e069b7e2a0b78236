"""The client when connections break: nothing is missed, nothing comes twice, nothing is done twice."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, repeat

import orjson
import pytest

from domain.problems import make_problem
from signalbox import (
    Event,
    ForbiddenError,
    OverloadedError,
    Retries,
    ServerUnreachableError,
    StreamBrokenError,
    UnauthenticatedError,
    UnexpectedAnswerError,
)
from tests.fakes.breaking_proxy import BreakingProxy
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.client_faces import QUICK, facing
from tests.integration.people import start_run
from tests.integration.team_script import solo

faces = pytest.mark.parametrize("kind", ["sync", "async"])

PIECES = ("The mean ", "of the five ", "is 145, ", "it has ", "grown.")
TEXT = "".join(PIECES)
PATIENT = Retries(first_pause=0.001, longest_pause=0.01, stream_attempts=100)


@asynccontextmanager
async def saying(*answers: bytes) -> AsyncIterator[str]:
    """Run a server that gives the first connection the first answer, and so on; then it is silent."""
    left = iter(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        said = next(left, None)
        if said is not None:
            writer.write(said)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(answer(reader, writer)))

    tasks: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*tasks)


@faces
async def test_no_event_is_missed_or_repeated_wherever_a_stream_breaks(
    kind: str, product: Product
) -> None:
    """Connections are cut after 300 bytes, 391, 482…, in heads and in the middle of events."""
    run = await product.finished("What is 2 + 2?")
    stored = [(event["seq"], event["type"]) for event in await product.events(run["id"])]
    breaks = chain(range(300, 20_000, 91), repeat(None))
    async with (
        BreakingProxy(product.base_url, breaks) as proxy,
        facing(kind, proxy.base_url, retries=PATIENT) as face,
    ):
        events = await face.all(lambda c: c.runs.events(run["id"], tokens=False))
        assert [(event.seq, event.type) for event in events] == stored
        assert proxy.connections > 5
        known = [int(seq) for seq in re.findall(rb"last-event-id: (\d+)", proxy.requests)]
        assert known == sorted(known)
        assert known[-1] > known[0] == 0
        types = ["supervisor.*", "agent.completed"]
        some = await face.all(lambda c: c.runs.events(run["id"], types=types))
        assert {event.type for event in some} == {"supervisor.decision", "agent.completed"}
        assert [e.seq for e in some] == [
            s for s, type_ in stored if type_ in {e.type for e in some}
        ]


@faces
async def test_a_message_goes_on_where_the_connection_was_lost(
    kind: str, modelled: Product, models: FakeModelServer
) -> None:
    """What comes as a snapshot after a break is given as the rest alone."""
    models.add(*solo(Reply(text=TEXT, chunks=PIECES), gate="half", gate_after=3))
    gate, loop = models.event("half"), asyncio.get_running_loop()
    run_id = await start_run(modelled)
    seen: list[Event] = []
    broken: list[int] = []

    async with (
        BreakingProxy(modelled.base_url) as proxy,
        facing(kind, proxy.base_url, retries=PATIENT) as face,
    ):

        def see(event: Event) -> None:
            seen.append(event)
            if event.type == "message.delta" and not broken:
                broken.append(proxy.connections)
                loop.call_soon_threadsafe(proxy.cut)
                loop.call_later(0.05, gate.set) if kind == "async" else loop.call_soon_threadsafe(
                    loop.call_later, 0.05, gate.set
                )

        run = await face.do(lambda c: c.follow(run_id, on_event=see))
        assert proxy.connections > broken[0]
    assert run.output == TEXT
    ours = [e for e in seen if e.message_id == "msg_1.coder.0" and e.type == "message.delta"]
    assert "".join(e.text for e in ours) == TEXT
    assert not [e for e in seen if e.type == "message.snapshot"]
    seqs = [event.seq for event in seen if event.seq]
    assert seqs == list(range(1, len(seqs) + 1))


@faces
async def test_a_run_is_created_once_though_its_answer_was_lost(
    kind: str, product: Product
) -> None:
    """The request is sent again under the same key; the server finds what the first one has made."""
    async with (
        BreakingProxy(product.base_url, [0, 10, None]) as proxy,
        facing(kind, proxy.base_url) as face,
    ):
        run = await face.do(lambda c: c.runs.create("What is 2 + 2?"))
        assert [each.id for each in await face.all(lambda c: c.runs.list())] == [run.id]
        keys = {
            line for line in proxy.requests.splitlines() if line.startswith(b"idempotency-key: ")
        }
    assert (proxy.connections, len(keys)) == (3, 1)


@faces
async def test_what_may_not_be_sent_twice_is_not(kind: str, product: Product) -> None:
    run = await product.finished("What is 2 + 2?")
    async with (
        BreakingProxy(product.base_url, [0, None]) as proxy,
        facing(kind, proxy.base_url) as face,
    ):
        with pytest.raises(ServerUnreachableError):
            await face.do(lambda c: c.runs.update(run["id"], metadata={"a": 1}))
        assert proxy.connections == 1


@faces
async def test_a_server_that_stays_away_is_given_up(kind: str, product: Product) -> None:
    run = await product.finished("What is 2 + 2?")
    async with (
        BreakingProxy(product.base_url, repeat(200)) as proxy,
        facing(kind, proxy.base_url, retries=QUICK) as face,
    ):
        with pytest.raises(StreamBrokenError) as broken:
            await face.all(lambda c: c.runs.events(run["id"], after=3))
        assert (broken.value.last_seq, proxy.connections) == (3, QUICK.stream_attempts + 1)
        with pytest.raises(ServerUnreachableError):
            await face.do(lambda c: c.info())


@faces
async def test_silence_counts_as_a_broken_connection(kind: str) -> None:
    """A server that is there sends a ping now and then."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1\n\n"
    event = b'id: 1\nevent: run.created\ndata: {"seq": 1, "type": "run.created", "data": {}}\n\n'
    once = Retries(first_pause=0.001, stream_attempts=1)
    async with saying(head + event) as url, facing(kind, url, retries=once) as face:
        seen: list[Event] = []
        with pytest.raises(StreamBrokenError, match="2 times"):
            await face.do(lambda c: c.follow("run_1", on_event=seen.append, idle=0.1))
    assert [event.seq for event in seen] == [1]


def stream(*frames: bytes) -> bytes:
    """Return an answer that is a stream of these, and ends."""
    body = b"retry: 1\n\n" + b"".join(frames)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def frame(seq: int | None, type_: str, **data: object) -> bytes:
    event = {"seq": seq, "type": type_, "data": data}
    id_ = f"id: {seq}\n" if seq else ""
    return f"{id_}event: {type_}\n".encode() + b"data: " + orjson.dumps(event) + b"\n\n"


@faces
async def test_what_comes_again_is_left_out_and_what_is_missing_is_asked_for(kind: str) -> None:
    """Also of a server, or something before it, that heeds no `Last-Event-ID`; unknown types are given."""
    one, two, end = frame(1, "run.created"), frame(2, "future.thing"), frame(3, "run.completed")
    answers = (stream(one), stream(one, end), stream(one, two), stream(one, two, end))
    async with saying(*answers) as url, facing(kind, url, retries=PATIENT) as face:
        events = await face.all(lambda c: c.runs.events("run_1"))
    seen = [(event.seq, event.type) for event in events]
    assert seen == [(1, "run.created"), (2, "future.thing"), (3, "run.completed")]


@faces
async def test_what_is_kept_no_longer_is_said(kind: str) -> None:
    gap = frame(None, "stream.gap", requested=0, earliest=7, latest=8)
    answer = stream(gap, frame(7, "agent.completed"), frame(8, "run.completed"))
    async with saying(answer) as url, facing(kind, url) as face:
        events = await face.all(lambda c: c.runs.events("run_1"))
    assert [(e.seq, e.type) for e in events][::2] == [(None, "stream.gap"), (8, "run.completed")]


@faces
async def test_a_full_server_is_asked_again_when_it_says(kind: str, product: Product) -> None:
    body = orjson.dumps(make_problem("overloaded", "Come back."))
    full = b"HTTP/1.1 503 Full\r\nretry-after: 0\r\ncontent-type: application/problem+json\r\n"
    full += b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body
    note = b'{"id": "note_1", "text": "Faster", "by": "default", "at": "2026-11-29T12:00:00Z"}'
    taken = b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n" % len(note) + note
    async with saying(full, full, taken) as url, facing(kind, url) as face:
        assert (await face.do(lambda c: c.runs.add_note("run_1", "Faster"))).id == "note_1"
    final = full.replace(b"retry-after: 0", b"retry-after: 0\r\nx-should-retry: false")
    async with saying(final, taken) as url, facing(kind, url) as face:
        with pytest.raises(OverloadedError, match="Come back"):
            await face.do(lambda c: c.runs.add_note("run_1", "Faster"))


@faces
async def test_what_is_no_signalbox_is_told_apart(kind: str) -> None:
    page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>"
    gone = b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    async with saying(page, page, gone) as url, facing(kind, url) as face:
        for _ in range(3):
            with pytest.raises(UnexpectedAnswerError):
                await face.do(lambda c: c.info())


@faces
async def test_a_key_is_shown_nowhere(
    kind: str, product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, header = await issue(product, "runs:read")
    key = header["authorization"].removeprefix("Bearer ")
    async with facing(kind, product.base_url, api_key=key) as face:
        assert await face.all(lambda c: c.runs.list()) == []
        with pytest.raises(ForbiddenError) as refused:
            await face.do(lambda c: c.run("Do it"))
        error = refused.value
        shown = f"{face.client!r} {vars(face.client)} {error!r} {vars(error)}"
    assert key not in shown + "".join(traceback.format_exception(error)) + caplog.text
    assert "httpcore" in caplog.text
    async with facing(kind, product.base_url, api_key="wrong") as face:
        with pytest.raises(UnauthenticatedError):
            await face.do(lambda c: c.info())
