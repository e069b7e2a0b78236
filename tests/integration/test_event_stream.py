"""The live event stream: its form on the wire, its messages, its filters, and readers of every speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import httpx
import orjson
import pytest

from domain.ports import RunRef
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import ClientView, creating, followed, following, wire
from tests.integration.conftest import Start
from tests.integration.team_script import (
    SECONDS,
    composer,
    decisions,
    solo,
    worker,
)

ENVELOPE: Final = {
    *("seq", "type", "run_id", "ts", "agent", "path", "round", "attempt", "data"),
}
TEAM: Final = {
    "researcher": "Found it in the archive: « 1904 », built of granite. 🚦",
    "coder": "Here you are:\n\n```python\nprint('1904')\n```\n\nIt prints the year.",
    "analyst": "The tower is 122 years old.\r\nThat is data: {a: 1}\n\nid: 9",
}
ANSWER: Final = "The tower is from 1904, which makes it 122 years old."
EVERYONE: Final = tuple((name, f"Work of the {name}") for name in TEAM)


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with the fake model server, in memory."""
    async with start(models=models) as running_product:
        yield running_product


def whole_team(*, gate: str | None = None, gate_after: int = 3) -> list[Rule]:
    """Return the rules of a run in which three agents work at once and their results are composed."""
    return [
        *decisions(*EVERYONE, gate="decision"),
        *(
            worker(f"Work of the {name}", Reply(text=text), gate=gate, gate_after=gate_after)
            for name, text in TEAM.items()
        ),
        composer(Reply(text=ANSWER)),
    ]


def writing(view: ClientView) -> set[str]:
    """Return the agents of whom a part of a message was seen."""
    return {frame["agent"] for frame in view.of("message.delta")}


async def test_the_stream_is_marked_as_one(product: Product, models: FakeModelServer) -> None:
    """Its headers keep proxies from storing, changing or buffering it."""
    models.add(*solo())
    run = (await product.run("Tidy up")).json()
    response = await product.client.get(
        f"/v1/runs/{run['id']}/events", headers={"accept": "text/event-stream"}
    )
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"]
    assert response.content.startswith(b"retry: 2000\n\nid: 1\nevent: run.created\ndata: {")


async def test_every_stored_frame_has_its_number_and_the_whole_envelope(
    product: Product, models: FakeModelServer
) -> None:
    """A frame is three lines, and newlines in texts do not break it."""
    models.add(*whole_team())
    models.event("decision").set()
    run = (await product.run("How old is the tower?")).json()
    text = await wire(product, run["id"])
    _, *frames, rest = text.split("\n\n")
    assert rest == ""
    for number, frame in enumerate(frames, 1):
        id_line, event_line, data_line = frame.split("\n")
        envelope = orjson.loads(data_line.removeprefix("data: "))
        assert envelope.keys() == ENVELOPE
        assert id_line == f"id: {number}"
        assert event_line == f"event: {envelope['type']}"
        assert (envelope["seq"], envelope["run_id"]) == (number, run["id"])
        assert envelope["ts"].endswith("Z")
        assert envelope["attempt"] in {0, 1}
    assert len(frames) == run["last_seq"]


async def test_a_delta_is_light_and_has_no_number(
    product: Product, models: FakeModelServer
) -> None:
    """A piece of a message costs at most 150 bytes beside its text."""
    models.add(*whole_team())
    gate = models.event("decision")
    body = {"task": "How old is the tower?"}
    headers = {"accept": "text/event-stream"}
    async with (
        asyncio.timeout(SECONDS),
        product.client.stream("POST", "/v1/runs", json=body, headers=headers) as response,
    ):
        text = ""
        async for part in response.aiter_text():
            text += part
            if "event: run.created" in text:
                gate.set()
    deltas = [f for f in text.split("\n\n") if f.startswith("event: message.delta\n")]
    assert deltas, "a delta's first line is its event: it has no id"
    for frame in deltas:
        delta = orjson.loads(frame.partition("data: ")[2])
        assert delta.keys() == {"type", "agent", "data"}
        assert delta["data"].keys() == {"message_id", "offset", "text"}
        beside = len(f"{frame}\n\n".encode()) - len(orjson.dumps(delta["data"]["text"])) + 2
        assert beside <= 150, frame


