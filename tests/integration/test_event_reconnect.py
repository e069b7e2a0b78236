"""Coming back to an event stream: from every point, in the middle of a message, after the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import ClientView, creating, followed, following
from tests.integration.conftest import Start
from tests.integration.team_script import composer, decisions, solo, worker

PIECES: Final = ("One ", "twö ", "thrée ", "🚦 four ", "five.")
TEXT: Final = "".join(PIECES)
HALF: Final = "One twö "

# The role is the first part of a model's stream, so three parts are two pieces of text.
TWO_PIECES: Final = 3


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with the fake model server, in memory."""
    async with start(models=models) as running_product:
        yield running_product


def two_rounds() -> list[Rule]:
    """Return the rules of a run whose second round is held in the middle of the coder's message."""
    return [
        Rule(when=When(schema=True, user='agent="coder"'), reply=Reply.route()),
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route(("coder", "Write it"))),
        Rule(when=When(schema=True), reply=Reply.route(("analyst", "Count it"))),
        worker("Count it", Reply(text="There are 5.")),
        worker("Write it", Reply(text=TEXT, chunks=PIECES), gate="half", gate_after=TWO_PIECES),
        composer(Reply(text="Five words.")),
    ]


def half_said(view: ClientView) -> bool:
    """Return whether the held message has come as far as it is written."""
    return HALF in view.open.values()


async def test_a_client_can_come_back_at_every_point(
    modelled: Product, models: FakeModelServer
) -> None:
    """From each event on, replay and live part join without gap or repetition."""
    models.add(*two_rounds())
    gate = models.event("half")
    run_id = (await modelled.client.post("/v1/runs", json={"task": "Count"})).json()["id"]
    async with following(modelled, run_id) as watch:
        seen = (await watch.until(half_said)).seqs
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= 9
    joined = asyncio.Barrier(len(seen) + 2)

    async def come_back(after: int) -> ClientView:
        headers = {"last-event-id": str(after)}
        async with following(modelled, run_id, headers=headers) as stream:
            view = await stream.until(half_said)
            assert view.seqs == seen[after:]
            await joined.wait()
            return await stream.end()

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(come_back(after)) for after in (0, *seen)]
        await joined.wait()
        gate.set()
    last = (await modelled.ended(run_id))["last_seq"]
    for after, client in enumerate(clients):
        view = client.result()
        assert view.seqs == list(range(after + 1, last + 1))
        assert view.open == {}
        assert view.messages["msg_2.coder.0"] == TEXT
    everything = await followed(modelled, run_id)
    for after in range(last):
        view = await followed(modelled, run_id, headers={"last-event-id": str(after)})
        assert view.frames == everything.frames[after:]


async def test_a_half_written_message_is_sent_once_as_a_snapshot(
    product: Product, models: FakeModelServer
) -> None:
    """The deltas behind the snapshot continue it exactly where it ends."""
    models.add(*solo(Reply(text=TEXT, chunks=PIECES), gate="half", gate_after=TWO_PIECES))
    gate = models.event("half")
    async with creating(product, task="Write") as first:
        view = await first.until(half_said)
        assert not view.of("message.snapshot")
        run_id, cursor = view.frames[0]["run_id"], view.seqs[-1]
        async with following(product, run_id, query=f"?after={cursor}") as second:
            late = await second.until(half_said)
            (snapshot,) = late.frames
            assert (snapshot["type"], snapshot["_id"]) == ("message.snapshot", None)
            assert snapshot["agent"] == "coder"
            assert snapshot["data"] == {"message_id": "msg_1.coder.0", "text": HALF}
            assert {key for key in snapshot if not key.startswith("_")} == {"type", "agent", "data"}
            gate.set()
            late = await second.end()
        await first.end()
    own = [d["data"] for d in late.of("message.delta") if d["agent"] == "coder"]
    assert own[0]["offset"] == len(HALF)
    assert HALF + "".join(delta["text"] for delta in own) == TEXT
    assert len(late.of("message.snapshot")) == 1
    assert late.messages["msg_1.coder.0"] == first.view.messages["msg_1.coder.0"] == TEXT


async def test_a_snapshot_is_a_token_too(product: Product, models: FakeModelServer) -> None:
    """A client without tokens gets no snapshot, and neither does one that asks for other types."""
    models.add(*solo(Reply(text=TEXT, chunks=PIECES), gate="half", gate_after=TWO_PIECES))
    gate = models.event("half")
    async with creating(product, task="Write") as first:
        run_id = (await first.until(half_said)).frames[0]["run_id"]
        async with (
            following(product, run_id, query="?tokens=false") as without,
            following(product, run_id, query="?types=run.*,agent.*") as other,
        ):
            await without.until(lambda view: view.of("agent.started"))
            await other.until(lambda view: view.of("agent.started"))
            gate.set()
            for stream in (without, other):
                assert not (await stream.end()).of("message.snapshot", "message.delta")
        await first.end()


