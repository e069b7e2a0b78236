"""Who is let in, and what is said where something goes wrong: sign-in, failures, what can be tried again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Page, expect

from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running
from tests.integration.callers import issue
from tests.web.browsing import Visit
from tests.web.conftest import PATIENCE, Begin, Open
from tests.web.looking import look
from tests.web.story import TASK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

SCOPES: Final = ("runs:read", "runs:write", "approvals:decide")


def chip(page: Page) -> Any:
    return page.locator(".run-head .chip")


async def sign_in(page: Page, secret: str) -> None:
    await page.get_by_label("API key").fill(secret)
    await page.get_by_role("button", name="Sign in").click()


async def test_a_key_opens_the_page_and_no_script_has_it(visit: Open, tmp_path: Path) -> None:
    """A wrong key is refused in words; the right one is neither in storage nor in a cookie that scripts see."""
    settings: dict[str, Any] = {"knowledge_dir": tmp_path, "sandbox": "off"}
    async with running(tmp_path / "data", **settings) as product:
        _, headers = await issue(product, *SCOPES)
        secret = headers["authorization"].removeprefix("Bearer ")
        async with visit(product, may=("401",)) as v:
            page = v.page
            await v.go("/runs")
            await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            await expect(page.get_by_label("API key")).to_be_focused()
            await page.get_by_text("What is a key").click()
            await look(v, "light-sign-in")
            await sign_in(page, "sbx_" + "0" * 43)
            await expect(page.get_by_role("alert")).to_be_visible()
            await sign_in(page, secret)
            await expect(page.get_by_role("heading", name="History")).to_be_visible()
            await expect(page.get_by_text("There are no runs yet.")).to_be_visible()
            kept = await page.evaluate(
                "JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])"
            )
            assert secret not in kept
            assert await page.evaluate("document.cookie") == ""
            await page.reload()
            await expect(page.get_by_role("heading", name="History")).to_be_visible()
            await v.go("/settings")
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def started(product: Product, **body: Any) -> str:
    created = await product.client.post("/v1/runs", json={"task": "Do it", **body})
    assert created.status_code == 202, created.text
    return str(created.json()["id"])


def modelled(folder: Path, models: FakeModelServer, **more: Any) -> dict[str, Any]:
    return {
        "OPENAI_BASE_URL": models.base_url,
        "knowledge_dir": folder,
        "sandbox": "off",
        "validation": "off",
        "model_timeout": PATIENCE,
        **more,
    }


async def test_a_run_that_has_failed_says_why_and_goes_on(visit: Open, tmp_path: Path) -> None:
    """From where it stood, in the same log: what has failed before is in it, and the answer after it."""
    async with FakeModelServer() as models:
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route(), optional=True),
            Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
            Rule(when=When(schema=False), reply=Reply.error(400, message="no such model"), times=1),
            Rule(when=When(schema=False), reply=Reply(text="It is done.")),
        )
        async with (
            running(tmp_path / "data", **modelled(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            await v.go(f"/runs/{await started(product)}")
            await expect(chip(page)).to_have_text("Failed")
            await expect(page.locator(".failure")).to_be_visible()
            await look(v, "light-failed")
            await page.get_by_role("button", name="Go on from where it stood").click()
            await expect(chip(page)).to_have_text("Done")
            await expect(page.locator(".answer-text")).to_have_text("It is done.")


async def test_an_answer_without_one_of_its_parts_says_which(visit: Open, tmp_path: Path) -> None:
    async with FakeModelServer() as models:
        broken = When(schema=False, user="<assignment>\nLook it up\n")
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
            Rule(
                when=When(schema=True),
                reply=Reply.route(("researcher", "Look it up"), ("coder", "Do it")),
            ),
            Rule(when=broken, reply=Reply.error(400, message="no such model")),
            Rule(when=When(schema=False), reply=Reply(text="Half of it is done.")),
        )
        async with (
            running(tmp_path / "data", **modelled(tmp_path, models)) as product,
            visit(product, color_scheme="dark") as v,
        ):
            page = v.page
            await v.go(f"/runs/{await started(product)}")
            await expect(chip(page)).to_have_text("Done")
            notice = (
                page.get_by_text("Parts of the answer are missing.").locator("..").locator("..")
            )
            await expect(notice).to_contain_text("Researcher")
            await look(v, "dark-degraded")


async def test_a_budget_that_is_reached_is_raised(visit: Open, tmp_path: Path) -> None:
    """The question has the limit as a field, with its double in it."""
    async with FakeModelServer() as models:
        used = TokenUsage(3000, 4000)
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route(), optional=True),
            Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
            Rule(when=When(schema=False), reply=Reply(text="It is done.", usage=used)),
        )
        async with (
            running(tmp_path / "data", **modelled(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            body = {"agents": ["coder"], "budget": {"max_tokens": 8000}}
            run_id = await started(product, **body)
            await v.go(f"/runs/{run_id}")
            card = page.get_by_role("article", name="The budget is used up: may more be spent?")
            await expect(card.get_by_label("Limit in tokens")).to_have_value("16000")
            await look(v, "light-budget")
            await card.get_by_label("Limit in tokens").fill("50000")
            await card.get_by_role("button", name="Raise the limit").click()
            await expect(chip(page)).to_have_text("Done")
            run = (await product.client.get(f"/v1/runs/{run_id}")).json()
    assert run["budget"]["max_tokens"] == 50_000


async def test_a_run_that_its_budget_ended_goes_on_with_a_higher_one(
    visit: Open, tmp_path: Path
) -> None:
    """The same budget would end it again, so the limit that was reached is a field with its double in it."""
    async with FakeModelServer() as models:
        used = TokenUsage(3000, 4000)
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route(), optional=True),
            Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
            Rule(when=When(schema=False), reply=Reply(text="It is done.", usage=used)),
        )
        async with (
            running(tmp_path / "data", **modelled(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            body = {"agents": ["coder"], "budget": {"max_tokens": 8000}}
            run_id = await started(product, **body)
            await v.go(f"/runs/{run_id}")
            await page.get_by_role("button", name="Finish with what there is").click()
            await expect(chip(page)).to_have_text("Ended early")
            await expect(page.get_by_text("The budget was not raised")).to_be_visible()
            await expect(page.get_by_label("Limit in tokens")).to_have_value("16000")
            await look(v, "light-ended-early")
            await page.get_by_label("Limit in tokens").fill("50000")
            await page.get_by_role("button", name="Go on from where it stood").click()
            await expect(chip(page)).to_have_text("Done")
            run = (await product.client.get(f"/v1/runs/{run_id}")).json()
    assert run["budget"]["max_tokens"] == 50_000


async def test_a_question_is_answered(visit: Open, tmp_path: Path) -> None:
    async with FakeModelServer() as models:
        question = ("ask_user", {"question": "Which year do you mean?"})
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
            Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
            Rule(when=When(schema=False, after_tool=False), reply=Reply.calls(question)),
            Rule(
                when=When(schema=False, after_tool=True),
                reply=lambda request: Reply(text=f"It was {request.transcript[-4:]}."),
            ),
        )
        async with (
            running(tmp_path / "data", **modelled(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            await v.go(f"/runs/{await started(product)}")
            card = page.get_by_role("article", name="Coder asks you")
            await expect(card).to_contain_text("Which year do you mean?")
            await look(v, "light-question")
            await card.get_by_label("Your answer").fill("2024")
            await page.keyboard.press("Control+Enter")
            await expect(page.locator(".answer-text")).to_have_text("It was 2024.")


async def test_a_note_is_read_in_the_next_round(story: Begin, visit: Open) -> None:
    async with story() as (product, told), visit(product) as v:
        page = v.page
        body = {"task": TASK, "approvals": {"mode": "never"}}
        created = await product.client.post("/v1/runs", json=body)
        await v.go(f"/runs/{created.json()['id']}")
        await expect(page.get_by_text("the usual reference")).to_be_visible()
        note = page.get_by_role("textbox", name="Steer the run")
        await note.fill("Leave out 2019.")
        await page.get_by_role("button", name="Send").click()
        notes = page.get_by_role("list", name="Notes to the supervisor")
        await expect(notes).to_have_text(re.compile(r"Leave out 2019\.\s*not read yet"))
        await look(v, "light-note")
        told.open_all()
        await expect(notes).to_have_text(re.compile(r"Leave out 2019\.\s*read in round 2"))
        await expect(chip(page)).to_have_text("Done")


async def test_a_run_is_forked_with_another_task(story: Begin, visit: Open) -> None:
    async with story(held=False) as (product, _), visit(product) as v:
        page = v.page
        body = {"task": TASK, "approvals": {"mode": "never"}}
        run_id = (await product.client.post("/v1/runs", json=body)).json()["id"]
        await v.go(f"/runs/{run_id}")
        await expect(chip(page)).to_have_text("Done")
        await page.get_by_role("button", name="Fork").click()
        dialog = page.get_by_role("dialog", name="Fork this run")
        await expect(dialog.get_by_role("option")).not_to_have_count(1)
        await look(v, "light-fork")
        await dialog.get_by_label("Task").fill("Write it for engineers.")
        await dialog.get_by_role("button", name="Start the fork").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Write it for engineers.")
        await expect(page.get_by_text("forked from run")).to_be_visible()
        await expect(chip(page)).to_have_text("Done")
        await page.get_by_role("link", name="Compare the two").click()
        await compared(v)
        newest = (await product.client.get("/v1/runs?limit=1")).json()["data"][0]
    assert newest["forked_from"]["run_id"] == run_id


async def compared(v: Visit) -> None:
    """A run and its fork beside each other: what each took, and what each said."""
    page = v.page
    row = page.get_by_role("row", name=re.compile("^Task"))
    await expect(row).to_contain_text(f"{TASK}")
    await expect(row).to_contain_text("Write it for engineers.")
    await expect(page.get_by_role("article", name=re.compile("^The answer of run"))).to_have_count(
        2
    )
    await look(v, "light-compare")
    await page.get_by_role("button", name="Line by line").click()
    await expect(page.get_by_text("No line differs.")).to_be_visible()
