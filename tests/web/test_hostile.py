"""A page under attack: texts that would stop it, arguments that hide something, servers and tabs that misbehave."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest
from playwright.async_api import Page, Route, expect

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running
from tests.integration.callers import issue
from tests.integration.people import waiting
from tests.web.conftest import PATIENCE, Open
from tests.web.looking import look
from tests.web.test_inbox import team, works

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


def settings(folder: Path, models: FakeModelServer, **more: Any) -> dict[str, Any]:
    return {
        "OPENAI_BASE_URL": models.base_url,
        "knowledge_dir": folder,
        "sandbox": "off",
        "validation": "off",
        "model_timeout": PATIENCE,
        **more,
    }


def quiet(folder: Path) -> dict[str, Any]:
    """Return the settings of a server without a model."""
    return {"knowledge_dir": folder, "sandbox": "off"}


async def started(product: Product, **body: Any) -> str:
    created = await product.client.post("/v1/runs", json={"task": "Do it", **body})
    assert created.status_code == 202, created.text
    return str(created.json()["id"])


def chip(page: Page) -> Any:
    return page.locator(".run-head .chip")


HEAVY: Final = {
    "quotes in quotes": "> " * 5000 + "the end",
    "emphasis": "*a_" * 30_000 + " the end",
    "a word": "W" * 150_000 + " the end",
    "lists in lists": "\n".join("  " * depth + "- x" for depth in range(300)) + "\n\nthe end",
}
"""Texts for which a browser took many seconds, or drew nothing at all; a model can write each of them."""


async def test_no_text_of_a_model_stops_the_page(visit: Open, tmp_path: Path) -> None:
    """Each is shown to its end, within the window; the visit fails on any error of a script."""
    async with FakeModelServer() as models:
        models.add(Rule(when=When(schema=True, user="<results>"), reply=Reply.route()))
        models.add(Rule(when=When(schema=True), reply=Reply.route(("coder", "Write it"))))
        models.add(
            *(Rule(when=When(schema=False), reply=Reply(text=t), times=1) for t in HEAVY.values())
        )
        async with (
            running(tmp_path / "data", **settings(tmp_path, models)) as product,
            visit(product, viewport={"width": 390, "height": 800}) as v,
        ):
            for name in HEAVY:
                run_id = (await product.finished("Write it", agents=["coder"]))["id"]
                await v.go(f"/runs/{run_id}")
                answer = v.page.locator(".answer-text")
                await expect(answer, name).to_contain_text("the end", timeout=8000)
                assert await v.overflow() == [], name


HIDDEN: Final = "ls \u202ecod.exe\u2066 \u200b\rrm -rf ~"


async def test_a_call_shows_all_that_would_run(visit: Open, tmp_path: Path) -> None:
    """What cannot be seen is written out; the second of two clicks does not decide what has moved to its place."""
    async with FakeModelServer() as models:
        models.add(*team("Write the first", "Write the second"))
        for name in ("first", "second"):
            call = ("write_file", {"path": f"{name}.txt", "content": HIDDEN})
            models.add(*works(f"Write the {name}", call))
        async with (
            running(tmp_path / "data", **settings(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            run_id = await started(product, approvals={"mode": "always"})
            await v.go(f"/runs/{run_id}")
            cards = page.locator("article.approval")
            await expect(cards).to_have_count(2)
            shown = "ls \\u{202e}cod.exe\\u{2066} \\u{200b}\\u{000d}rm -rf ~"
            await expect(cards.first.locator(".written pre")).to_have_text(shown)
            await look(v, "light-hidden-characters")
            # Both clicks are made while the first card goes and the second moves up.
            await page.evaluate(
                """() => {
                    const press = () => document.querySelector("article.approval .button.primary")?.click();
                    const first = document.querySelector("article.approval").dataset.approval;
                    press();
                    new MutationObserver((_, watch) => {
                        const now = document.querySelector("article.approval")?.dataset.approval;
                        if (now && now !== first) { watch.disconnect(); press(); document.body.dataset.pressed = ""; }
                    }).observe(document.querySelector("main"), { subtree: true, childList: true });
                }"""
            )
            await expect(page.locator("body[data-pressed]")).to_have_count(1)
            await expect(cards).to_have_count(1)
            asked = (await product.client.get(f"/v1/approvals?run_id={run_id}")).json()["data"]
            assert sorted(each["status"] for each in asked) == ["pending", "resolved"]


async def test_a_number_that_a_browser_would_round_stays(visit: Open, tmp_path: Path) -> None:
    """Also where another argument was edited. No tool of the house takes one, so the answer is changed on its way."""
    number = "12345678901234567891"
    sent: list[str] = []

    async def change(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request.post_data or "")
            await route.fulfill(status=503, json={"title": "Busy", "status": 503})
            return
        answer = await route.fetch()
        text = (await answer.text()).replace('"args":{', f'"args":{{"account":{number},', 1)
        await route.fulfill(response=answer, body=text)

    async with FakeModelServer() as models:
        call = ("write_file", {"path": "a.txt", "content": "one"})
        models.add(*team("Write it"), *works("Write it", call))
        async with (
            running(tmp_path / "data", **settings(tmp_path, models)) as product,
            visit(product, may=("503",)) as v,
        ):
            page = v.page
            run_id = await started(product, approvals={"mode": "always"})
            await page.route("**/v1/approvals/**", change)
            await v.go(f"/runs/{run_id}")
            card = page.locator("article.approval")
            await expect(card.get_by_label("account")).to_have_value(number)
            await card.get_by_role("button", name="Edit").click()
            await card.get_by_label("content").fill("two")
            await card.get_by_role("button", name="Approve with edits").click()
            await expect(card.get_by_role("alert")).to_contain_text("Busy")
            await page.unroute_all()
    assert f'"account":{number},' in sent[0]


async def test_what_is_sent_twice_is_done_once(visit: Open, tmp_path: Path) -> None:
    """Two clicks at once, an answer that was lost and one of a proxy: one run each, not one for each try."""
    keys: list[str | None] = []

    async def lose(route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        keys.append(route.request.headers.get("idempotency-key"))
        if len(keys) == 2:
            await route.fetch()
            await route.abort("connectionreset")
        elif len(keys) == 3:
            await route.fulfill(status=502, content_type="text/html", body="<h1>Bad</h1>")
        else:
            await route.continue_()

    async with (
        running(tmp_path / "data", **quiet(tmp_path)) as product,
        visit(product, may=("RESET", "502")) as v,
    ):
        page = v.page
        await page.route("**/v1/runs", lose)
        await v.go("/")
        await page.get_by_role("textbox", name="Task").fill("What is 3 + 4?")
        await page.evaluate(
            """() => {
                const form = document.querySelector(".start-form");
                form.requestSubmit();
                form.requestSubmit();
            }"""
        )
        await expect(chip(page)).to_have_text("Done")
        assert len(keys) == 1
        await v.go("/")
        await page.get_by_role("textbox", name="Task").fill("What is 5 + 6?")
        button = page.get_by_role("button", name="Start the run")
        await button.click()
        await expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
        await button.click()
        await expect(page.get_by_role("alert")).to_contain_text("The server answered with 502.")
        await button.click()
        await expect(chip(page)).to_have_text("Done")
        await page.unroute_all()
        runs = (await product.client.get("/v1/runs")).json()["data"]
    assert len(runs) == 2
    assert len(set(keys[1:])) == 1


async def test_a_server_that_fails_is_not_one_with_nothing_to_say(
    visit: Open, tmp_path: Path
) -> None:
    """The inbox does not say that nothing waits, what was refused for now comes, and a wrong clock moves nothing."""
    failing = True

    async def fail(route: Route) -> None:
        if failing:
            await route.fulfill(status=500, content_type="text/html", body="<h1>Oh</h1>")
        else:
            await route.continue_()

    refused = 0

    async def refuse(route: Route) -> None:
        nonlocal refused
        refused += 1
        if refused == 1:
            await route.fulfill(status=429, json={"title": "Too many", "status": 429})
        else:
            await route.continue_()

    async with (
        running(tmp_path / "data", **quiet(tmp_path)) as product,
        visit(product, may=("500", "429")) as v,
    ):
        page = v.page
        await page.add_init_script("const real = Date.now; Date.now = () => real() + 3_600_000;")
        await page.route("**/v1/approvals?*", fail)
        await v.go("/inbox")
        await expect(page.get_by_role("alert")).to_contain_text("The server answered with 500.")
        await expect(page.get_by_text("Nothing needs you.")).to_have_count(0)
        failing = False
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("Nothing needs you.")).to_be_visible()
        run_id = (await product.finished("What is 3 + 4?"))["id"]
        await page.route(f"**/v1/runs/{run_id}", refuse)
        await v.go(f"/runs/{run_id}")
        await expect(chip(page)).to_have_text("Done")
        await expect(page.locator(".recent-link .when").first).to_have_text("now")
        await page.unroute_all()
    assert refused == 2


async def test_who_signs_out_is_out_in_every_tab(visit: Open, tmp_path: Path) -> None:
    """At once, and nothing that was begun or shown is left; where the server has not heard it, the page says so."""
    async with running(tmp_path / "data", **quiet(tmp_path)) as product:
        _, headers = await issue(product, "runs:read", "runs:write")
        body = {"task": "What is 3 + 4?"}
        run = (await product.client.post("/v1/runs?wait=20", json=body, headers=headers)).json()
        secret = headers["authorization"].removeprefix("Bearer ")
        async with visit(product, may=("401", "ERR_FAILED")) as v:
            page, other = v.page, await v.page.context.new_page()
            await v.go("/settings")
            await page.get_by_label("API key").fill(secret)
            await page.get_by_role("button", name="Sign in").click()
            # A reload before the answer is there would drop it.
            await expect(page.get_by_role("heading", name="Access")).to_be_visible()
            await page.reload()
            await other.goto(f"{v.base_url}/runs/{run['id']}")
            await other.get_by_label("Ask a follow-up in this thread").fill("My secret plan")
            await page.route("**/session", lambda route: route.abort())
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_role("alert")).to_contain_text("You are still signed in")
            await page.unroute_all()
            await page.get_by_role("button", name="Sign out").click()
            for tab in (page, other):
                await expect(tab.get_by_role("heading", name="Sign in")).to_be_visible(timeout=5000)
                assert "3 + 4" not in await tab.content()
            assert "plan" not in await other.evaluate("JSON.stringify({ ...sessionStorage })")
            await other.evaluate(
                "dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))"
            )
            await expect(other.locator("#app")).to_be_hidden()


NOTIFIES: Final = """
    Object.defineProperty(document, "hidden", { get: () => true });
    window.told = [];
    window.Notification = class {
        static permission = "granted";
        constructor(title, { body }) {
            if (window.phone) throw new TypeError("Illegal constructor");
            window.told.push([title, body]);
            window.notice = this;
            document.documentElement.dataset.told = "";
        }
        close() {}
    };
