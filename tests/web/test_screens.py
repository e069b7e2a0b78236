"""Every screen in every look: it can be used by everybody, fits its window, and a picture of it is left for people."""

from __future__ import annotations

from typing import Any, Final

import pytest
from playwright.async_api import Page, expect

from tests.fakes.running import Product, running
from tests.web.browsing import Visit
from tests.web.conftest import Begin, Open
from tests.web.looking import look
from tests.web.story import TASK, Story

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "has_touch": True,
    },
}

NARROW: Final = {"width": 320, "height": 640}

BODY: Final = {"task": TASK, "approvals": {"mode": "always"}, "budget": {"max_cost_usd": "0.50"}}


@pytest.mark.parametrize("name", LOOKS)
async def test_a_run_in_every_state(name: str, story: Begin, visit: Open) -> None:
    async with story(sandbox="auto") as (product, told), visit(product, **LOOKS[name]) as v:
        run_id = (await product.client.post("/v1/runs", json=BODY)).json()["id"]
        await v.go(f"/runs/{run_id}")
        await live(v, told, name)
        await asked(v, told, product, name)
        await done(v, told, name)
        await others(v, run_id, name)


async def live(v: Visit, told: Story, name: str) -> None:
    await expect(v.page.get_by_text("for the US the industry shipment report")).to_be_visible()
    await expect(v.page.get_by_role("cell", name="3.1")).to_be_visible()
    await look(v, f"{name}-run-live")
    told.open("research", "prices")


async def asked(v: Visit, told: Story, product: Product, name: str) -> None:
    page = v.page
    approve = page.get_by_role("button", name="Approve", exact=False)
    await expect(approve).to_be_visible()
    await look(v, f"{name}-approval", whole=name == "phone")
    await v.go("/inbox")
    await expect(approve).to_be_visible()
    await look(v, f"{name}-inbox")
    await page.get_by_role("button", name="Reject…").click()
    await look(v, f"{name}-reject")
    await page.go_back()
    await page.get_by_role("button", name="Edit").click()
    await page.get_by_role("textbox", name="code").press("ControlOrMeta+End")
    await page.keyboard.type('print("checked")')
    await expect(page.get_by_role("group", name="Your changes")).to_be_visible()
    await look(v, f"{name}-edit", whole=name == "phone")
    await page.get_by_role("button", name="Approve with edits").click()
    told.open("program")


async def done(v: Visit, told: Story, name: str) -> None:
    page = v.page
    await expect(page.get_by_role("heading", name="Answer, as it is written")).to_be_visible()
    await look(v, f"{name}-answering")
    told.open("answer")
    await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
    await expect(page.locator(".artifact img")).to_be_visible()
    await expect(page.locator(".artifact table").first).to_be_visible()
    await look(v, f"{name}-done")
    await look(v, f"{name}-done-whole", whole=True)
    await page.get_by_role("button", name="Source 1").first.click()
    await page.get_by_role("button", name="Show all that the agent read").click()
    await expect(page.locator(".source-text")).to_contain_text("1.6 million in 2019")
    await look(v, f"{name}-source")
    await page.get_by_role("button", name="Close the details").click()
    await page.get_by_role("button", name="Look at trend.png").click()
    await look(v, f"{name}-file")
    await page.keyboard.press("Escape")
    await page.locator(".bar.kind-step").first.click()
    await look(v, f"{name}-step")
    await page.keyboard.press("Escape")
    await page.get_by_text("3 finished steps").click()
    await page.locator(".finished-step").first.locator("> summary").click()
    await look(v, f"{name}-finished", whole=True)


async def others(v: Visit, run_id: str, name: str) -> None:
    page = v.page
    await v.go(f"/runs/{run_id}/trace")
    await page.get_by_text("supervisor.decision").first.wait_for()
    await page.locator(".what-cell summary").nth(2).click()
    await look(v, f"{name}-trace")
    await v.go("/runs")
    await expect(page.get_by_role("link", name=TASK[:40]).first).to_be_visible()
    await expect(page.get_by_role("cell", name="Done")).to_be_visible()
    await look(v, f"{name}-history")
    await page.get_by_role("button", name="Menu of the run").first.click()
    await look(v, f"{name}-history-menu")
    await expect(page.get_by_role("menu")).to_be_visible()
    await page.keyboard.press("Escape")
    await v.go("/costs")
    await expect(page.get_by_role("heading", name="By agent")).to_be_visible()
    await look(v, f"{name}-costs")
    await v.go("/inbox")
    await expect(page.get_by_text("Nothing needs you.")).to_be_visible()
    await look(v, f"{name}-inbox-empty")
    await v.go("/settings")
    await expect(page.get_by_role("row", name="run_python").first).to_be_visible()
    await look(v, f"{name}-settings", whole=True)
    await page.keyboard.press("?")
    await look(v, f"{name}-keys")


async def test_it_fits_320_pixels(story: Begin, visit: Open) -> None:
    """What 200 % of zoom come to on a small screen: nothing has to be scrolled to the side."""
    async with story(held=False) as (product, _), visit(product, viewport=NARROW) as v:
        body = {**BODY, "tags": ["a-tag-that-is-long-" * 3], "task": f"{TASK} {'unbroken' * 30}"}
        run_id = (await product.client.post("/v1/runs", json=body)).json()["id"]
        await v.go(f"/runs/{run_id}")
        await v.page.get_by_role("button", name="Edit").click()
        assert await v.overflow() == [], "the approval"
        await v.page.get_by_role("button", name="Approve").click()
        await ended(v.page, "Done")
        await v.page.get_by_role("button", name="Source 1").first.click()
        assert await v.overflow() == [], "the run"
        of_run = (f"/runs/{run_id}/trace", f"/runs/{run_id}/compare?with={run_id}")
        for path in ("/", "/runs", "/inbox", "/costs", "/settings", *of_run):
            await v.go(path)
            await expect(v.page.locator("main h1")).to_be_visible()
            await expect(v.page.locator(".skeleton")).to_have_count(0)
            assert await v.overflow() == [], path


@pytest.mark.parametrize("name", LOOKS)
async def test_the_page_without_a_model_and_without_a_run(
    name: str, visit: Open, tmp_path: Any
) -> None:
    settings: dict[str, Any] = {"knowledge_dir": tmp_path, "sandbox": "off"}
    async with (
        running(tmp_path / "data", **settings) as product,
        visit(product, **LOOKS[name]) as v,
    ):
        page = v.page
        await v.go("/")
        await expect(page.get_by_text("No language model is configured.")).to_be_visible()
        await expect(page.get_by_text("OPENAI_API_KEY")).to_be_visible()
        await page.get_by_text("Options").click()
        await expect(page.get_by_role("checkbox", name="Analyst")).to_be_checked()
        await look(v, f"{name}-start", whole=name == "phone")
        await v.go("/runs")
        await expect(page.get_by_text("There are no runs yet.")).to_be_visible()
        await look(v, f"{name}-history-empty")
        await v.go("/costs")
        await expect(page.get_by_text("Nothing was spent in this time.")).to_be_visible()
        await look(v, f"{name}-costs-empty")
        v.may = ("404",)
        await v.go("/runs/run_0")
        await expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
        await look(v, f"{name}-missing")


async def ended(page: Page, words: str) -> None:
    await expect(page.locator(".run-head .chip")).to_have_text(words)
