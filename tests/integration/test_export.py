"""A run as one document: complete, described, downloaded, and no longer in memory than its pieces are."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from domain.events import EventDraft
from domain.ports import RunRef
from service.export import AT_ONCE
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.fakes.search_server import FakeWeb
from tests.integration.conftest import Start, database
from tests.integration.people import start_run
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import Arriving, solo
from tests.integration.test_erasure import CANARY, rich_run, script


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of each database in turn."""
    return database(request, tmp_path)


@pytest.fixture
async def product(
    start: Start, models: FakeModelServer, web: FakeWeb, place: dict[str, Any]
) -> AsyncIterator[Product]:
    """Run the product with a search service, and a site that it may also send requests to."""
    given = {"TAVILY_BASE_URL": web.base_url, "TAVILY_API_KEY": "tvly-topsecret"}
    given |= {"OPENAI_API_KEY": "sk-topsecret", "http_allow": web.address}
    async with start(models=models, **given, **place) as running_product:
        yield running_product


async def exported(product: Product, run_id: str) -> dict[str, Any]:
    response = await product.client.get(f"/v1/runs/{run_id}/export")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-disposition"] == f'attachment; filename="{run_id}.json"'
    document: dict[str, Any] = response.json()
    return document


async def test_all_that_is_kept_of_a_run_is_in_its_export(
    product: Product, models: FakeModelServer, web: FakeWeb
) -> None:
    script(models, web)
    run = await rich_run(product)
    found = await exported(product, run["id"])
    get = product.client.get
    assert (found["object"], found["schema_version"]) == ("export", 1)
    assert found["run"] == run
    assert found["events"] == await product.events(run["id"])
    assert found["receipt"] == (await get(f"/v1/runs/{run['id']}/receipt")).json()
    assert found["receipt"]["approvals"][0]["decision"]["comment"] == f"I looked at {CANARY}."
    assert found["artifacts"] == (await get(f"/v1/runs/{run['id']}/artifacts")).json()["data"]
    given = f"given {CANARY}".encode()
    sha256 = hashlib.sha256(given).hexdigest()
    assert found["files"] == [{"name": "given.txt", "size": len(given), "sha256": sha256}]
    assert found["receipt"]["files"] == found["files"]
    for each in (*found["artifacts"], *found["sources"]):
        content = await get(each["url"])
        assert (content.status_code, len(content.content)) == (200, each["size"])
    assert len(found["sources"]) > 2
    usage = run["usage"]
    for name in ("input_tokens", "output_tokens"):
        assert sum(call[name] for call in found["calls"]) == usage[name]
    assert len(found["calls"]) == usage["calls"]
    assert "topsecret" not in str(found)


async def test_the_export_is_as_its_description_says(
    product: Product, models: FakeModelServer
) -> None:
    models.add(*solo())
    run = await product.finished("Do it")
    described = (await product.client.get("/openapi.json")).json()
    schema = {"$ref": "#/components/schemas/Export", "components": described["components"]}
    Draft202012Validator(schema).validate(await exported(product, run["id"]))


async def test_a_run_that_goes_on_is_exported_as_it_stands(
    product: Product, models: FakeModelServer
) -> None:
    reached, gate = Arriving(Reply(text="Done it.")), models.event("go")
    models.add(*solo(reached, gate="go"))
    run_id = await start_run(product)
    await reached.wait()
    found = await exported(product, run_id)
    assert found["run"]["status"] == "running"
    seqs = [event["seq"] for event in found["events"]]
    assert seqs == list(range(1, found["run"]["last_seq"] + 1))
    gate.set()
    await product.ended(run_id)


async def test_a_long_run_is_exported_page_by_page(
    product: Product, models: FakeModelServer
) -> None:
    """Nothing is left out or repeated where one page ends and another begins."""
    reached, gate = Arriving(Reply(text="Done it.")), models.event("go")
    models.add(*solo(reached, gate="go"))
    run_id = await start_run(product)
    await reached.wait()
    drafts = [
        EventDraft(type="tool.completed", agent="coder", call=str(number), data={"n": number})
        for number in range(2 * AT_ONCE + 7)
    ]
    ref = RunRef("default", run_id)
    run = await product.services.store.get(ref)
    assert run is not None
    await product.services.store.append(ref, attempt=1, drafts=drafts, calls=[], now=run.created_at)
    gate.set()
    ended = await product.ended(run_id)
    found = await exported(product, run_id)
    assert [event["seq"] for event in found["events"]] == list(range(1, ended["last_seq"] + 1))
    assert len(found["events"]) > len(drafts)


async def test_a_run_that_is_not_there_has_no_export(product: Product) -> None:
    response = await product.client.get(f"/v1/runs/run_{'0' * 32}/export")
    assert_problem(response, "not-found")