"""


LOOK_AGAIN: Final = """async () => {
    const app = document.querySelector('script[src$="app.js"]').src;
    await (await import(new URL("house.js", app).href)).refresh();
}"""
"""What the page does every fifteen seconds."""


async def test_a_hidden_tab_tells_what_waits_and_leads_there(visit: Open, tmp_path: Path) -> None:
    """Where the browser does not let it, as on phones, the inbox has it all the same."""
    async with FakeModelServer() as models:
        question = ("ask_user", {"question": "Which year do you mean?"})
        models.add(*team("Ask"), Rule(when=When(schema=False), reply=Reply.calls(question)))
        async with (
            running(tmp_path / "data", **settings(tmp_path, models)) as product,
            visit(product) as v,
        ):
            page = v.page
            await page.add_init_script(NOTIFIES)
            await v.go("/costs")
            await expect(page.get_by_text("Runs will be listed here.")).to_be_visible()
            await waiting(product, await started(product))
            await page.evaluate(LOOK_AGAIN)
            await expect(page.locator("html[data-told]")).to_have_count(1)
            told = await page.evaluate("window.told")
            await page.evaluate("window.notice.onclick()")
            await expect(page.get_by_role("heading", name="Coder asks you")).to_be_visible()
            await page.evaluate("window.phone = true")
            await waiting(product, await started(product))
            await page.evaluate(LOOK_AGAIN)
            await expect(page.get_by_role("heading", name="Coder asks you")).to_have_count(2)
    assert told == [["Signalbox needs you", "Which year do you mean?"]]


ASKING: Final = """
    from domain.agent import AgentSpec
    from langchain_core.messages import AIMessage
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.types import interrupt

    WANTED = {
        "type": "object",
        "properties": {
            "amount": {"type": "integer", "minimum": 1, "description": "How many to order."},
            "colour": {"enum": ["red", "green"]},
            "note": {"type": "string"},
            "gift": {"type": "boolean"},
        },
        "required": ["amount", "colour"],
    }


    async def ask(state: MessagesState):
        given = interrupt("How many, and which?", response_schema=WANTED)
        return {"messages": [AIMessage(f"Ordered: {sorted(given.items())}")]}


    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)

    AGENT = AgentSpec(name="acme", description="Asks a person.", graph=graph.compile())
