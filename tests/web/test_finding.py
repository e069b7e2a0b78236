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


AGAIN_AT_ONCE: Final = """() => {
    document.querySelector("dialog").close();
    const press = { key: "k", ctrlKey: true, bubbles: true, cancelable: true };
    document.dispatchEvent(new KeyboardEvent("keydown", press));
}"""
"""Closes the field and asks for it before the browser has told that it was closed."""


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

        field = await opened(page)
        await page.evaluate(AGAIN_AT_ONCE)
        await expect(field).to_be_focused()
        await keys.press("Escape")

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
        await page.get_by_label("Cost").select_option("unknown")
        await expect(page.get_by_text("0 found in the newest 2000 runs.")).to_be_visible()
        await page.get_by_label("Cost").select_option("any")
        await page.get_by_role("searchbox", name="Search").fill("hay")
        await expect(page.get_by_text("1999 found in the newest 2000 runs.")).to_be_visible()
        assert await rows.count() <= 150


async def test_what_runs_usually_take_is_said_once_there_were_some(
    visit: Open, tmp_path: Path
) -> None:
    """Nothing before; then the middle half of those that worked, without those whose answer was there already."""
    async with planned(tmp_path, visit) as (product, v):
        page = v.page
        usual = page.get_by_text("Runs here usually take")
        for number in range(4):
            await answered(product, f"What is {number} + 4?")
        async with page.expect_response("**/v1/runs?status=completed*"):
            await v.go("/")
        await expect(page.get_by_role("heading", name="The team")).to_be_visible()
        await expect(usual).to_have_count(0)
        sample = (await product.client.get("/v1/runs")).json()["data"][-1]
        rows = []
        for seconds, cost in ((2, "0.01"), (20, "0.03"), (30, "0.04"), (40, "0.06"), (900, "3.50")):
            row = copy.deepcopy(sample)
            row["budget"]["spent"]["seconds"], row["usage"]["cost_usd"] = seconds, cost
            rows.append(row)
        rows.append({**copy.deepcopy(rows[0]), "cache": {"run_id": rows[0]["id"]}})
        priced = Many(sample, total=0, needle=0)
        priced.rows = rows
        await page.route(re.compile(r"/v1/runs\?status=completed"), priced.answer)
        await v.go("/")
        await expect(usual).to_contain_text("20.0 s to 40.0 s and cost $0.03 to $0.06")
        await expect(usual).to_contain_text("the last 5, waiting not counted")
        await look(v, "light-start-usual")
        rows[:0] = [{**copy.deepcopy(rows[0]), "usage": {**rows[0]["usage"], "cost_known": False}}]
        await v.go("/")
        await expect(usual).to_contain_text(
            "cost $0.03 to $0.06 where that is known: the middle half of the last 6"
        )
        del rows[0]
        for row in rows[1:]:
            row["usage"]["cost_known"] = False
        await v.go("/")
        await expect(usual).to_contain_text("cost what this server does not know")
        await page.route(
            re.compile(r"/v1/runs\?status=completed"), lambda each: each.fulfill(json={})
        )
        async with page.expect_response("**/v1/runs?status=completed*"):
            await v.go("/")
        await expect(page.get_by_role("heading", name="The team")).to_be_visible()
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_the_options_become_the_request(visit: Open, tmp_path: Path) -> None:
    """What is wrong is shown where it was folded away, and nothing is sent."""
    async with planned(tmp_path, visit) as (product, v):
        page = v.page
        await v.go("/")
        await page.get_by_role("textbox", name="Task").fill(SUM)
        fold = page.get_by_text("Options")
        await fold.click()
        await page.get_by_label("Limit in US dollars").fill("0,50")
        await page.get_by_label("Minutes, at most").press_sequentially("1,5")
        await page.get_by_label("Models, at most").select_option("Fast")
        report = page.get_by_label("Report to")
        await report.fill("somewhere")
        await look(v, "light-start-options", whole=True)
        await fold.click()
        await expect(report).to_be_hidden()
        await page.get_by_role("textbox", name="Task").press("Control+Enter")
        await expect(report).to_be_focused()
        await report.fill(f"{product.base_url}/hook")
        minutes = page.get_by_label("Minutes, at most")
        for wrong in ("0", "1e3", "-1"):
            await minutes.fill(wrong)
            await page.get_by_role("button", name="Start the run").click()
            await expect(minutes).to_be_focused()
        await minutes.fill("1,5")
        async with page.expect_request("**/v1/runs") as sent:
            await page.get_by_role("button", name="Start the run").click()
        await expect(page.locator(".answer-text")).to_be_visible()
        secret = page.get_by_role("region", name="The webhook's secret")
        await expect(secret.get_by_text(re.compile("^whsec_"))).to_be_visible()
        await look(v, "light-webhook-secret")
        await secret.get_by_role("button", name="I have it").click()
        await expect(secret).to_have_count(0)
    assert json.loads((await sent.value).post_data or "") == {
        "task": SUM,
        "budget": {"max_cost_usd": "0.50", "max_seconds": 90, "max_tier": "fast"},
        "webhook": {"url": f"{product.base_url}/hook"},
    }


async def test_the_menu_of_a_run_in_the_history(visit: Open, tmp_path: Path) -> None:
    """By mouse and by keys: what was chosen happens, and whoever closes it is where they were."""
    async with planned(tmp_path, visit) as (product, v):
        page, keys = v.page, v.page.keyboard
        run_id = await answered(product, SUM)
        await v.go("/runs")
        button = page.get_by_role("button", name=f"Menu of the run: {SUM}")
        menu, entries = page.get_by_role("menu"), page.get_by_role("menuitem")
        await button.focus()
        await keys.press("Enter")
        await expect(entries.first).to_be_focused()
        await keys.press("ArrowUp")
        await expect(entries.last).to_be_focused()
        await keys.press("Escape")
        await expect(menu).to_have_count(0)
        await expect(button).to_be_focused()

        async def choose(name: str) -> None:
            await button.click()
            await page.get_by_role("menuitem", name=name).click()

        async def saved(name: str) -> str:
            async with page.expect_download() as download:
                await choose(name)
            path = await (await download.value).path()
            return await asyncio.to_thread(Path(path).read_text, "utf-8")

        exported = json.loads(await saved("Export as JSON"))
        assert exported["run"]["id"] == run_id
        assert (await saved("Save the answer")).startswith(f"# {SUM}\n\n")
        await choose("Fork…")
        await expect(page.get_by_role("dialog", name="Fork this run")).to_be_visible()
        await keys.press("Escape")
        await expect(button).to_be_focused()
        await choose("Delete…")
        await page.get_by_role("button", name="Keep").click()
        await expect(button).to_be_focused()
        await choose("Run again")
        await expect(page.get_by_role("textbox", name="Task")).to_have_value(SUM)
        await v.go("/runs")
        await choose("Delete…")
        await page.get_by_role("button", name="Delete for good").click()
        await expect(page.get_by_text("There are no runs yet.")).to_be_visible()
        assert (await product.client.get(f"/v1/runs/{run_id}")).status_code == 404


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
