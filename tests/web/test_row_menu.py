"""A history in bad weather: runs that are gone, refusals, low windows, nonsense in addresses, clicks that come late."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Page, Route, expect

from tests.web.conftest import Open
from tests.web.looking import look
from tests.web.test_finding import SUM, Many, answered, planned

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

ZERO_WIDTH: Final = "\u200b"
SMALL: Final = {"width": 320, "height": 256}
"""What 400 % of zoom come to in a window of 1280 by 1024."""


def row(page: Page, task: str) -> Any:
    return page.locator(".runs-table tbody tr").filter(has_text=task)


async def choose(page: Page, task: str, name: str) -> None:
    await page.get_by_role("button", name=f"Menu of the run: {task}").click()
    await page.get_by_role("menuitem", name=name).click()


async def refused(route: Route) -> None:
    problem = {"title": "The run goes on", "status": 409, "detail": "Stop it first."}
    if route.request.method != "DELETE":
        return await route.fallback()
    await route.fulfill(
        status=409, body=json.dumps(problem), content_type="application/problem+json"
    )
    return None


async def test_who_writes_elsewhere_deletes_nothing(visit: Open, tmp_path: Path) -> None:
    """What asks once more takes the focus once; Escape keeps the run; whoever deletes it goes on at the next one."""
    async with planned(tmp_path, visit) as (product, v):
        page, keys = v.page, v.page.keyboard
        run_id = await answered(product, SUM)
        await answered(product, "What is 5 + 4?")
        await v.go("/runs")
        await choose(page, SUM, "Delete…")
        sure = page.get_by_role("group", name=f"Delete this run: {SUM}?")
        await expect(page.get_by_role("button", name="Delete for good")).to_be_focused()
        search = page.get_by_role("searchbox", name="Search")
        await search.press_sequentially("what is")
        await expect(search).to_be_focused()
        await expect(search).to_have_value("what is")
        await page.get_by_role("button", name="Keep").focus()
        await keys.press("Escape")
        await expect(sure).to_have_count(0)
        await expect(page.get_by_role("button", name=f"Menu of the run: {SUM}")).to_be_focused()
        assert (await product.client.get(f"/v1/runs/{run_id}")).status_code == 200
        await choose(page, SUM, "Delete…")
        await expect(page.get_by_role("button", name="Delete for good")).to_be_focused()
        await keys.press("Enter")
        await expect(row(page, SUM)).to_have_count(0)
        await expect(page.get_by_role("button", name="Menu of the run: What is 5")).to_be_focused()


async def test_what_is_gone_or_refused_is_said_where_it_is_seen(
    visit: Open, tmp_path: Path
) -> None:
    """What another tab has deleted goes; a refusal, of a download too, stands below its row until the next choice."""
    async with planned(
        tmp_path, visit, may=("409", "404"), viewport={"width": 320, "height": 640}
    ) as (product, v):
        page = v.page
        ids = [await answered(product, f"What is {number} + 4?") for number in range(3)]
        await v.go("/runs")
        await page.route("**/v1/runs/*", refused)
        await choose(page, "What is 0", "Delete…")
        await page.get_by_role("button", name="Delete for good").click()
        told = page.get_by_role("alert")
        await expect(told).to_contain_text("Stop it first.")
        await expect(told).to_be_in_viewport(ratio=1)
        await expect(page.get_by_role("button", name="Menu of the run: What is 0")).to_be_focused()
        await look(v, "phone-history-refused")
        await choose(page, "What is 0", "Fork…")
        dialog = page.get_by_role("dialog", name="Fork this run")
        await expect(dialog).to_have_css("text-align", "start")
        await dialog.get_by_role("button", name="Cancel").click()
        await expect(told).to_have_count(0)
        await page.unroute("**/v1/runs/*")
        for each in ids[1:]:
            await product.client.delete(f"/v1/runs/{each}")
        await choose(page, "What is 1", "Export as JSON")
        await expect(told).to_be_visible()
        await choose(page, "What is 2", "Delete…")
        await page.get_by_role("button", name="Delete for good").click()
        await expect(row(page, "What is 2")).to_have_count(0)


async def test_a_menu_fits_a_window_that_is_lower_than_it(visit: Open, tmp_path: Path) -> None:
    """Every entry can be reached and seen, by arrows and by its first letter; no letter leads to another page."""
    async with planned(tmp_path, visit, viewport=SMALL) as (product, v):
        page, keys = v.page, v.page.keyboard
        await answered(product, SUM)
        await v.go("/runs")
        await page.get_by_role("button", name="Menu of the run").click()
        entries = page.get_by_role("menuitem")
        await expect(entries.first).to_be_focused()
        await keys.press("End")
        await expect(entries.last).to_be_focused()
        await expect(entries.last).to_be_in_viewport(ratio=1)
        box = await page.get_by_role("menu").bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= SMALL["height"]
        await keys.press("t")
        await expect(page.get_by_role("menuitem", name="Trace")).to_be_focused()
        await keys.press("n")
        await expect(page.get_by_role("menuitem", name="Trace")).to_be_focused()
        await keys.press("Escape")


async def test_a_run_of_which_nothing_is_seen_can_be_opened(visit: Open, tmp_path: Path) -> None:
    async with planned(tmp_path, visit) as (product, v):
        page = v.page
        await answered(product, ZERO_WIDTH * 3)
        await answered(product, "\n" * 200 + SUM)
        await v.go("/runs")
        table = page.get_by_role("table")
        await expect(table.get_by_role("link", name=SUM)).to_be_visible()
        await look(v, "light-history-unseen")
        await table.get_by_role("link", name="\\u{200b}").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("\\u{200b}")


async def test_nonsense_in_the_address_filters_nothing(visit: Open, tmp_path: Path) -> None:
    async with planned(tmp_path, visit) as (product, v):
        await answered(product, SUM)
        for query in ("days=zzz", "days=1e99", "cost=abc", "status=zzz"):
            await v.go(f"/runs?{query}")
            await expect(row(v.page, SUM)).to_have_count(1)


async def test_a_page_that_comes_twice_or_late_is_shown_once_or_not(
    visit: Open, tmp_path: Path
) -> None:
    """Two clicks may ask for one page twice; what was asked for before another filter was chosen comes to nothing."""
    async with planned(tmp_path, visit) as (product, v):
        page = v.page
        run_id = await answered(product, SUM)
        sample = (await product.client.get(f"/v1/runs/{run_id}")).json()
        many = Many(sample, total=300, needle=-1)
        held = asyncio.Event()

        async def answer(route: Route) -> None:
            if "status=failed" in route.request.url:
                await route.fulfill(json={"data": many.rows[:2], "has_more": False})
                return
            if "cursor" in route.request.url:
                await held.wait()
            await many.answer(route)

        await page.route(re.compile(r"/v1/runs\?limit=50"), answer)
        await v.go("/runs")
        rows = page.locator(".runs-table tbody tr")
        await expect(rows).to_have_count(50)
        older = page.get_by_role("button", name="Show older runs")
        await older.click()
        await older.click()
        held.set()
        await expect(rows).to_have_count(100)
        await older.click()
        await expect(rows).to_have_count(150)
        assert len(set(await rows.locator(".task-cell").all_inner_texts())) == 150
        held.clear()
        await older.click()
        await page.get_by_label("Status").select_option("Failed")
        await expect(rows).to_have_count(2)
        held.set()
        await page.wait_for_load_state("networkidle")
        await expect(rows).to_have_count(2)


async def test_a_run_that_has_ended_since_the_list_was_read(visit: Open, tmp_path: Path) -> None:
    """It is not said to go on, and can be deleted."""
    async with planned(tmp_path, visit) as (product, v):
        run_id = await answered(product, SUM)
        before = (await product.client.get(f"/v1/runs/{run_id}")).json()
        before |= {"status": "running", "ended_at": None, "result": None}
        listed = {"data": [before], "has_more": False, "next_cursor": None}
        await v.page.route(
            re.compile(r"/v1/runs\?limit=50"), lambda each: each.fulfill(json=listed)
        )
        await v.go("/runs")
        await expect(row(v.page, SUM).get_by_text("Done")).to_be_visible()
        await choose(v.page, SUM, "Delete…")
        await expect(v.page.get_by_role("button", name="Delete for good")).to_be_visible()


async def test_run_again_keeps_what_was_begun(visit: Open, tmp_path: Path) -> None:
    async with planned(tmp_path, visit) as (product, v):
        page = v.page
        await answered(product, SUM)
        await v.go("/")
        field = page.get_by_role("textbox", name="Task")
        await field.fill("A long text")
        await page.get_by_role("link", name="History").click()
        await choose(page, SUM, "Run again")
        await expect(field).to_have_value(SUM)
        await look(v, "light-start-begun")
        await page.get_by_role("button", name="Bring it back").click()
        await expect(field).to_have_value("A long text")
        await expect(field).to_be_focused()
        await page.reload()
        await expect(field).to_have_value("A long text")
        await expect(page.get_by_role("button", name="Bring it back")).to_have_count(0)
