"""How somebody who is new finds things: examples that work, one field that leads anywhere, a history of thousands."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, Route, expect

from tests.fakes.running import Product, running
from tests.web.browsing import Visit
from tests.web.conftest import Open
from tests.web.looking import look

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

SUM: Final = "What is 3 + 4?"

ASKS: Final = """
    window.asked = 0;
    window.Notification = class {
        static permission = "default";
        static async requestPermission() {
            window.asked += 1;
            return (this.permission = "granted");
        }
    };
"""


@asynccontextmanager
async def planned(
    folder: Path, visit: Open, *, sandbox: str = "off", **options: Any
) -> AsyncIterator[tuple[Product, Visit]]:
    """Run the product without a model, and open a page of it."""
    async with (
        running(folder / "data", knowledge_dir=folder, sandbox=sandbox) as product,
        visit(product, **options) as v,
    ):
        yield product, v


async def answered(product: Product, task: str) -> str:
    run = (await product.client.post("/v1/runs?wait=30", json={"task": task})).json()
    assert run["status"] == "completed", run
    return str(run["id"])


async def test_every_example_is_answered_where_there_is_no_model(
    visit: Open, tmp_path: Path
) -> None:
    """Whoever tries the first thing that is offered is not told that it cannot be done."""
    async with planned(tmp_path, visit, sandbox="auto") as (_, v):
        page = v.page
        await v.go("/")
        count = await page.locator(".example").count()
        assert count == 3
        for index in range(count):
            await page.locator(".example").nth(index).click()
            await page.keyboard.press("Control+Enter")
            await expect(page.locator(".run-head .chip")).to_have_text("Done")
            await expect(page.locator(".answer-text")).not_to_contain_text("needs a model")
            await page.keyboard.press("n")


async def test_one_field_leads_anywhere_by_keyboard(visit: Open, tmp_path: Path) -> None:
    """Pages, runs by words and by id, the theme, the list of keys; Escape leaves all as it was."""
    async with planned(tmp_path, visit) as (product, v):
        page, keys = v.page, v.page.keyboard
        run_id = await answered(product, SUM)
        await answered(product, "What is 17% of 80?")
        await v.go("/costs")
        await expect(page.get_by_role("heading", name="By agent")).to_be_visible()
        field = await opened(page)
        await expect(page.get_by_role("option", selected=True)).to_have_text(re.compile("New run"))
        await expect(page.get_by_role("option", name=SUM)).to_be_visible()
        await look(v, "light-palette")
        await keys.press("Escape")
        await expect(field).to_have_count(0)
        await expect(page.get_by_role("heading", name="Costs")).to_be_visible()

        await goes(page, "3 + 4")
        await expect(page).to_have_url(re.compile(f"/runs/{run_id}$"))
        await goes(page, "costs")
        await expect(page.get_by_role("heading", name="Costs")).to_be_visible()
        await goes(page, run_id[-8:])
        await expect(page).to_have_url(re.compile(f"/runs/{run_id}$"))

        await goes(page, "theme: dark")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        field = await opened(page)
        await field.fill("17%")
        await keys.press("ArrowDown")
        await expect(page.get_by_role("option", selected=True)).to_have_text(
            "Search all runs for “17%”"
        )
        await look(v, "dark-palette")
        await keys.press("Enter")
        await expect(page.get_by_role("searchbox", name="Search")).to_have_value("17%")
        await expect(page.get_by_text("1 found in all 2 runs.")).to_be_visible()
        await goes(page, "keys")
        await expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Ctrl + K")


async def opened(page: Page) -> Any:
    await page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="A run, a page, a theme")
    await expect(field).to_be_focused()
    return field


async def goes(page: Page, words: str) -> None:
    field = await opened(page)
    await page.keyboard.type(words)
    await page.keyboard.press("Enter")
    await expect(field).to_have_count(0)


class Many:
    """Answers for a server with thousands of runs; says how many pages were asked for."""

    def __init__(self, sample: dict[str, Any], total: int, needle: int) -> None:
        self.rows = [copy.deepcopy(sample) for _ in range(total)]
        for number, row in enumerate(self.rows):
            row["id"] = f"run_{number:032x}"
            row["task"] = f"Look for the needle {number}" if number == needle else f"Hay {number}"
        self.asked = 0

    async def answer(self, route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        limit, begin = int(query["limit"][0]), int(query.get("cursor", ["0"])[0])
        end = begin + limit
        self.asked += 1
        more = end < len(self.rows)
        page = {"data": self.rows[begin:end], "has_more": more, "next_cursor": str(end)}
        await route.fulfill(body=json.dumps(page), content_type="application/json")


async def test_a_history_of_thousands_is_looked_through_and_stays_small(
    visit: Open, tmp_path: Path
) -> None:
    """Words are looked for beyond what is shown, it is said how far, and only a page of rows is ever drawn."""
    async with planned(tmp_path, visit) as (product, v):
        page = v.page
        run_id = await answered(product, SUM)
        sample = (await product.client.get(f"/v1/runs/{run_id}")).json()
        many = Many(sample, total=3000, needle=1234)
        await page.route(re.compile(r"/v1/runs\?"), many.answer)
        await v.go("/runs")
        rows = page.locator(".runs-table tbody tr")
        await expect(rows).to_have_count(50)
        await page.get_by_role("button", name="Show older runs").click()
        await expect(rows).to_have_count(100)
        many.asked = 0
        await page.get_by_role("searchbox", name="Search").fill("needle")
        await expect(page.get_by_text("0 found in the newest 1000 runs.")).to_be_visible()
        assert many.asked < 12
        await page.get_by_role("button", name="Look through older runs").click()
        await expect(rows).to_have_count(1)
        await expect(page.get_by_text("1 found in the newest 2000 runs.")).to_be_visible()
        await page.get_by_role("searchbox", name="Search").fill("hay")
        await expect(page.get_by_text("1999 found in the newest 2000 runs.")).to_be_visible()
        assert await rows.count() <= 150


async def test_what_a_run_offers_beside_its_answer(visit: Open, tmp_path: Path) -> None:
    """Nothing is asked of the browser before the click; an ended run's task comes back to be changed."""
    async with planned(tmp_path, visit, sandbox="auto") as (product, v):
        page = v.page
        await page.add_init_script(ASKS)
        body = {"task": SUM, "approvals": {"mode": "always"}}
        run = (await product.client.post("/v1/runs", json=body)).json()
        await v.go(f"/runs/{run['id']}")
        card = page.get_by_role("article", name=re.compile("Analyst wants to run"))
        await expect(card).to_be_visible()
        assert await page.evaluate("window.asked") == 0
        await page.get_by_role("button", name="Notify me").click()
        await expect(page.get_by_text("You will be notified.")).to_be_visible()
        assert await page.evaluate("window.asked") == 1
        await card.get_by_role("button", name="Approve").click()
        await expect(page.locator(".answer-text")).to_contain_text("7")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Save the answer").click()
        kept = await (await download.value).path()
        text = await asyncio.to_thread(Path(kept).read_text, "utf-8")
        assert text.startswith(f"# {SUM}\n\n")
        assert "7" in text.removeprefix(f"# {SUM}")
        await page.get_by_role("button", name="Run again").click()
        field = page.get_by_role("textbox", name="Task")
        await expect(field).to_have_value(SUM)
        await field.fill("What is 3 + 5?")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(".answer-text")).to_contain_text("8")