async def test_three_agents_write_at_the_same_time(
    product: Product, models: FakeModelServer
) -> None:
    """Tokens of all three are there before any of them has ended, and each message adds up."""
    models.add(*whole_team(gate="together"))
    decision = models.event("decision")
    # The fourth party is the test: it joins when it has seen a part of each message.
    together = models.barrier("together", 4)
    async with creating(product, task="How old is the tower?") as stream:
        await stream.until(lambda view: view.of("run.created"))
        decision.set()
        view = await stream.until(lambda view: writing(view) == TEAM.keys())
        assert not view.of("message.completed", "agent.completed")
        async with asyncio.timeout(SECONDS):
            await together.wait()
        view = await stream.end()
    assert not view.unheard
    assert view.open == {}
    said = {m["agent"]: m["data"]["text"] for m in view.of("message.completed")}
    assert said == {**TEAM, "supervisor": ANSWER}
    assert len(view.messages) == 4
    started = {e["agent"] for e in view.of("agent.started")}
    assert started == TEAM.keys()


async def test_the_final_answer_is_a_message_of_the_supervisor(
    product: Product, models: FakeModelServer
) -> None:
    """Composed or taken over from one agent, the answer is streamed as the supervisor's."""
    models.add(*whole_team())
    decision = models.event("decision")
    async with creating(product, task="How old is the tower?") as stream:
        await stream.until(lambda view: view.of("run.created"))
        decision.set()
        view = await stream.end()
    answer = view.of("message.completed")[-1]
    assert (answer["agent"], answer["data"]["text"]) == ("supervisor", ANSWER)
    assert view.frames[-1]["data"]["run"]["result"]["output"] == ANSWER
    last = max(i for i, f in enumerate(view.frames) if f["type"] == "message.completed")
    assert view.frames[-1]["type"] == "run.completed"
    assert view.frames[last + 1 :] == view.frames[-1:]


async def test_the_only_agents_result_is_the_answer(
    product: Product, models: FakeModelServer
) -> None:
    """No model is asked to repeat what one agent has said, and it is still streamed."""
    models.add(*solo(Reply(text="Done it, all of it."), gate="work"))
    gate = models.event("work")
    async with creating(product, task="Tidy up") as stream:
        await stream.until(lambda view: view.of("agent.started"))
        gate.set()
        view = await stream.end()
    said = [(m["agent"], m["data"]["text"]) for m in view.of("message.completed")]
    assert said == [("coder", "Done it, all of it."), ("supervisor", "Done it, all of it.")]
    assert not view.unheard
    assert len(models.requests) == 3


async def test_the_supervisors_decisions_never_look_like_messages(
    product: Product, models: FakeModelServer
) -> None:
    """What the supervisor decides is an event of its own; its JSON is in no message."""
    models.add(*whole_team())
    decision = models.event("decision")
    async with creating(product, task="How old is the tower?") as stream:
        await stream.until(lambda view: view.of("run.created"))
        decision.set()
        view = await stream.end()
    messages = view.of("message.delta", "message.snapshot", "message.completed")
    assert not any("assignments" in frame["data"]["text"] for frame in messages)
    assert not any("as scripted" in frame["data"]["text"] for frame in messages)
    first, last = view.of("supervisor.decision")
    assert first["data"] == {
        "reason": "as scripted",
        "assignments": [{"agent": name, "task": task} for name, task in EVERYONE],
    }
    assert last["data"]["assignments"] == []


async def test_space_around_the_answer_does_not_break_the_sum_of_its_parts(
    product: Product, models: FakeModelServer
) -> None:
    """A model that begins or ends with a newline is streamed like any other."""
    models.add(*whole_team()[:-1], composer(Reply(text=f"\n{ANSWER}\n")))
    decision = models.event("decision")
    async with creating(product, task="How old is the tower?") as stream:
        await stream.until(lambda view: view.of("run.created"))
        decision.set()
        view = await stream.end()
    assert not view.unheard


async def test_a_replay_equals_the_stored_events(
    modelled: Product, models: FakeModelServer
) -> None:
    """After the end the stream and the JSON page tell the same, event by event."""
    models.add(*whole_team())
    models.event("decision").set()
    run = (await modelled.run("How old is the tower?")).json()
    view = await followed(modelled, run["id"])
    stored = await modelled.events(run["id"])
    replayed = [{k: v for k, v in f.items() if k not in {"_id", "_event"}} for f in view.frames]
    assert replayed == stored
    assert [event["seq"] for event in stored] == list(range(1, run["last_seq"] + 1))
    assert stored[-1]["data"]["run"] == run


async def test_no_event_is_stored_twice(modelled: Product, models: FakeModelServer) -> None:
    """Every event of a run has a key of its own."""
    models.add(*whole_team())
    models.event("decision").set()
    run = (await modelled.run("How old is the tower?")).json()
    ref = RunRef("default", run["id"])
    events = await modelled.services.store.events(ref, after=0, limit=1_000)
    keys = [event.key for event in events]
    assert len(set(keys)) == len(keys) == run["last_seq"]


