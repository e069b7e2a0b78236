"""A run on the page: what is seen while it works, what is asked, what is left at the end."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.web.conftest import Begin, Open
from tests.web.story import TASK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_pictures(story: Begin, visit: Open) -> None:
    async with story(sandbox="auto") as (product, told), visit(product) as v:
        page = v.page
        await v.go("/")
        await page.get_by_label("Task", exact=True).fill(TASK)
        await v.picture("start")
        created = await product.client.post(
            "/v1/runs",
            json={
                "task": TASK,
                "approvals": {"mode": "always"},
                "budget": {"max_cost_usd": "0.50"},
            },
        )
        run_id = created.json()["id"]
        await v.go(f"/runs/{run_id}")
        await expect(page.get_by_text("industry shipment report is")).to_be_visible()
        await expect(page.get_by_text("Pulling energy-price")).to_be_visible()
        await page.wait_for_timeout(2500)
        await v.picture("run-live")
        told.open("research", "prices")
        await expect(page.get_by_role("button", name="Approve")).to_be_visible()
        await page.wait_for_timeout(1000)
        await v.picture("run-approval", whole=True)
        told.open("program")
        await page.get_by_role("button", name="Edit").click()
        await page.locator("textarea.code").press("Control+End")
        await page.keyboard.type("\nprint('checked')")
        await v.picture("run-edit", whole=True)
        await page.get_by_role("button", name="Approve with edits").click()
        await expect(page.get_by_role("heading", name="Answer, as it is written")).to_be_visible(
            timeout=25000
        )
        await v.picture("run-answering", whole=True)
        told.open("answer")
        await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
        await page.wait_for_timeout(800)
        await v.picture("run-done")
        await v.picture("run-done-whole", whole=True)
        for each in ("runs", "inbox", "costs", "settings", f"runs/{run_id}/trace"):
            await v.go(f"/{each}")
            await page.wait_for_timeout(700)
            await v.picture(each.replace("/", "-").replace(run_id, "x"))
