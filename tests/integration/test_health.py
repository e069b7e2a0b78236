"""Readiness: what keeps a server from accepting runs, and what only hurts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.health import LOOK_SECONDS
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running
from tests.integration.conftest import Start
from tests.integration.retrying import mend
from tests.integration.team_script import solo, unauthorised


async def ready(product: Product) -> dict[str, Any]:
    """Return what readiness says of a server that accepts runs."""
    response = await product.client.get("/health/ready")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    assert body["checks"].keys() == body["components"].keys()
    return body


async def test_a_provider_that_refuses_every_call_degrades_a_server_until_it_answers(
    start: Start, models: FakeModelServer
) -> None:
    """Nobody is asked for that: it is what runs have seen."""
    models.add(unauthorised())
    async with start(models=models) as product:
        for _ in range(3):
            assert (await ready(product))["checks"]["models"] == "ok"
            assert (await product.finished("Do it"))["status"] == "failed"
        asked = models.counts["*"]
        hurt = await ready(product)
        assert models.counts["*"] == asked
        mend(models, *solo())
        assert (await product.finished("Do it"))["status"] == "completed"
        healed = await ready(product)
    assert hurt["status"] == "degraded"
    assert hurt["checks"]["models"] == "the last calls have all failed of openai"
    assert hurt["components"]["models"]["status"] == "degraded"
    assert (healed["status"], healed["checks"]["models"]) == ("ok", "ok")


async def test_a_sandbox_that_was_wanted_and_cannot_be_degrades_a_server(start: Start) -> None:
    async with start(sandbox="native", sandbox_python="/nonexistent/python") as product:
        hurt = await ready(product)
    assert (hurt["status"], hurt["sandbox"]["backend"]) == ("degraded", "off")
    assert "none are run" in hurt["checks"]["sandbox"]
    assert "/nonexistent" not in hurt["checks"]["sandbox"]


async def test_a_sandbox_that_was_turned_off_is_nothing_to_mend(start: Start) -> None:
    async with start(sandbox="off") as product:
        assert (await ready(product))["status"] == "ok"


async def test_a_server_that_executes_nothing_says_where_no_worker_is(
    postgres_url: str, tmp_path: Path, knowledge: Path
) -> None:
    values: dict[str, Any] = {
        "database_url": postgres_url,
        "database_pool": 4,
        "knowledge_dir": knowledge,
        "search_keyless": False,
        "sandbox": "off",
    }
    async with running(tmp_path / "a", executes=False, **values) as product:
        alone = await ready(product)
    async with (
        running(tmp_path / "b", **values),
        running(tmp_path / "a", executes=False, **values) as product,
    ):
        assert (await product.finished("What is 6 * 7?"))["status"] == "completed"
        together = await ready(product)
    assert alone["status"] == "degraded"
    assert alone["checks"]["workers"].startswith("no worker is alive")
    assert (together["status"], together["checks"]["workers"]) == ("ok", "ok")


async def test_the_whole_answer_is_bounded(product: Product) -> None:
    """All is looked at at once, so that the longest look is the answer's, and it is told."""
    components = (await ready(product))["components"]
    assert set(components) == {
        *("database", "dispatcher", "workers", "models", "sandbox", "disk", "chores", "webhooks"),
    }
    assert all(0 <= one["seconds"] <= LOOK_SECONDS + 0.5 for one in components.values())
