"""The short form: a task in, an answer out, or one frame per step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import (
    SECONDS,
    Arriving,
    composer,
    decisions,
    solo,
    unauthorised,
    worker,
)


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with the fake model server, in memory."""
    async with start(models=models) as running_product:
        yield running_product


async def steps(product: Product, task: str = "Tidy up") -> list[dict[str, Any]]:
    """Return the frames of the short stream; each is one line of data."""
    async with asyncio.timeout(SECONDS):
        response = await product.client.post("/api/workflow/stream", json={"task": task})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store, no-transform"
    *frames, rest = response.content.decode().split("\n\n")
    assert rest == ""
    frames = [frame for frame in frames if frame != ": ping"]
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


async def test_the_short_form_waits_and_answers_with_the_run(
    modelled: Product, models: FakeModelServer
) -> None:
    """It is the same run that the full API shows."""
    models.add(*solo())
    response = await modelled.client.post("/api/workflow", json={"task": "Tidy up"})
    run = response.json()
    assert response.status_code == 200
    assert (run["status"], run["result"]["output"]) == ("completed", "Done it.")
    assert response.headers["location"] == f"/v1/runs/{run['id']}"
    assert (await modelled.client.get(response.headers["location"])).json() == run


async def test_the_short_form_never_answers_a_failure_with_success(
    product: Product, models: FakeModelServer
) -> None:
    """A failed run is a problem with the run in it, as in the full API."""
    models.add(unauthorised())
    response = await product.client.post("/api/workflow", json={"task": "Tidy up"})
    problem = assert_problem(response, "model-error")
    assert problem["run"]["status"] == "failed"
    assert response.headers["x-should-retry"] == "false"


async def test_the_short_form_does_not_wait_for_ever(start: Start, models: FakeModelServer) -> None:
    """A run that outlasts the server's longest wait is answered 202 and can be asked for later."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*solo(arriving, gate="work"))
    gate = models.event("work")
    async with start(models=models, max_wait=0.05) as product:
        response = await product.client.post("/api/workflow", json={"task": "Tidy up"})
        assert (response.status_code, response.json()["ended_at"]) == (202, None)
        await arriving.wait()
        gate.set()
        polled = response
        async with asyncio.timeout(SECONDS):
            while not polled.json()["ended_at"]:
                polled = await product.client.get(f"{response.headers['location']}?wait=1")
        assert polled.json()["status"] == "completed"


async def test_the_short_stream_tells_each_step_and_that_it_is_done(
    product: Product, models: FakeModelServer
) -> None:
    """Every frame has the same four members; the last one says that nothing follows."""
    models.add(
        *decisions(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", Reply(text="Done it.")),
        worker("Count it", Reply.error(400)),
        composer(Reply(text="It is done.")),
    )
    *frames, last = await steps(product)
    assert last == {"done": True}
    assert all(f.keys() == {"node", "status", "next_agent", "messages"} for f in frames)
    by_node = {(frame["node"], frame["status"]): frame for frame in frames}
    first = next(frame for frame in frames if frame["node"] == "supervisor")
    assert first["next_agent"] == "coder,analyst"
    assert by_node["coder", "completed"]["messages"] == ["Done it."]
    assert "400" in by_node["analyst", "failed"]["messages"][0]
    end = frames[-1]
    assert (end["node"], end["status"], end["next_agent"]) == ("signalbox", "completed", None)
    (run,) = (await product.client.get("/v1/runs")).json()["data"]
    assert end["messages"] == [run["result"]["output"]]


async def test_the_short_stream_tells_of_a_failure(
    product: Product, models: FakeModelServer
) -> None:
    """A failed run ends its short stream too, with the reason."""
    models.add(unauthorised())
    frames = await steps(product)
    assert frames[-1] == {"done": True}
    assert frames[-2]["status"] == "failed"
    assert "401" in frames[-2]["messages"][0]


async def test_the_short_stream_names_its_run(product: Product, models: FakeModelServer) -> None:
    """Whoever wants more than the short form gives finds the run in the full API."""
    models.add(*solo())
    response = await product.client.post("/api/workflow/stream", json={"task": "Tidy up"})
    run = (await product.client.get(response.headers["location"])).json()
    assert (run["task"], run["status"]) == ("Tidy up", "completed")
    assert response.headers["x-accel-buffering"] == "no"


async def test_the_short_form_works_without_a_model(start: Start) -> None:
    """The offline planner answers through it as well."""
    async with start() as offline:
        response = await offline.client.post(
            "/api/workflow",
            json={"task": "When was the tower of the Fastnet lighthouse completed?"},
        )
        assert response.status_code == 200
        assert response.json()["engine"] == "offline"
        assert "1904" in response.json()["result"]["output"]
