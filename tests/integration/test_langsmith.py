"""LangSmith: a run is one tree, whoever executes it; nothing waits for it, and nothing secret goes there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.langsmith_server import FakeLangSmith, uuid_of
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.team_script import composer, decisions, worker


@pytest.fixture
async def langsmith() -> AsyncIterator[FakeLangSmith]:
    """Run a LangSmith of the test's own."""
    async with FakeLangSmith() as server:
        yield server


async def test_a_run_with_a_question_is_one_tree(
    start: Start, models: FakeModelServer, target: CountingTarget, langsmith: FakeLangSmith
) -> None:
    """Two segments below one root, whose id is the run's; agents, calls and tools below them."""
    models.add(
        *decisions(("coder", "Send it"), ("researcher", "Look")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
        worker("Look", Reply(text="Found.")),
        composer(Reply(text="Both.")),
    )
    settings = langsmith.settings(http_allow=target.address)
    async with start(models=models, **settings) as product:
        run_id = await start_run(product, "Do two things", tags=["demo"])
        await decided(product, await asked(product, run_id), type="approve")
        run = await product.ended(run_id)
        [tree] = await langsmith.whole(run_id)
    for part in sorted(tree.parts.values(), key=lambda p: p["dotted_order"]):
        print(part["dotted_order"].count("."), part["run_type"], part["name"], part.get("tags"), part["extra"]["metadata"], str(part.get("error"))[:60], str(part.get("outputs"))[:100])
    print(run["trace_url"])
    assert tree.id == uuid_of(run_id)
