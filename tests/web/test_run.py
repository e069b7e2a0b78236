"""A run on the page from its beginning to its end, whatever is cut, killed or decided elsewhere meanwhile."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from playwright.async_api import Page, Route, expect

from tests.fakes.running import Product
from tests.web.browsing import Visit
from tests.web.conftest import Begin, Open
from tests.web.story import ANSWER, TASK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

APPROVED: Final = re.compile("Coder: run_python approved by this machine")
IS_FOCUSED: Final = """(each) =>
    [each, each.closest("summary")].includes(document.activeElement)"""
BODY: Final = {"task": TASK, "approvals": {"mode": "always"}}
CHANGING: Final = re.compile(
    r"\b\d+(?:\.\d+)? (?:ms|s|min|h|k)\b|\$\d[\d.]*|\b(?:run|Run) \w{4}\b|now"
)
"""What differs between two runs of one story: times, ids, money and tokens of calls that were made again."""


def shown(text: str) -> str:
    """Return a text of the page without what differs from run to run."""
    return re.sub(r"\s+", " ", CHANGING.sub("…", text)).strip()


async def final_text(page: Page) -> str:
    """Return what the page says at the end: answer, files, plan, finished steps."""
    await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
    await expect(page.locator(".artifact table").first).to_be_visible()
    await expect(page.locator(".artifact img")).to_have_js_property("complete", value=True)
    parts = [
        await page.inner_text(part) for part in (".answer", ".artifacts", ".plan", ".finished")
    ]
    return shown("\n".join(parts))


async def begin(product: Product, **more: Any) -> str:
    created = await product.client.post("/v1/runs", json={**BODY, **more})
    assert created.status_code == 202, created.text
    return str(created.json()["id"])


async def approve(page: Page) -> None:
    await page.get_by_role("button", name="Approve").click()


async def test_by_keyboard_alone_from_the_task_to_the_file(story: Begin, visit: Open) -> None:
    """Task, options, two lanes at work, an edit of what would run, the answer, a file: without a pointer."""
    async with story(sandbox="auto") as (product, told), visit(product) as v:
        page, keys = v.page, v.page.keyboard
        await v.go("/")
        await expect(page.get_by_role("textbox", name="Task")).to_be_focused()
        await keys.type(TASK)
        await tab_to(page, page.get_by_text("Options"))
        await keys.press("Enter")
        await tab_to(page, page.get_by_label("Ask me"))
        await keys.type("Before")
        await keys.press("Shift+Tab")
        await tab_to(page, page.get_by_role("button", name="Start the run"), back=True)
        await keys.press("Enter")

        await both_lanes_live(page)
        told.open("research", "prices", "program", "answer")
        card = page.get_by_role("article", name=re.compile("Coder wants to run"))
        await expect(card).to_be_focused()
        await expect(page).to_have_title(re.compile(r"^● \(1\) "))
        await keys.press("e")
        await expect(card.get_by_role("textbox", name="code")).to_be_focused()
        await keys.press("ControlOrMeta+End")
        await keys.type('print("checked by a person")')
        await expect(card.get_by_role("group", name="Your changes")).to_contain_text(
            "checked by a person"
        )
        await expect(card.get_by_role("button", name="Approve with edits")).to_be_visible()
        await keys.press("Control+Enter")

        await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
        await tab_to(page, page.get_by_role("button", name="Look at trend.png"))
        await keys.press("Enter")
        beside = page.get_by_role("complementary", name="Details")
        await expect(beside.get_by_role("heading", name="trend.png")).to_be_focused()
        await expect(beside.get_by_role("img")).to_have_js_property("complete", value=True)
        await keys.press("Escape")
        await expect(beside).to_have_count(0)
        await expect(page.get_by_role("button", name="Look at trend.png")).to_be_focused()
        run_id = page.url.rpartition("/")[2]
        [asked] = (await product.client.get(f"/v1/approvals?run_id={run_id}")).json()["data"]
    assert asked["decision"]["type"] == "edit"
    assert asked["decision"]["edited_action"]["args"]["code"].endswith(
        'print("checked by a person")'
    )


async def both_lanes_live(page: Page) -> None:
    """Wait until two agents write, each in a card and a lane of its own."""
    for name in ("Researcher", "Analyst"):
        await expect(page.get_by_role("article", name=f"{name} at work")).to_be_visible()
    await expect(
        page.get_by_role("button", name=re.compile("^Researcher: .*, running$"))
    ).to_be_visible()
    await expect(
        page.get_by_role("button", name=re.compile("^Analyst: .*, running$"))
    ).to_be_visible()
    await expect(page.get_by_text("the usual reference")).to_be_visible()


async def tab_to(page: Page, target: Any, *, back: bool = False) -> None:
    """Press Tab until something has the focus."""
    element = await target.element_handle()
    for _ in range(60):
        if await page.evaluate(IS_FOCUSED, element):
            return
        await page.keyboard.press("Shift+Tab" if back else "Tab")
    msg = f"{target} cannot be reached by Tab"
    raise AssertionError(msg)


async def test_a_page_that_is_loaded_again_says_the_same(story: Begin, visit: Open) -> None:
    """In the middle of the work and at its end: nothing is typed out again, nothing is missing."""
    async with story() as (product, told), visit(product) as v:
        page = v.page
        run_id = await begin(product)
        await v.go(f"/runs/{run_id}")
        await expect(page.get_by_text("1.6 M (2019)")).to_be_visible()
        await expect(page.get_by_role("cell", name="3.1")).to_be_visible()
        parts = [await page.inner_text(part) for part in (".plan", ".agents")]
        await page.reload()
        await expect(page.get_by_text("1.6 M (2019)")).to_be_visible()
        await expect(page.get_by_role("cell", name="3.1")).to_be_visible()
        again = [await page.inner_text(part) for part in (".plan", ".agents")]
        assert [shown(part) for part in again] == [shown(part) for part in parts]
        told.open_all()
        await page.get_by_role("button", name="Reject…").click()
        await page.get_by_label("Why not?").fill("Not with these numbers.")
        await page.get_by_role("button", name="Reject and tell the agent").click()
        await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
        first = shown(await page.inner_text("main"))
        await page.reload()
        await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
        await expect(page.get_by_text("3 finished steps")).to_be_visible()
        assert shown(await page.inner_text("main")) == first
        [asked] = (await product.client.get(f"/v1/approvals?run_id={run_id}")).json()["data"]
    assert (asked["decision"]["type"], asked["decision"]["message"]) == (
        "reject",
        "Not with these numbers.",
    )


@pytest.mark.parametrize("frames", [1, 5])
async def test_a_stream_that_is_cut_again_and_again_loses_nothing(
    frames: int, story: Begin, visit: Open
) -> None:
    """After so many events, each time in the middle of the next one: the end is that of an undisturbed run."""
    async with story(sandbox="auto", held=False) as (product, _), visit(product) as v:
        page = v.page
        cuts = 0

        async def cut(route: Route) -> None:
            nonlocal cuts
            headers = {
                "accept": "text/event-stream",
                "last-event-id": route.request.headers["last-event-id"],
            }
            body, count = "", 0
            async with product.client.stream("GET", route.request.url, headers=headers) as response:
                if response.status_code == 204:
                    await route.fulfill(status=204)
                    return
                async for line in response.aiter_lines():
                    body += line + "\n"
                    count += line.startswith("data: ")
                    if count > frames:
                        break
                    if line.startswith('data: {"seq"') and '"type":"run.requires_action"' in line:
                        break
            cuts += 1
            sent = body[:-9] if count > frames else body + "\n"
            await route.fulfill(status=200, content_type="text/event-stream", body=sent)

        run_id = await begin(product)
        await page.route(lambda url: url.endswith(f"{run_id}/events"), cut)
        await v.go(f"/runs/{run_id}")
        await approve(page)
        disturbed = await final_text(page)
        await page.unroute_all(behavior="wait")
        other = await undisturbed(product, v)
    assert disturbed == other
    assert cuts > (12 if frames == 1 else 2)


async def undisturbed(product: Product, v: Visit) -> str:
    """Return what the page says of a run whose whole log it reads at once."""
    run_id = (await product.client.get("/v1/runs?limit=1")).json()["data"][0]["id"]
    await v.go(f"/runs/{run_id}")
    return await final_text(v.page)


async def test_two_tabs_say_the_same_and_one_decides(story: Begin, visit: Open) -> None:
    """What is decided in one folds in the other, without a reload; who comes too late is told who won."""
    async with (
        story(held=False) as (product, _),
        visit(product) as v,
        visit(product) as w,
        visit(product) as x,
    ):
        run_id = await begin(product)
        await v.go(f"/runs/{run_id}")
        await x.go(f"/runs/{run_id}")
        await w.go("/inbox")
        for page in (v.page, w.page, x.page):
            await expect(page.get_by_role("button", name="Approve")).to_be_visible()
            await expect(page).to_have_title(re.compile(r"^● \(1\) "))
        w.may = ("409",)  # the decision that came second
        await w.page.get_by_role("button", name="Reject…").click()
        await approve(v.page)
        for page in (v.page, x.page):
            await expect(page.locator(".decided")).to_have_text(APPROVED)
            await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
        await w.page.get_by_role("button", name="Reject and tell the agent").click()
        await expect(w.page.locator(".decided")).to_have_text(APPROVED)
        for page in (v.page, w.page, x.page):
            await expect(page).to_have_title(re.compile("^(?!●)"))


async def test_a_follow_up_is_a_run_of_the_same_thread(story: Begin, visit: Open) -> None:
    async with story(held=False) as (product, _), visit(product) as v:
        page = v.page
        run_id = await begin(product, approvals={"mode": "never"})
        await v.go(f"/runs/{run_id}")
        await page.get_by_role("textbox", name="Ask a follow-up").fill("And in one sentence?")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("And in one sentence?")
        await expect(page.get_by_text("Part 2 of 2 in a thread")).to_be_visible()
        await page.get_by_role("link", name="Before").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(TASK)
        threads = {
            run["thread_id"] for run in (await product.client.get("/v1/runs")).json()["data"]
        }
    assert len(threads) == 1


async def test_a_run_is_stopped(story: Begin, visit: Open) -> None:
    """Asked for twice, so that nobody stops one by a slip."""
    async with story() as (product, _), visit(product) as v:
        page = v.page
        run_id = await begin(product)
        await v.go(f"/runs/{run_id}")
        await page.get_by_role("button", name="Stop", exact=True).click()
        await page.get_by_role("button", name="Keep running").click()
        await page.get_by_role("button", name="Stop", exact=True).click()
        await page.get_by_role("button", name="Stop the run").click()
        await expect(page.locator(".run-head .chip")).to_have_text("Stopped")
        await expect(page.get_by_text("Somebody stopped this run.")).to_be_visible()
        run = (await product.client.get(f"/v1/runs/{run_id}")).json()
    assert run["status"] == "cancelled"


async def test_a_log_of_many_pages_is_read_to_its_end(story: Begin, visit: Open) -> None:
    """Seven events a page here: the page of the run and its trace have all of them, each once."""
    async with story(held=False) as (product, _), visit(product) as v:
        page = v.page
        run_id = await begin(product, approvals={"mode": "never"})
        await product.ended(run_id)
        events = await product.events(run_id)
        asked = []

        async def shorten(route: Route) -> None:
            asked.append(route.request.url)
            await route.continue_(url=route.request.url.replace("limit=1000", "limit=7"))

        await page.route("**/events?*", shorten)
        await v.go(f"/runs/{run_id}")
        await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
        await expect(page.get_by_text("3 finished steps")).to_be_visible()
        assert len(asked) == -(-len(events) // 7)
        await v.go(f"/runs/{run_id}/trace")
        await expect(page.locator(".trace-table tbody tr")).to_have_count(len(events))
        await page.unroute_all(behavior="wait")


async def test_below_a_path_of_a_proxy(story: Begin, visit: Open) -> None:
    """What the page asks for and where its links lead is below the path too."""
    async with story(held=False) as (product, _), visit(product) as v:
        page = v.page
        run_id = await begin(product, approvals={"mode": "never"})
        await product.ended(run_id)

        async def strip(route: Route) -> None:
            path = route.request.url.removeprefix(product.base_url)
            assert path.startswith("/box/"), path
            inner = await route.fetch(url=product.base_url + path.removeprefix("/box"))
            await route.fulfill(response=inner)

        await page.route("**/*", strip)
        await v.go(f"/box/runs/{run_id}")
        await expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
        await expect(page.locator(".artifact img")).to_have_js_property("complete", value=True)
        await page.get_by_role("link", name="History").click()
        await expect(page.get_by_role("cell", name="Done")).to_be_visible()
        assert page.url == f"{product.base_url}/box/runs"
        await page.unroute_all(behavior="wait")


async def test_nothing_moves_for_whoever_wants_it_so(story: Begin, visit: Open) -> None:
    moving = "document.getAnimations().length"
    async with story() as (product, _):
        run_id = await begin(product)
        for motion in ("no-preference", "reduce"):
            async with visit(product, reduced_motion=motion) as v:
                await v.go(f"/runs/{run_id}")
                await both_lanes_live(v.page)
                assert bool(await v.page.evaluate(moving)) is (motion == "no-preference")


async def test_only_what_differs_from_run_to_run_is_masked() -> None:
    assert shown("Run 80bb took 3.4 s, $0.0048") == "… took …, …"
    assert shown(ANSWER).count("…") == 0