async def test_the_header_wins_over_the_parameter(
    product: Product, models: FakeModelServer
) -> None:
    """A browser that reconnects sends the header to the address it was given."""
    models.add(*solo())
    run = (await product.run("Tidy up")).json()
    view = await followed(product, run["id"], query="?after=1", headers={"last-event-id": "3"})
    assert view.seqs[0] == 4
    view = await followed(product, run["id"], query="?after=2")
    assert view.seqs[0] == 3
    page = await product.client.get(
        f"/v1/runs/{run['id']}/events?after=1", headers={"last-event-id": "3"}
    )
    assert page.json()["data"][0]["seq"] == 4


async def test_after_the_last_event_there_is_nothing_to_stream(
    modelled: Product, models: FakeModelServer
) -> None:
    """A reconnect at or after the end is answered 204, which tells browsers to stop."""
    models.add(*solo())
    run = (await modelled.run("Tidy up")).json()
    path, last = f"/v1/runs/{run['id']}/events", run["last_seq"]
    for cursor in (last, last + 1, last + 1_000):
        for query, more in ((f"?after={cursor}", {}), ("", {"last-event-id": str(cursor)})):
            headers = {"accept": "text/event-stream", **more}
            response = await modelled.client.get(f"{path}{query}", headers=headers)
            assert (response.status_code, response.content) == (204, b"")
    view = await followed(modelled, run["id"], query=f"?after={last - 1}")
    assert [frame["type"] for frame in view.frames] == ["run.completed"]


async def test_a_failing_server_is_tried_again_and_the_try_is_announced(
    product: Product, models: FakeModelServer
) -> None:
    """One 500 costs the run nothing but a try."""
    models.add(worker("Do it", Reply.error(500, retry_after="0"), times=1), *solo())
    async with creating(product, task="Tidy up") as stream:
        view = await stream.end()
    (retrying,) = view.of("agent.retrying")
    assert retrying["agent"] == "coder"
    assert retrying["data"].keys() == {"reason", "delay_seconds", "try"}
    assert retrying["data"]["try"] == 2
    assert "500" in retrying["data"]["reason"]
    assert view.frames[-1]["type"] == "run.completed"
    assert view.messages["msg_1.coder.0"] == "Done it."


async def test_a_cut_message_is_void_and_begins_anew(
    product: Product, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `agent.retrying` the message starts at its first character and adds up."""
    # Half a second in production, before each new try.
    monkeypatch.setattr(product.services.gateway, "first_delay_seconds", 0.0)
    models.add(worker("Do it", Reply(text=TEXT, fault="truncate"), times=1, gate="cut"), *solo())
    gate = models.event("cut")
    async with creating(product, task="Tidy up") as stream:
        await stream.until(lambda view: view.of("agent.started"))
        gate.set()
        view = await stream.until(lambda view: view.of("agent.retrying"))
        before = [d for d in view.of("message.delta") if d["agent"] == "coder"]
        assert before, "part of the cut message was shown"
        assert view.open == {}
        view = await stream.end()
    after = [d for d in view.of("message.delta") if d["agent"] == "coder"][len(before) :]
    assert after[0]["data"]["offset"] == 0
    assert after[0]["data"]["message_id"] == before[0]["data"]["message_id"]
    assert "".join(delta["data"]["text"] for delta in after) == "Done it."
    assert view.messages["msg_1.coder.0"] == "Done it."


async def test_a_retry_does_not_cost_the_others_their_half_written_text(
    product: Product, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients void every open message, so those of the other agents are given to them again."""
    # Half a second in production, before each new try.
    monkeypatch.setattr(product.services.gateway, "first_delay_seconds", 0.0)
    models.add(
        worker("Do it", Reply(text="This breaks off", fault="truncate"), times=1, gate="cut"),
        *decisions(("coder", "Do it"), ("analyst", "Write it")),
        worker("Do it", Reply(text="Done it.")),
        worker("Write it", Reply(text=TEXT, chunks=PIECES), gate="half", gate_after=TWO_PIECES),
        composer(Reply(text="All is done.")),
    )
    cut, half = models.event("cut"), models.event("half")
    async with creating(product, task="Tidy up") as stream:
        view = await stream.until(half_said)
        cut.set()
        await stream.until(lambda view: view.of("agent.retrying"))
        view = await stream.until(half_said)
        (again,) = view.of("message.snapshot")
        assert (again["agent"], again["data"]["text"]) == ("analyst", HALF)
        await stream.until(lambda view: view.of("agent.completed"))
        half.set()
        view = await stream.end()
    assert view.messages["msg_1.analyst.0"] == TEXT
    assert view.messages["msg_1.coder.0"] == "Done it."
    assert not view.unheard


async def test_an_answer_that_could_not_be_composed_begins_anew_in_the_open(
    product: Product, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last try breaks off too, its text is void before the results are sent instead."""
    # Half a second in production, before each new try.
    monkeypatch.setattr(product.services.gateway, "first_delay_seconds", 0.0)
    models.add(
        *decisions(("coder", "Do it"), ("analyst", "Write it"), gate="decision"),
        worker("Do it", Reply(text="Done it.")),
        worker("Write it", Reply(text=TEXT)),
        composer(Reply(text="All of it is done now.", fault="truncate")),
    )
    decision = models.event("decision")
    async with creating(product, task="Tidy up") as stream:
        await stream.until(lambda view: view.of("run.created"))
        decision.set()
        view = await stream.end()
    assert view.frames[-1]["type"] == "run.completed"
    assert not view.unheard
