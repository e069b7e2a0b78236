"""The inbox: several calls of one tool decided together, one allowed for the rest of a run, an edit that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import running
from tests.web.conftest import PATIENCE, Open
from tests.web.looking import look

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


def write(name: str) -> tuple[str, dict[str, Any]]:
    return ("write_file", {"path": f"{name}.txt", "content": f"This is {name}."})


def works(task: str, *calls: tuple[str, dict[str, Any]]) -> list[Rule]:
    """Return the rules of an agent that makes its calls one after the other."""
    asked = f"<assignment>\n{task}\n"
    return [
        *(
            Rule(when=When(schema=False, user=asked), reply=Reply.calls(each), times=1)
            for each in calls
        ),
        Rule(when=When(schema=False, user=asked), reply=Reply(text=f"{task}: done.")),
    ]


def team(*tasks: str) -> list[Rule]:
    return [
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.route(*(("coder", task) for task in tasks))),
    ]


def settings(folder: Path, models: FakeModelServer, **more: Any) -> dict[str, Any]:
    return {
        "OPENAI_BASE_URL": models.base_url,
        "knowledge_dir": folder,
        "sandbox": "off",
        "validation": "off",
        "model_timeout": PATIENCE,
        **more,
    }


async def test_calls_of_one_tool_are_decided_together(visit: Open, tmp_path: Path) -> None:
    """One by one where they differ: here two are, and the third is left."""
    async with FakeModelServer() as models:
        tasks = ("Write the first", "Write the second", "Write the third")
        models.add(*team(*tasks))
        for task in tasks:
            models.add(*works(task, write(task.rpartition(" ")[2])))
        async with (
            running(tmp_path / "data", **settings(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            body = {"task": "Write three", "approvals": {"mode": "always"}}
            run_id = (await product.client.post("/v1/runs?wait=10", json=body)).json()["id"]
            await v.go("/inbox")
            await expect(page.get_by_role("button", name="Approve", exact=False)).to_have_count(3)
            await look(v, "light-inbox-several")
            choices = page.get_by_role("checkbox", name="Choose, to decide several together")
            await choices.nth(0).check()
            await choices.nth(1).check()
            await page.get_by_role("button", name="Approve all of them").click()
            await expect(page.get_by_role("button", name="Approve", exact=False)).to_have_count(1)
            await page.get_by_role("button", name="Reject…").click()
            await page.get_by_role("button", name="Reject and tell the agent").click()
            await expect(page.locator(".decided").last).to_contain_text("write_file rejected")
            run = await product.ended(run_id)
            page_of = await product.client.get(f"/v1/approvals?run_id={run_id}")
    assert run["status"] == "completed"
    kinds = sorted(each["decision"]["type"] for each in page_of.json()["data"])
    assert kinds == ["approve", "approve", "reject"]


async def test_a_tool_is_allowed_for_the_rest_of_a_run(visit: Open, tmp_path: Path) -> None:
    async with FakeModelServer() as models:
        models.add(*team("Write both"), *works("Write both", write("one"), write("two")))
        async with (
            running(tmp_path / "data", **settings(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            body = {"task": "Write", "approvals": {"mode": "always"}}
            run_id = (await product.client.post("/v1/runs", json=body)).json()["id"]
            await v.go(f"/runs/{run_id}")
            await page.get_by_role("checkbox", name="for the rest of this run").check()
            await page.get_by_role("button", name="Approve", exact=False).click()
            await expect(page.locator(".run-head .chip")).to_have_text("Done")
            asked = (await product.client.get(f"/v1/approvals?run_id={run_id}")).json()["data"]
    assert [each["decision"]["remember"] for each in asked] == ["run"]


async def test_an_edit_that_is_refused_says_at_which_field(visit: Open, tmp_path: Path) -> None:
    """The tool's schema gives the fields their kind; what it does not know, the server says beside the field."""
    async with FakeModelServer() as models, CountingTarget() as target:
        order = {
            "method": "POST",
            "url": f"http://{target.address}/orders",
            "body": '{"amount": 10}',
        }
        models.add(*team("Order it"), *works("Order it", ("http_request", order)))
        values = settings(tmp_path, models, http_allow=target.address)
        async with running(tmp_path / "data", **values) as product, visit(product) as v:
            page = v.page
            run_id = (await product.client.post("/v1/runs", json={"task": "Order"})).json()["id"]
            await v.go(f"/runs/{run_id}")
            card = page.get_by_role("article", name="Coder wants to run http_request")
            await card.get_by_role("button", name="Edit").click()
            await expect(card.get_by_role("combobox", name="method")).to_have_value("POST")
            await card.get_by_role("textbox", name="url").fill("http://10.0.0.1/orders")
            v.may = ("422",)
            await card.get_by_role("button", name="Approve with edits").click()
            await expect(card.locator(".field .error-text, .failure")).not_to_have_count(0)
            await look(v, "light-edit-refused")
            assert target.requests == []
            await card.get_by_role("button", name="Undo the edits").click()
            await card.get_by_role("textbox", name="body").fill('{"amount": 7}')
            await card.get_by_role("button", name="Approve with edits").click()
            await expect(page.locator(".run-head .chip")).to_have_text("Done")
            sent = [request.body for request in target.requests]
    assert sent == ['{"amount": 7}']