async def test_events_come_in_an_order_that_makes_sense(
    product: Product, models: FakeModelServer
) -> None:
    """Nothing is said about an agent before it has started, or of a run after its end."""
    models.add(*whole_team())
    models.event("decision").set()
    run = (await product.run("How old is the tower?")).json()
    events = await product.events(run["id"])
    types = [event["type"] for event in events]
    assert types[:3] == ["run.created", "run.started", "supervisor.decision"]
    assert types[-1] == "run.completed"
    for name in TEAM:
        own = [event["type"] for event in events if event["agent"] == name]
        assert own == ["agent.started", "message.completed", "agent.completed", "usage.updated"]
    totals = [e["data"]["usage"]["calls"] for e in events if e["type"] == "usage.updated"]
    assert totals == sorted(totals)


@pytest.mark.parametrize(
    ("query", "early", "late"),
    [
        ("?types=run.*", {"run.created", "run.started"}, {"run.completed"}),
        ("?types=agent.started", {"agent.started"}, set()),
        (
            "?types=agent.*,%20run.completed",
            {"agent.started"},
            {"agent.completed", "run.completed"},
        ),
        ("?types=message.delta", {"message.snapshot"}, {"message.delta"}),
        ("?types=message.snapshot", {"message.snapshot"}, {"message.delta"}),
        ("?types=message.*&tokens=false", set(), {"message.completed"}),
        ("?types=nothing", set(), set()),
    ],
)
async def test_a_client_may_ask_for_some_types_only(
    product: Product, models: FakeModelServer, query: str, early: set[str], late: set[str]
) -> None:
    """Filters hold live and in the replay, and the stream ends whatever they leave out."""
    models.add(*solo(gate="work", gate_after=2))
    gate = models.event("work")
    run_id = (await product.client.post("/v1/runs", json={"task": "Tidy up"})).json()["id"]
    async with following(product, run_id) as whole:
        await whole.until(lambda view: view.of("message.delta", "message.snapshot"))
        async with following(product, run_id, query=query) as stream:
            await stream.until(lambda view: {frame["type"] for frame in view.frames} == early)
            gate.set()
            live = await stream.end()
        await whole.end()
    assert {frame["type"] for frame in live.frames} == early | late
    replayed = await followed(product, run_id, query=query)
    assert {frame["type"] for frame in replayed.frames} == {
        type_ for type_ in early | late if type_ not in {"message.delta", "message.snapshot"}
    }


async def test_tokens_can_be_left_out(product: Product, models: FakeModelServer) -> None:
    """Without tokens the live stream is exactly the stored events."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    run_id = (await product.client.post("/v1/runs", json={"task": "Tidy up"})).json()["id"]
    async with following(product, run_id, query="?tokens=false") as stream:
        await stream.until(lambda view: view.of("agent.started"))
        gate.set()
        view = await stream.end()
    assert len(view.seqs) == len(view.frames)
    assert view.seqs == [event["seq"] for event in await product.events(run_id)]


async def test_a_client_that_leaves_does_not_stop_the_run(
    product: Product, models: FakeModelServer
) -> None:
    """A disconnect ends the stream and nothing else, also for the request that made the run."""
    models.add(*solo(gate="work", gate_after=2))
    gate = models.event("work")
    async with creating(product, task="Tidy up") as stream:
        view = await stream.until(lambda view: view.of("message.delta"))
        run_id = view.frames[0]["run_id"]
    async with following(product, run_id) as other:
        await other.until(lambda view: view.of("message.snapshot"))
    gate.set()
    run = await product.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 1)
    assert not any(request.cancelled for request in models.requests)


async def test_an_idle_stream_is_kept_open_with_pings(
    product: Product, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing happens a comment tells proxies and clients that the stream lives."""
    # Ten seconds in production: the test would only wait for them.
    monkeypatch.setattr("service.http.sse.PING_SECONDS", 0.01)
    models.add(*solo(gate="work"))
    gate = models.event("work")
    run_id = (await product.client.post("/v1/runs", json={"task": "Tidy up"})).json()["id"]
    path, headers = f"/v1/runs/{run_id}/events", {"accept": "text/event-stream"}
    async with (
        asyncio.timeout(SECONDS),
        product.client.stream("GET", path, headers=headers) as response,
    ):
        pings = 0
        async for line in response.aiter_lines():
            pings += line == ": ping"
            if pings == 3:
                gate.set()
    assert pings >= 3
    assert (await product.ended(run_id))["status"] == "completed"


def test_a_ping_comes_at_least_every_ten_seconds() -> None:
    """The interval is the one that the contract promises."""
    from service.http.sse import PING_SECONDS

    assert 0 < PING_SECONDS <= 10