"""


async def test_a_graph_that_wants_a_document_has_fields_for_it(visit: Open, tmp_path: Path) -> None:
    folder = tmp_path / "acme_page_agents"
    folder.mkdir()
    (folder / "asking.py").write_text(dedent(ASKING), encoding="utf-8")
    async with FakeModelServer() as models:
        models.add(Rule(when=When(schema=True, user="<results>"), reply=Reply.route()))
        models.add(Rule(when=When(schema=True), reply=Reply.route(("acme", "Order it"))))
        values = settings(tmp_path, models, agents=[str(folder)])
        async with running(tmp_path / "data", **values) as product, visit(product) as v:
            page = v.page
            await v.go(f"/runs/{await started(product)}")
            card = page.get_by_role("article", name="Acme asks you")
            await expect(card.get_by_label("amount")).to_have_attribute("type", "number")
            await look(v, "light-question-fields")
            answer = card.get_by_role("button", name="Answer")
            await answer.click()
            await expect(card.get_by_text("A number is needed here.")).to_be_visible()
            await expect(card.get_by_text("Choose one.")).to_be_visible()
            await card.get_by_label("amount").fill("3")
            await card.get_by_label("colour").select_option("green")
            await answer.click()
            told = "Ordered: [('amount', 3), ('colour', 'green'), ('gift', False)]"
            await expect(page.locator(".answer-text")).to_contain_text(told)


async def test_an_action_in_doubt_is_settled_once(visit: Open, tmp_path: Path) -> None:
    """A page that is loaded again knows what was said of it."""
    async with FakeModelServer() as models, CountingTarget() as target:
        order = {"method": "POST", "url": target.url("/orders"), "body": "{}"}
        target.drop("/orders")
        models.add(*team("Order it"), *works("Order it", ("http_request", order)))
        values = settings(tmp_path, models, http_allow=target.address)
        async with running(tmp_path / "data", **values) as product, visit(product) as v:
            page = v.page
            await v.go(f"/runs/{await started(product)}")
            await page.get_by_role("button", name="Approve", exact=False).first.click()
            doubt = page.get_by_role("group", name="An action in doubt")
            await expect(chip(page)).to_have_text("Done")
            await look(v, "light-in-doubt")
            await doubt.get_by_role("button", name="It did not").click()
            told = page.get_by_text("the call of http_request did not take effect")
            await expect(told).to_be_visible()
            await page.reload()
            await expect(told).to_be_visible()
            await expect(doubt).to_have_count(0)
        assert target.count("/orders") == 1
