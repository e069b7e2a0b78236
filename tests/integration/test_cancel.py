"""Cancelling: the run stops at once, what it has produced stays, and only one caller is the one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import creating, followed
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import SECONDS, Arriving, decisions, solo, worker


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with the fake model server, in memory."""
    async with start(models=models) as running_product:
        yield running_product


async def answered(models: FakeModelServer) -> None:
    """Wait until the model server is rid of every request."""
    tasks = set(models._state.tasks)
    if tasks:
        _, stuck = await asyncio.wait(tasks, timeout=SECONDS)
        assert not stuck


async def test_a_running_run_is_cancelled_and_keeps_what_is_done(
    modelled: Product, models: FakeModelServer
) -> None:
    """The finished agent's output and spend stay; the one that works is stopped."""
    models.add(
        *decisions(("analyst", "Count it"), ("coder", "Write it")),
        worker("Count it", Reply(text="There are five.")),
        worker("Write it", Reply(text="This never comes to its end."), gate="half", gate_after=3),
    )
    models.event("half")
    async with creating(modelled, task="Count and write") as stream:
        await stream.until(lambda view: view.of("usage.updated"))
        view = await stream.until(
            lambda view: any(d["agent"] == "coder" for d in view.of("message.delta"))
        )
        run_id = view.frames[0]["run_id"]
        path = f"/v1/runs/{run_id}/cancel"
        response = await modelled.client.post(path, json={"reason": "not needed"})
        assert response.status_code == 202
        run = response.json()
        view = await stream.end()
    assert (run["status"], run["stop_reason"], run["error"]) == ("cancelled", "cancelled", None)
    assert run["ended_at"]
    assert run["rounds"] == 1
    assert run["result"]["output"] == "There are five."
    assert run["result"]["agents"] == {
        "analyst": {"status": "completed", "output": "There are five.", "error": None}
    }
    # What was cut off is paid all the same, and nobody has told what it used.
    assert run["usage"]["by_agent"].keys() == {"supervisor", "analyst", "coder"}
    assert run["usage"]["by_agent"]["coder"]["unmetered_calls"] == 1
    assert run["usage"]["by_agent"]["analyst"]["output_tokens"] == 3
    last = view.frames[-1]
    assert (last["type"], last["data"]["reason"]) == ("run.cancelled", "not needed")
    assert last["data"]["run"] == run
    await answered(models)
    held = [request for request in models.requests if "Write it" in request.user]
    assert [request.cancelled for request in held if not request.schema] == [True]
    assert (await modelled.client.get(f"/v1/runs/{run_id}")).json() == run
    events = await modelled.events(run_id)
    assert events[-1]["type"] == "run.cancelled"
    assert events[-1]["seq"] == run["last_seq"]
    assert (await followed(modelled, run_id)).frames[-1]["type"] == "run.cancelled"


async def test_a_run_that_has_done_nothing_yet_is_cancelled(
    product: Product, models: FakeModelServer
) -> None:
    """While the supervisor still decides there is nothing to keep."""
    models.add(*decisions(("coder", "Do it"), gate="decision"))
    models.event("decision")
    async with creating(product, task="Tidy up") as stream:
        view = await stream.until(lambda view: view.of("run.started"))
        response = await product.client.post(f"/v1/runs/{view.frames[0]['run_id']}/cancel")
        assert response.status_code == 202
        view = await stream.end()
    run = response.json()
    assert (run["status"], run["result"]) == ("cancelled", None)
    # The decision may have been asked for; nobody has told what that used.
    assert run["usage"]["calls"] == run["usage"]["unmetered_calls"] <= 1
    assert [e["type"] for e in view.frames] == ["run.created", "run.started", "run.cancelled"]
    assert "reason" not in view.frames[-1]["data"]


async def test_a_queued_run_is_cancelled_and_never_begins(
    start: Start, models: FakeModelServer
) -> None:
    """It waits no longer, and the run behind it takes its turn."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    gate = models.event("work")
    async with start(models=models, max_concurrent_runs=1) as product:
        runs = [
            (await product.client.post("/v1/runs", json={"task": f"Task {n}"})).json()
            for n in range(3)
        ]
        await arriving.wait()
        response = await product.client.post(f"/v1/runs/{runs[1]['id']}/cancel")
        run = response.json()
        assert (response.status_code, run["status"], run["attempt"]) == (202, "cancelled", 0)
        assert run["started_at"] is None
        assert run["ended_at"]
        gate.set()
        ended = [await product.ended(each["id"]) for each in runs]
        assert [each["status"] for each in ended] == ["completed", "cancelled", "completed"]
        types = [event["type"] for event in await product.events(runs[1]["id"])]
        assert types == ["run.created", "run.cancelled"]
    assert not any("Task 1" in request.user for request in models.requests)


async def test_cancelling_in_a_thread_lets_the_next_run_go(
    product: Product, models: FakeModelServer
) -> None:
    """A thread is free as soon as its last run has ended, however it ended."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(worker("Do it", arriving, gate="work", times=1), *solo())
    models.event("work")
    first = (await product.client.post("/v1/runs", json={"task": "A"})).json()
    body = {"task": "B", "thread_id": first["thread_id"]}
    second = (await product.client.post("/v1/runs", json=body)).json()
    await arriving.wait()
    assert (await product.client.post(f"/v1/runs/{first['id']}/cancel")).status_code == 202
    assert (await product.ended(second["id"]))["status"] == "completed"


