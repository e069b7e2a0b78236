"""Creating a run: what is answered at once, what after waiting, and what a run may be told."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import pytest

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, read_frames
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import (
    SECONDS,
    Arriving,
    decisions,
    solo,
    unauthorised,
    worker,
)

RUN_FIELDS: Final = {
    *("id", "object", "thread_id", "status", "stop_reason", "task", "result", "required_action"),
    *("error", "degraded", "actions", "cache", "usage", "budget", "last_seq", "trace_url"),
    *("trace_id", "forked_from"),
    *("graph_version", "rounds", "attempt", "engine", "created_at", "started_at", "ended_at"),
    *("metadata", "tags", "links"),
}
RESULT_FIELDS: Final = {
    *("output", "format", "structured", "citations", "artifacts", "validation", "agents"),
}
USAGE_FIELDS: Final = {
    *("input_tokens", "output_tokens", "cached_tokens", "cost_usd", "cost_known", "calls"),
    *("reasoning_tokens", "unmetered_calls"),
}


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> Any:
    """Run the product with the fake model server, in memory."""
    async with start(models=models) as running_product:
        yield running_product


async def test_a_created_run_is_answered_at_once_with_its_place(
    modelled: Product, models: FakeModelServer
) -> None:
    """The answer is 202, says where the run is, and the run there is the same one."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    response = await modelled.client.post("/v1/runs", json={"task": "Tidy up"})
    run = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/runs/{run['id']}"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert run.keys() == RUN_FIELDS
    assert (run["object"], run["status"], run["task"]) == ("run", "queued", "Tidy up")
    assert run["thread_id"].startswith("thr_")
    assert (run["result"], run["error"], run["ended_at"]) == (None, None, None)
    found = await modelled.client.get(response.headers["location"])
    assert found.status_code == 200
    assert found.json()["id"] == run["id"]
    gate.set()
    assert (await modelled.ended(run["id"]))["status"] == "completed"


async def test_a_completed_run_has_every_field(modelled: Product, models: FakeModelServer) -> None:
    """Nothing that the contract promises is left out, and the parts fit together."""
    models.add(*solo(Reply(text="Done it.")))
    response = await modelled.run("Tidy up", metadata={"ticket": 7}, tags=["a"])
    assert response.status_code == 200
    run = response.json()
    assert run.keys() == RUN_FIELDS
    assert run["result"].keys() == RESULT_FIELDS
    assert run["result"]["output"] == "Done it."
    assert run["result"]["agents"] == {
        "coder": {"status": "completed", "output": "Done it.", "error": None}
    }
    assert (run["status"], run["stop_reason"], run["engine"]) == ("completed", "done", "model")
    assert (run["attempt"], run["rounds"], run["degraded"]) == (1, 1, [])
    assert run["budget"]["max_rounds"] == 10
    created, started, ended = (
        datetime.fromisoformat(run[name]) for name in ("created_at", "started_at", "ended_at")
    )
    assert created <= started <= ended
    assert all(run[name].endswith("Z") for name in ("created_at", "started_at", "ended_at"))
    assert run["last_seq"] == (await modelled.events(run["id"]))[-1]["seq"]
    again = await modelled.client.get(f"/v1/runs/{run['id']}")
    assert again.json() == run


async def test_every_model_call_has_an_owner(product: Product, models: FakeModelServer) -> None:
    """The sums by agent and by model are the total; an unknown price is no price."""
    models.add(*solo())
    usage = (await product.run("Tidy up")).json()["usage"]
    assert usage.keys() >= USAGE_FIELDS | {"by_agent", "by_model", "cache_savings_usd"}
    assert usage["by_agent"].keys() == {"supervisor", "coder"}
    for split in ("by_agent", "by_model"):
        for name in ("input_tokens", "output_tokens", "cached_tokens", "calls"):
            assert sum(share[name] for share in usage[split].values()) == usage[name]
    assert (usage["calls"], usage["cost_usd"], usage["cost_known"]) == (3, None, False)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?wait=20", {}),
        ("?wait=19.5", {}),
        ("", {"prefer": "wait=20"}),
        ("", {"prefer": "respond-async, wait=20"}),
        ("", {"prefer": "wait=99999999999"}),
        ("?wait=20", {"prefer": "wait=0"}),
    ],
)
async def test_a_request_may_wait_for_the_end(
    product: Product, models: FakeModelServer, query: str, headers: dict[str, str]
) -> None:
    """The parameter and the header `Prefer` mean the same, and the parameter wins."""
    models.add(*solo())
    body = {"task": "Tidy up"}
    response = await product.client.post(f"/v1/runs{query}", json=body, headers=headers)
    assert response.status_code == 200
    assert response.json()["status"] == "completed"
    assert response.headers["location"] == f"/v1/runs/{response.json()['id']}"


