"""The list of runs: pages, filters, and what happens to both while new runs arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.team_script import Arriving, decisions, unauthorised, worker

Run = dict[str, Any]


@pytest.fixture
async def busy(start: Start, models: FakeModelServer, tmp_path: Any) -> AsyncIterator[Product]:
    """Run a product whose only place is taken: every other run stays queued."""
    arriving = Arriving(Reply(text="Done it."))
    models.add(*decisions(("coder", "Do it")), worker("Do it", arriving, gate="work"))
    gate = models.event("work")
    url = f"sqlite:///{tmp_path}/runs.db"
    async with start(models=models, max_concurrent_runs=1, database_url=url) as product:
        await product.client.post("/v1/runs", json={"task": "The first", "tags": ["holds"]})
        await arriving.wait()
        yield product
        gate.set()


async def create(product: Product, task: str, **body: Any) -> Run:
    """Create a run without waiting for it."""
    response = await product.client.post("/v1/runs", json={"task": task, **body})
    assert response.status_code == 202, response.text
    run: Run = response.json()
    return run


async def listed(product: Product, **query: Any) -> dict[str, Any]:
    """Return a page of the list."""
    response = await product.client.get("/v1/runs", params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    assert page.keys() == {"data", "next_cursor", "has_more"}
    assert page["has_more"] == (page["next_cursor"] is not None)
    return page


async def walk(product: Product, **query: Any) -> list[str]:
    """Return the tasks of every page, in order."""
    tasks: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await listed(product, **query, **cursor)
        tasks += [run["task"] for run in page["data"]]
        if not page["has_more"]:
            return tasks
        cursor = {"cursor": page["next_cursor"]}


async def test_a_list_without_runs_is_an_empty_page(product: Product) -> None:
    """The shape of the page does not depend on what is in it."""
    assert await listed(product) == {"data": [], "next_cursor": None, "has_more": False}
    assert (await listed(product, status="completed", tag="a", limit=1))["data"] == []


async def test_pages_lead_from_the_newest_run_to_the_oldest(busy: Product) -> None:
    """Every page size gives each run once, newest first."""
    for number in range(24):
        await create(busy, f"Task {number}")
    wanted = [f"Task {number}" for number in reversed(range(24))] + ["The first"]
    for limit in (1, 7, 24, 25, 26, 100):
        assert await walk(busy, limit=limit) == wanted
    first = await listed(busy)
    assert (len(first["data"]), first["has_more"]) == (20, True)
    whole = await listed(busy, limit=25)
    assert (len(whole["data"]), whole["has_more"]) == (25, False)


async def test_new_runs_do_not_disturb_somebody_who_turns_pages(busy: Product) -> None:
    """Runs that arrive between two pages are neither shown nor push others out or in twice."""
    for number in range(6):
        await create(busy, f"Task {number}")
    first = await listed(busy, limit=3)
    for number in range(5):
        await create(busy, f"Late {number}")
    second = await listed(busy, limit=3, cursor=first["next_cursor"])
    await create(busy, "Very late")
    third = await listed(busy, limit=3, cursor=second["next_cursor"])
    tasks = [run["task"] for page in (first, second, third) for run in page["data"]]
    assert tasks == [*(f"Task {number}" for number in reversed(range(6))), "The first"]
    assert not third["has_more"]
    newest = await listed(busy, limit=1)
    assert newest["data"][0]["task"] == "Very late"


async def test_a_listed_run_is_the_run(busy: Product) -> None:
    """The list shows whole runs, not a part of them."""
    run = await create(busy, "Whole", metadata={"a": 1}, tags=["x"])
    assert (await listed(busy, limit=1))["data"] == [run]
    assert (await busy.client.get(f"/v1/runs/{run['id']}")).json() == run


async def test_runs_are_found_by_tag_and_by_thread(busy: Product) -> None:
    """Filters are exact, hold together, and keep their order over pages."""
    a = await create(busy, "A", tags=["red", "round"])
    await create(busy, "B", tags=["red"])
    await create(busy, "C", tags=["redder"])
    await create(busy, "D", thread_id=a["thread_id"], tags=["round"])
    await create(busy, "E", thread_id=a["thread_id"])
    assert await walk(busy, tag="red") == ["B", "A"]
    assert await walk(busy, tag="round", limit=1) == ["D", "A"]
    assert await walk(busy, tag="RED") == []
    assert await walk(busy, tag="re%") == []
    assert await walk(busy, thread_id=a["thread_id"], limit=2) == ["E", "D", "A"]
    assert await walk(busy, thread_id=a["thread_id"], tag="round") == ["D", "A"]
    assert await walk(busy, thread_id=a["thread_id"], tag="red") == ["A"]
    assert await walk(busy, thread_id="thr_1") == []
    assert await walk(busy, thread_id=a["thread_id"], tag="red", status="running") == []


async def test_runs_are_found_by_time(busy: Product) -> None:
    """`created_after` leaves out the run of that moment, in whatever zone the moment is written."""
    runs = [await create(busy, f"Task {number}") for number in range(3)]
    moment = runs[0]["created_at"]
    assert await walk(busy, created_after=moment) == ["Task 2", "Task 1"]
    assert await walk(busy, created_after=moment, limit=1) == ["Task 2", "Task 1"]
    assert await walk(busy, created_after=moment.replace("Z", "+00:00")) == ["Task 2", "Task 1"]
    assert await walk(busy, created_after=moment.removesuffix("Z")) == ["Task 2", "Task 1"]
    assert await walk(busy, created_after=runs[2]["created_at"]) == []
    assert len(await walk(busy, created_after="2020-01-01T00:00:00+14:00")) == 4
    assert await walk(busy, created_after="2999-01-01") == []
    assert await walk(busy, created_after=moment, status="queued", limit=1) == ["Task 2", "Task 1"]
    assert await walk(busy, created_after=moment, status="running") == []


async def test_runs_are_found_by_status(modelled: Product, models: FakeModelServer) -> None:
    """Each status finds its runs and no others."""
    arriving = Arriving(Reply(text="Done it."))
    failing = unauthorised()
    failing.when = When(user="Fail")
    models.add(
        failing,
        Rule(
            when=When(schema=True, user=r"Half(?s:.*)"),
            reply=Reply.route(("coder", "Do a half")),
        ),
        worker("Do a half", Reply(text="A half.")),
        *decisions(("coder", "Do later"), task="Wait"),
        worker("Do later", arriving, gate="later"),
        *decisions(("coder", "Do it")),
        worker("Do it", Reply(text="Done it.")),
    )
    gate = models.event("later")
    assert (await modelled.run("Succeed", tags=["a"])).status_code == 200
    assert (await modelled.run("Fail", tags=["a"])).status_code == 502
    assert (await modelled.run("Half", budget={"max_rounds": 1})).status_code == 200
    waiting = await create(modelled, "Wait for it", tags=["a"])
    await arriving.wait()
    behind = await create(modelled, "Wait as well", thread_id=waiting["thread_id"])
    gone = await create(modelled, "Wait in vain", thread_id=waiting["thread_id"])
    await modelled.client.post(f"/v1/runs/{gone['id']}/cancel")
    found = {
        status: await walk(modelled, status=status)
        for status in (
            *("queued", "running", "requires_action"),
            *("completed", "failed", "cancelled", "incomplete"),
        )
    }
    assert found == {
        "queued": ["Wait as well"],
        "running": ["Wait for it"],
        "requires_action": [],
        "completed": ["Succeed"],
        "failed": ["Fail"],
        "cancelled": ["Wait in vain"],
        "incomplete": ["Half"],
    }
    assert await walk(modelled, status="completed", tag="a") == ["Succeed"]
    assert await walk(modelled, status="incomplete", tag="a") == []
    gate.set()
    await modelled.ended(waiting["id"])
    await modelled.ended(behind["id"])
    assert await walk(modelled, status="queued") == []