async def test_a_hundred_readers_get_the_same_frames(
    product: Product, models: FakeModelServer
) -> None:
    """Every reader gets every byte that every other one gets."""
    models.add(*whole_team())
    decision = models.event("decision")
    run_id = (await product.client.post("/v1/runs", json={"task": "How old?"})).json()["id"]
    joined = asyncio.Barrier(101)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=product.base_url, limits=limits, timeout=2 * SECONDS, trust_env=False
    ) as client:

        async def read() -> str:
            text = ""
            path, headers = f"/v1/runs/{run_id}/events", {"accept": "text/event-stream"}
            async with client.stream("GET", path, headers=headers) as response:
                parts = response.aiter_text()
                while "event: run.started" not in text:
                    text += await anext(parts)
                await joined.wait()
                async for part in parts:
                    text += part
            return text.replace(": ping\n\n", "")

        async with asyncio.timeout(3 * SECONDS), asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read()) for _ in range(100)]
            await joined.wait()
            decision.set()
    texts = {reader.result() for reader in readers}
    assert len(texts) == 1
    (text,) = texts
    assert text.count("event: message.completed") == 4
    assert text.count("event: message.delta") >= 4
    assert text.count("event: run.completed") == 1


@pytest.mark.parametrize("items", [0, 1, 3])
async def test_a_slow_reader_still_sees_every_stored_event_once(
    product: Product, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch, items: int
) -> None:
    """A reader that falls behind is sent back to the stored events, without gap or repetition."""
    # A reader may be thousands of notices behind; with so few, each burst is too much for it.
    monkeypatch.setattr("service.hub.READER_ITEMS", items)
    models.add(*whole_team(gate="together"))
    decision, together = models.event("decision"), models.barrier("together", 3)
    async with creating(product, task="How old is the tower?") as stream:
        stream.view.lossy = True
        await stream.until(lambda view: view.of("run.created"))
        decision.set()
        view = await stream.end()
    assert not together.broken
    run_id = view.frames[0]["run_id"]
    assert view.seqs == [event["seq"] for event in await product.events(run_id)]
    said = {m["agent"]: m["data"]["text"] for m in view.of("message.completed")}
    assert said == {**TEAM, "supervisor": ANSWER}


async def test_the_page_of_events_leads_on_to_the_end(
    modelled: Product, models: FakeModelServer
) -> None:
    """Following `next_cursor` gives each event once, in order, whatever the page's size."""
    models.add(*whole_team())
    models.event("decision").set()
    run = (await modelled.run("How old is the tower?")).json()
    stored = await modelled.events(run["id"])
    for limit in (1, 4, len(stored), 1_000):
        seen: list[dict[str, object]] = []
        query = f"limit={limit}"
        more = True
        while more:
            path = f"/v1/runs/{run['id']}/events?{query}"
            page = (await modelled.client.get(path)).json()
            assert page.keys() == {"data", "next_cursor", "has_more"}
            assert page["has_more"] == (page["next_cursor"] is not None)
            assert len(page["data"]) <= limit
            seen += page["data"]
            more, query = page["has_more"], f"limit={limit}&after={page['next_cursor']}"
        assert seen == stored


async def test_the_page_of_events_can_be_filtered(
    product: Product, models: FakeModelServer
) -> None:
    """A filtered page may be short, its cursor still leads past what was left out."""
    models.add(*whole_team())
    models.event("decision").set()
    run = (await product.run("How old is the tower?")).json()
    path = f"/v1/runs/{run['id']}/events"
    page = (await product.client.get(f"{path}?types=run.*&limit=1000")).json()
    assert [e["type"] for e in page["data"]] == ["run.created", "run.started", "run.completed"]
    seen, query, more = [], "types=agent.completed&limit=3", True
    while more:
        page = (await product.client.get(f"{path}?{query}")).json()
        seen += [event["agent"] for event in page["data"]]
        more = page["has_more"]
        query = f"types=agent.completed&limit=3&after={page['next_cursor']}"
    assert sorted(seen) == sorted(TEAM)
    empty = (await product.client.get(f"{path}?after={run['last_seq']}")).json()
    assert empty == {"data": [], "next_cursor": None, "has_more": False}


async def test_a_failed_run_ends_its_stream_with_the_reason(
    product: Product, models: FakeModelServer
) -> None:
    """The last event carries the run as it is answered elsewhere."""
    models.add(Rule(when=When(schema=True), reply=Reply.error(404)))
    async with creating(product, task="Tidy up") as stream:
        view = await stream.end()
    last = view.frames[-1]
    assert last["type"] == "run.failed"
    assert last["data"]["run"]["error"]["code"] == "model-error"
    polled = await product.client.get(f"/v1/runs/{last['run_id']}")
    assert last["data"]["run"] == polled.json()