async def test_a_wait_of_nothing_is_no_wait(product: Product, models: FakeModelServer) -> None:
    """`wait=0` answers at once."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    response = await product.client.post("/v1/runs?wait=0", json={"task": "Tidy up"})
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    polled = await product.client.get(f"/v1/runs/{response.json()['id']}?wait=0")
    assert (polled.status_code, polled.json()["ended_at"]) == (200, None)
    gate.set()
    await product.ended(response.json()["id"])


async def test_a_run_that_outlasts_the_wait_is_answered_as_running(
    start: Start, models: FakeModelServer
) -> None:
    """The wait is capped by the server; the run goes on and can be waited for again."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    gate = models.event("work")
    async with start(models=models, max_wait=0.1) as product, asyncio.timeout(SECONDS):
        short = await product.client.post("/v1/runs?wait=0.01", json={"task": "Tidy up"})
        assert (short.status_code, short.json()["ended_at"]) == (202, None)
        path = short.headers["location"]
        await arriving.wait()
        capped = await product.client.post("/v1/runs?wait=3000", json={"task": "Tidy up"})
        assert (capped.status_code, capped.json()["ended_at"]) == (202, None)
        polled = await product.client.get(f"{path}?wait=3000")
        assert (polled.status_code, polled.json()["status"]) == (200, "running")
        gate.set()
        while not polled.json()["ended_at"]:
            polled = await product.client.get(f"{path}?wait=3000")
        assert polled.json()["status"] == "completed"


