"""What a hostile caller or a model gone wild may do: the run may fail, the service may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.problems import Code
from graph.routes import read_route
from service.dispatch.local import LocalDispatcher
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import Arriving, composer, decisions, worker


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with few places, so that a lost one is missed."""
    async with start(models=models, max_concurrent_runs=2) as running:
        yield running


async def test_runs_cancelled_at_once_leave_their_places_free(product: Product) -> None:
    """A task that is cancelled before its first step has ended too."""

    async def come_and_go() -> None:
        created = await product.client.post("/v1/runs", json={"task": "Come and go"})
        await product.client.post(f"/v1/runs/{created.json()['id']}/cancel")

    for _ in range(5):
        await asyncio.gather(*(come_and_go() for _ in range(10)))
    assert (await product.finished("Stay"))["status"] == "completed"


async def test_a_turn_of_very_many_tool_calls_is_cut(
    product: Product, models: FakeModelServer
) -> None:
    """The bound counts the calls of the turn, not only those that have ended."""
    calls: list[tuple[str, dict[str, str]]] = [("list_files", {})] * 200
    models.add(
        *decisions(("coder", "Look")),
        Rule(when=When(after_tool=True), reply=Reply(text="Seen.")),
        worker("Look", Reply.calls(*calls)),
    )
    run = await product.finished("Look")
    assert run["status"] == "completed"
    events = await product.events(run["id"])
    assert sum(e["type"] == "tool.completed" for e in events) == 24
    refused = [e["data"]["detail"] for e in events if e["type"] == "tool.failed"]
    assert len(refused) == 176
    assert all("24 tool calls are used" in detail for detail in refused)


async def test_an_answer_without_words_is_the_results_themselves(
    product: Product, models: FakeModelServer
) -> None:
    """A composing model that calls a tool it does not have has not answered."""
    models.add(
        *decisions(("coder", "One"), ("analyst", "Two")),
        worker("One", Reply(text="First.")),
        worker("Two", Reply(text="Second.")),
        composer(Reply.calls(("search_documents", {"query": "x"}))),
    )
    run = await product.finished("Both")
    assert run["status"] == "completed"
    assert "First." in run["result"]["output"]
    assert "Second." in run["result"]["output"]
    assert [part["agent"] for part in run["degraded"]] == ["supervisor"]


async def test_a_mark_of_five_thousand_digits_is_just_text(
    product: Product, models: FakeModelServer
) -> None:
    """Python refuses to read such a number; the results must not be lost for it."""
    models.add(
        *decisions(("coder", "One"), ("analyst", "Two")),
        worker("One", Reply(text=f"[{'1' * 5000}] First.")),
        worker("Two", Reply(text="Second.")),
        composer(Reply(text="Both.")),
    )
    assert (await product.finished("Both"))["result"]["output"] == "Both."


@pytest.mark.parametrize("text", ["parallel:" + " " * 20_000 + "!", "```{" * 20_000])
def test_a_route_made_to_be_slow_is_not_read(text: str) -> None:
    """Neither form is searched with a pattern that goes back and forth."""
    from langchain_core.messages import AIMessage

    assert read_route(AIMessage(text), "Do it") is None


async def test_a_run_is_not_finished_by_another_engine(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """What a model began the offline planner does not end, and says which settings are missing."""
    url = f"sqlite:///{tmp_path}/runs.db"
    arriving = Arriving(Reply(fault="hang"))
    models.add(*decisions(("coder", "Do it")), worker("Do it", arriving))
    async with start(models=models, database_url=url, model_timeout=60) as first:
        created = await first.client.post("/v1/runs", json={"task": "Do it"})
        run_id = created.json()["id"]
        await arriving.wait()
        # As if the process had died: nothing is handed back, nothing is finished.
        dispatcher = first.services.dispatcher
        assert isinstance(dispatcher, LocalDispatcher)
        for active in dispatcher._active.values():
            active.task.cancel()
    async with start(database_url=url) as second:
        run = await second.ended(run_id)
    assert run["status"] == "failed"
    assert run["error"]["code"] == "run-incompatible"
    assert "model settings" in run["error"]["detail"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/runs/run%00", "not-found"),
        ("/v1/runs/run%00/events", "not-found"),
        ("/v1/runs?thread_id=%00", "invalid-parameter"),
        ("/v1/runs?tag=a%00b", "invalid-parameter"),
        ("/v1/runs?cursor=%00", "malformed-cursor"),
    ],
)
async def test_a_nul_character_is_no_part_of_an_address(
    product: Product, path: str, code: Code
) -> None:
    """Not every database can even look for one."""
    assert_problem(await product.client.get(path), code)


async def test_a_cursor_beyond_every_number_sees_nothing(product: Product) -> None:
    """As long as it looks like a number: nothing follows it."""
    run = await product.finished("What is 2 + 2?")
    for after in (2**31, 10**14):
        page = await product.client.get(f"/v1/runs/{run['id']}/events?after={after}")
        assert page.status_code == 200, page.text
        assert page.json()["data"] == []
        headers = {"accept": "text/event-stream", "last-event-id": str(after)}
        stream = await product.client.get(f"/v1/runs/{run['id']}/events", headers=headers)
        assert stream.status_code == 204