async def test_cancelling_again_changes_nothing(product: Product, models: FakeModelServer) -> None:
    """The second time is answered 200 with the same run, and leaves no second event."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    models.event("work")
    run_id = (await product.client.post("/v1/runs", json={"task": "Tidy up"})).json()["id"]
    await arriving.wait()
    path = f"/v1/runs/{run_id}/cancel"
    first = await product.client.post(path, json={"reason": "one"})
    second = await product.client.post(path, json={"reason": "two"})
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json() == second.json()
    cancelled = [e for e in await product.events(run_id) if e["type"] == "run.cancelled"]
    assert [event["data"]["reason"] for event in cancelled] == ["one"]


async def test_a_run_that_has_ended_cannot_be_cancelled(
    modelled: Product, models: FakeModelServer
) -> None:
    """It stays as it is, and the problem says how it ended."""
    models.add(*solo())
    run = (await modelled.run("Tidy up")).json()
    response = await modelled.client.post(f"/v1/runs/{run['id']}/cancel")
    problem = assert_problem(response, "run-terminal")
    assert problem["run_id"] == run["id"]
    assert "completed" in problem["detail"]
    assert (await modelled.client.get(f"/v1/runs/{run['id']}")).json() == run


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", None),
        (b"", "application/json"),
        (b"{}", "application/json"),
        (b'{"reason": null}', "application/json"),
        (b'{"reason": ""}', "application/json"),
        ('{"reason": "Grüße 🚦\\n"}'.encode(), "application/json"),
        (b'{"reason": "' + b"a" * 2_000 + b'"}', "application/json"),
    ],
    ids=["no body", "an empty body", "an object", "null", "empty", "text", "the longest"],
)
async def test_a_reason_is_optional(
    product: Product, models: FakeModelServer, content: bytes, media_type: str | None
) -> None:
    """A cancellation needs no body, and keeps a reason as it was written."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    models.event("work")
    run_id = (await product.client.post("/v1/runs", json={"task": "Tidy up"})).json()["id"]
    await arriving.wait()
    headers = {"content-type": media_type} if media_type else {}
    response = await product.client.post(
        f"/v1/runs/{run_id}/cancel", content=content, headers=headers
    )
    assert (response.status_code, response.json()["status"]) == (202, "cancelled")


async def test_of_ten_who_cancel_at_once_one_is_the_one(
    modelled: Product, models: FakeModelServer
) -> None:
    """One request cancels, nine are told that it is cancelled, all get the same run."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    models.event("work")
    run_id = (await modelled.client.post("/v1/runs", json={"task": "Tidy up"})).json()["id"]
    await arriving.wait()
    path = f"/v1/runs/{run_id}/cancel"
    async with asyncio.timeout(SECONDS):
        answers = await asyncio.gather(
            *(modelled.client.post(path, json={"reason": str(n)}) for n in range(10))
        )
    assert Counter(answer.status_code for answer in answers) == {202: 1, 200: 9}
    assert all(answer.json() == answers[0].json() for answer in answers)
    events = await modelled.events(run_id)
    assert [e["type"] for e in events].count("run.cancelled") == 1
    winner = next(str(n) for n, answer in enumerate(answers) if answer.status_code == 202)
    assert events[-1]["data"]["reason"] == winner


async def test_the_service_goes_on_after_cancellations(
    start: Start, models: FakeModelServer
) -> None:
    """A cancelled run gives its place back."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(worker("Do it", arriving, gate="work", times=1), *solo())
    models.event("work")
    async with start(models=models, max_concurrent_runs=1) as product:
        first = (await product.client.post("/v1/runs", json={"task": "A"})).json()
        await arriving.wait()
        assert (await product.client.post(f"/v1/runs/{first['id']}/cancel")).status_code == 202
        assert (await product.run("B")).status_code == 200