async def test_a_wait_hears_of_the_end_also_where_it_fell_behind(
    product: Product, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiting request that was sent back to the stored events looks the run up again."""
    # A reader falls behind after thousands of notices; here after none, so that it always does.
    monkeypatch.setattr("service.hub.READER_ITEMS", 0)
    models.add(*solo())
    async with asyncio.timeout(SECONDS):
        response = await product.run("Tidy up", wait=30)
    assert (response.status_code, response.json()["status"]) == (200, "completed")


async def test_an_incomplete_run_is_a_success_that_says_why(
    product: Product, models: FakeModelServer
) -> None:
    """A run that used up its rounds answers with what there is."""
    again = Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it")))
    models.add(again, worker("Do it", Reply(text="Half of it.")))
    response = await product.run("Tidy up", budget={"max_rounds": 1})
    run = response.json()
    assert response.status_code == 200
    assert (run["status"], run["stop_reason"]) == ("incomplete", "max_rounds")
    assert (run["rounds"], run["budget"]["max_rounds"]) == (1, 1)
    assert run["result"]["output"].startswith("Half of it.")


async def test_a_run_takes_as_many_rounds_as_it_may(
    product: Product, models: FakeModelServer
) -> None:
    """The cap counts the rounds in which agents work."""
    steps = itertools.count(1)
    models.add(
        Rule(when=When(schema=True), reply=lambda _: Reply.route(("coder", f"Step {next(steps)}"))),
        Rule(when=When(schema=False), reply=Reply(text="A part of it.")),
    )
    run = (await product.run("Tidy up", budget={"max_rounds": 3})).json()
    assert (run["status"], run["rounds"]) == ("incomplete", 3)
    decided = [e for e in await product.events(run["id"]) if e["type"] == "supervisor.decision"]
    assert [event["round"] for event in decided] == [1, 2, 3]


async def test_a_refused_key_is_a_model_error(product: Product, models: FakeModelServer) -> None:
    """A failure is never a 200: the problem holds the run and tells nobody to try again."""
    models.add(unauthorised())
    response = await product.run("Tidy up")
    problem = assert_problem(response, "model-error")
    run = problem["run"]
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["location"] == f"/v1/runs/{problem['run_id']}"
    assert (run["id"], run["status"], run["stop_reason"]) == (problem["run_id"], "failed", "error")
    assert "401" in problem["detail"]
    assert "sk-secret" not in response.text
    assert run["error"]["code"] == "model-error"
    polled = await product.client.get(f"/v1/runs/{run['id']}?wait=5")
    assert (polled.status_code, polled.json()) == (200, run)


async def test_a_run_whose_agents_all_fail_has_failed(
    product: Product, models: FakeModelServer
) -> None:
    """With nothing to answer from there is no answer, and every agent's reason is named."""
    models.add(
        *decisions(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", Reply.error(400)),
        worker("Count it", Reply.error(404)),
    )
    response = await product.run("Tidy up")
    problem = assert_problem(response, "agents-failed")
    assert response.headers["x-should-retry"] == "false"
    assert "coder" in problem["detail"]
    assert "analyst" in problem["detail"]
    assert problem["run"]["status"] == "failed"


async def test_a_failed_run_says_why_each_agent_failed(
    product: Product, models: FakeModelServer
) -> None:
    """`run.result.agents` is where docs/errors.md says the reasons are."""
    models.add(
        *decisions(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", Reply.error(400)),
        worker("Count it", Reply.error(404)),
    )
    run = (await product.run("Tidy up")).json()["run"]
    assert run["result"] is not None
    agents = run["result"]["agents"]
    assert {name: agent["status"] for name, agent in agents.items()} == {
        "coder": "failed",
        "analyst": "failed",
    }
    assert all(agent["error"] for agent in agents.values())


async def test_a_waiting_request_is_told_of_a_cancellation(
    product: Product, models: FakeModelServer
) -> None:
    """Whoever waits while another cancels gets a 409 with the run."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    models.event("work")
    waiting = asyncio.create_task(product.run("Tidy up", wait=30))
    await arriving.wait()
    (run,) = (await product.client.get("/v1/runs")).json()["data"]
    cancelled = await product.client.post(f"/v1/runs/{run['id']}/cancel")
    assert cancelled.status_code == 202
    async with asyncio.timeout(SECONDS):
        response = await waiting
    problem = assert_problem(response, "run-cancelled")
    assert response.headers["x-should-retry"] == "false"
    assert problem["run_id"] == run["id"]
    assert problem["run"] == cancelled.json()


async def test_creating_with_an_event_stream_follows_the_new_run(
    product: Product, models: FakeModelServer
) -> None:
    """One request creates the run and streams it from its first event to its last."""
    models.add(*solo())
    headers = {"accept": "text/event-stream"}
    body = {"task": "Tidy up"}
    async with (
        asyncio.timeout(SECONDS),
        product.client.stream("POST", "/v1/runs", json=body, headers=headers) as response,
    ):
        frames = [frame async for frame in read_frames(response)]
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    stored = [frame for frame in frames if frame["_id"]]
    run_id = stored[0]["run_id"]
    assert response.headers["location"] == f"/v1/runs/{run_id}"
    assert (stored[0]["type"], stored[-1]["type"]) == ("run.created", "run.completed")
    assert len(stored) == len(await product.events(run_id))


async def test_a_follow_up_knows_what_was_said_before(
    product: Product, models: FakeModelServer
) -> None:
    """The prompts of a later run of a thread hold the earlier task and its answer."""
    models.add(*solo(Reply(text="The tower is from 1904.")))
    first = (await product.run("How old is the tower?")).json()
    asked = len(models.requests)
    second = await product.run("And who built it?", thread_id=first["thread_id"])
    assert second.status_code == 200
    assert second.json()["thread_id"] == first["thread_id"]
    assert second.json()["id"] != first["id"]
    earlier, later = models.requests[:asked], models.requests[asked:]
    assert later
    for request in later:
        assert "How old is the tower?" in request.user
        assert "The tower is from 1904." in request.user
        assert "And who built it?" in request.user
    assert not any("<earlier>" in request.user for request in earlier)


async def test_runs_of_one_thread_follow_one_another(
    modelled: Product, models: FakeModelServer
) -> None:
    """A thread's runs do not overlap and keep the order in which they were created."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    gate = models.event("work")
    client = modelled.client
    first = (await client.post("/v1/runs", json={"task": "Number 0"})).json()
    await arriving.wait()
    body = {"thread_id": first["thread_id"]}
    later = [
        (await client.post("/v1/runs", json={"task": f"Number {n}", **body})).json()
        for n in (1, 2, 3)
    ]
    beside = (await client.post("/v1/runs", json={"task": "Beside"})).json()
    waiting = [(await client.get(f"/v1/runs/{run['id']}")).json()["status"] for run in later]
    assert waiting == ["queued"] * 3
    gate.set()
    runs = [await modelled.ended(run["id"]) for run in (first, *later)]
    assert [run["status"] for run in runs] == ["completed"] * 4
    for earlier, after in pairwise(runs):
        assert earlier["ended_at"] <= after["started_at"]
    assert (await modelled.ended(beside["id"]))["status"] == "completed"


async def test_a_run_may_be_limited_to_some_agents(
    product: Product, models: FakeModelServer
) -> None:
    """The model is offered only those agents, and a route to another goes nowhere."""
    route = Reply.route(("researcher", "Look it up"), ("analyst", "Count it"))
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=route),
        worker("Count it", Reply(text="Three.")),
    )
    run = (await product.run("Tidy up", agents=["analyst", "coder", "analyst"])).json()
    assert run["result"]["agents"].keys() == {"analyst"}
    deciding = [request for request in models.requests if request.schema]
    assert deciding
    for request in deciding:
        assert request.schema is not None
        item = request.schema["properties"]["assignments"]["items"]
        assert set(item["properties"]["agent"]["enum"]) == {"analyst", "coder"}
        assert "- researcher:" not in request.system
    models.assert_all_used()


async def test_metadata_and_tags_are_kept_as_they_came(
    modelled: Product, models: FakeModelServer
) -> None:
    """Every kind of scalar survives; a repeated tag counts once."""
    models.add(*solo())
    metadata = {
        "text": "Grüße 🚦",
        "empty": "",
        "whole": 2**53,
        "negative": -7,
        "fraction": 1.5,
        "yes": True,
        "no": False,
        "nothing": None,
        "k" * 64: "v" * 512,
    }
    created = await modelled.client.post(
        "/v1/runs", json={"task": "Tidy up", "metadata": metadata, "tags": ["b", "a", "b"]}
    )
    run = await modelled.ended(created.json()["id"])
    for shown in (created.json(), run):
        assert shown["metadata"] == metadata
        assert shown["tags"] == ["b", "a"]
        assert isinstance(shown["metadata"]["yes"], bool)


@pytest.mark.parametrize("cache", [True, False, {"max_age": 0}, {"max_age": 3_600}, None])
async def test_cache_is_accepted_while_nothing_is_cached(
    product: Product, models: FakeModelServer, cache: object
) -> None:
    """The field works from the first day; a run that reused nothing says so."""
    models.add(*solo())
    run = (await product.run("Tidy up", cache=cache)).json()
    assert (run["status"], run["cache"]) == ("completed", None)


@pytest.mark.parametrize(
    "task",
    ["a" * 32_000, "🚦" * 32_000, " around ", "line\nline\ttab", '"quoted" \\ </task> {json}'],
    ids=["32 000 letters", "32 000 emoji", "spaces", "lines", "markup"],
)
async def test_a_task_reaches_the_model_as_it_was_sent(
    product: Product, models: FakeModelServer, task: str
) -> None:
    """The longest task there may be and odd characters pass unchanged."""
    models.add(*solo())
    response = await product.run(task)
    assert response.status_code == 200
    assert response.json()["task"] == task
    assert task in models.requests[0].user


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "application/x+json"])
async def test_json_may_be_called_by_its_other_names(
    product: Product, models: FakeModelServer, media_type: str
) -> None:
    """Parameters and structured suffixes of the media type are understood."""
    models.add(*solo())
    headers = {"content-type": media_type}
    response = await product.client.post(
        "/v1/runs?wait=20", content=b'{"task": "Tidy up"}', headers=headers
    )
    assert response.status_code == 200


async def test_a_request_id_is_accepted_or_made(product: Product) -> None:
    """A good id comes back as it was; without one, or with a bad one, the server makes its own."""
    client = product.client
    for good in ("req-1", "a" * 128, "0193f2c4:a1b2.c3_d4"):
        response = await client.get("/v1/runs", headers={"x-request-id": good})
        assert response.headers["x-request-id"] == good
    made = {(await client.get("/v1/runs")).headers["x-request-id"] for _ in range(3)}
    for bad in (b"", b"a b", b"a" * 129, b"\xe9", b"<script>", b"a,b"):
        response = await client.get("/v1/runs/x", headers=[(b"x-request-id", bad)])
        made.add(response.headers["x-request-id"])
        assert assert_problem(response, "not-found")["request_id"].startswith("req_")
    assert len(made) == 9
    assert all(request_id.startswith("req_") for request_id in made)
