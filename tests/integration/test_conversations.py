"""A thread as a resource: its runs in order, page by page, and its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start, database
from tests.integration.people import start_run
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import decisions, worker
from tests.integration.test_erasure import traces

CANARY: Final = "canary91f3c2"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of each database in turn."""
    return database(request, tmp_path)


@pytest.fixture
async def product(
    start: Start, models: FakeModelServer, place: dict[str, Any]
) -> AsyncIterator[Product]:
    """Run the product with the fake model server."""
    models.add(
        *decisions(("coder", "Say it"), task="<task>\n(?!Hold)"),
        worker("Say it", Reply(text=f"It is {CANARY}.")),
    )
    async with start(models=models, **place) as running_product:
        yield running_product


async def conversation(product: Product, turns: int) -> list[dict[str, Any]]:
    """Return the runs of a thread."""
    runs = [await product.finished(f"Turn 1 {CANARY}")]
    thread_id = runs[0]["thread_id"]
    later = [
        await product.finished(f"Turn {turn} {CANARY}", thread_id=thread_id)
        for turn in range(2, turns + 1)
    ]
    return runs + later


async def listed(product: Product, thread_id: str, query: str = "") -> dict[str, Any]:
    response = await product.client.get(f"/v1/threads/{thread_id}{query}")
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


async def test_a_thread_is_its_runs_in_order(product: Product) -> None:
    await conversation(product, 1)
    runs = await conversation(product, 3)
    thread_id = runs[0]["thread_id"]
    page = await listed(product, thread_id)
    assert page == {"data": runs, "next_cursor": None, "has_more": False}
    first = await listed(product, thread_id, "?limit=2")
    assert (first["data"], first["has_more"]) == (runs[:2], True)
    rest = await listed(product, thread_id, f"?limit=2&cursor={first['next_cursor']}")
    assert rest == {"data": runs[2:], "next_cursor": None, "has_more": False}
    beyond = await listed(product, thread_id, f"?cursor={runs[2]['id']}")
    assert (beyond["data"], beyond["has_more"]) == ([], False)


@pytest.mark.parametrize("thread_id", ["thr_" + "0" * 32, "nonsense", "run_" + "0" * 32])
async def test_a_thread_that_is_not_there_is_not_found(product: Product, thread_id: str) -> None:
    for method in ("GET", "DELETE"):
        response = await product.client.request(method, f"/v1/threads/{thread_id}")
        assert_problem(response, "not-found")


async def test_a_cursor_of_another_list_is_malformed(product: Product) -> None:
    run = (await conversation(product, 1))[0]
    response = await product.client.get(f"/v1/threads/{run['thread_id']}?cursor=12")
    assert_problem(response, "malformed-cursor")


async def test_nothing_is_left_of_a_deleted_thread(product: Product, tmp_path: Path) -> None:
    runs = await conversation(product, 3)
    assert await traces(product, CANARY, tmp_path)
    usage = (await product.client.get("/v1/usage?group_by=agent,key")).json()
    thread_id = runs[0]["thread_id"]
    response = await product.client.delete(f"/v1/threads/{thread_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert await traces(product, CANARY, tmp_path) == set()
    assert (await product.client.get("/v1/usage?group_by=agent,key")).json() == usage
    for method in ("GET", "DELETE"):
        again = await product.client.request(method, f"/v1/threads/{thread_id}")
        assert_problem(again, "not-found")
    for run in runs:
        assert_problem(await product.client.get(f"/v1/runs/{run['id']}"), "not-found")


async def test_a_thread_with_a_run_that_has_not_ended_stays_as_it_is(
    product: Product, models: FakeModelServer
) -> None:
    runs = await conversation(product, 2)
    thread_id = runs[0]["thread_id"]
    models.event("go")
    models.add(
        *decisions(("coder", "Take long"), task="<task>\nHold"),
        worker("Take long", Reply(text="Done."), gate="go"),
    )
    last = await start_run(product, "Hold", thread_id=thread_id)
    response = await product.client.delete(f"/v1/threads/{thread_id}")
    assert assert_problem(response, "run-not-terminal")["run_id"] == last
    assert len((await listed(product, thread_id))["data"]) == 3
    cancelled = await product.client.post(f"/v1/runs/{last}/cancel")
    assert cancelled.status_code == 202
    assert (await product.client.delete(f"/v1/threads/{thread_id}")).status_code == 204
