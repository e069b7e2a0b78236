"""Pieces of work that runs have from one another: what an agent came to, and what a tool got from the web."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from tests.fakes.model_script import ModelRequest, Reply, Rule, When, message_text
from tests.fakes.model_server import ALL, FakeModelServer
from tests.fakes.running import Event, Product
from tests.fakes.search_server import FakeWeb, html, result
from tests.integration.checking import judge, works
from tests.integration.conftest import Start
from tests.integration.people import turns
from tests.integration.team_script import composer, decisions, worker

SANDBOX = "auto"

TASK: Final = "Tell of Fastnet"
TOKENS: Final = "openai:*: {input: '2', output: '10'}\n"


@pytest.fixture
async def product(
    start: Start, models: FakeModelServer, web: FakeWeb, tmp_path: Any
) -> AsyncIterator[Product]:
    """Run the product with a model, the web, and work that is kept for an hour."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(TOKENS)
    given = {"tavily_base_url": web.base_url, "search_keyless": True, "http_allow": web.address}
    async with start(models=models, prices=prices, cache_seconds=3600, **given) as running:
        yield running


async def hits(product: Product, run: dict[str, Any]) -> list[Event]:
    """Return what a run had from others."""
    return [e for e in await product.events(run["id"]) if e["type"] == "cache.hit"]


def once(task: str, reply: Reply) -> Rule:
    """Return the rule of an agent that answers its first call so."""
    return Rule(when=worker(task, reply).when, reply=reply, times=1)


def reading(*steps: Callable[[list[str]], Reply]) -> Callable[[ModelRequest], Reply]:
    """Return an agent that takes these steps, each told what its tools have answered."""

    def answer(request: ModelRequest) -> Reply:
        told = [message_text(m) for m in request.body["messages"] if m["role"] == "tool"]
        said: int = sum(m["role"] == "assistant" for m in request.body["messages"])
        return steps[said](told)

    return answer


async def test_a_retry_pays_only_for_what_failed(product: Product, models: FakeModelServer) -> None:
    """What the others came to is there already: told, booked as saved, and part of the answer."""
    program = Reply.calls(("run_python", {"code": "print(6 * 7)"}))
    models.add(
        judge({}),
        *decisions(("coder", "One"), ("analyst", "Two")),
        turns("One", program, Reply(text="It is 42.")),
        once("Two", Reply.error(400, message="No.")),
        worker("Two", Reply(text="By the analyst.")),
        composer(Reply(text="It is 42, all of it.")),
    )
    first = await product.finished(TASK, validation="on")
    assert [part["agent"] for part in first["degraded"]] == ["analyst"]
    before = models.counts[ALL]
    second = await product.finished(TASK, validation="on")
    assert (second["status"], second["degraded"], second["cache"]) == ("completed", [], None)
    assert second["result"]["agents"]["coder"]["output"] == "It is 42."
    assert second["result"]["validation"]["verdict"] == "accept"
    # Two decisions, the analyst, the check and the answer.
    assert models.counts[ALL] - before == 5
    [hit] = await hits(product, second)
    spent = first["usage"]["by_agent"]["coder"]["cost_usd"]
    assert (hit["agent"], hit["path"], hit["data"]["kind"]) == ("coder", "coder", "assignment")
    assert (hit["data"]["run_id"], hit["data"]["saved_cost_usd"]) == (first["id"], spent)
    coder = second["usage"]["by_agent"]["coder"]
    assert (coder["calls"], coder["cost_usd"], coder["cache_savings_usd"]) == (0, "0", spent)
    types = [e["type"] for e in await product.events(second["id"]) if e["agent"] == "coder"]
    assert types == ["agent.started", "cache.hit", "agent.completed", "usage.updated"]


async def test_work_that_did_not_hold_is_given_to_nobody(
    product: Product, models: FakeModelServer
) -> None:
    """A figure that nothing yields is sent back in this run, and is not where the next one begins."""
    models.add(
        judge({}),
        *decisions(("coder", "One")),
        works("One", "It is 48710.", "It is unknown.", reads=False),
    )
    first = await product.finished(TASK, validation="on", cache={"max_age": 600})
    assert (first["status"], first["rounds"]) == ("completed", 2), first
    other = await product.finished(TASK, validation="on", agents=["coder"], cache={"max_age": 600})
    assert (other["rounds"], other["result"]["output"]) == (1, "It is unknown.")
    assert await hits(product, other) == []


async def test_what_was_sent_back_is_what_the_answer_rests_on_too(
    product: Product, models: FakeModelServer, web: FakeWeb
) -> None:
    """The agent has mended it with what it had read on the web."""
    web.found(result("Fastnet", "https://example.com/fastnet", "A lighthouse of granite."))
    search = Reply.calls(("web_search", {"query": "Fastnet"}))
    steps = [search, Reply(text="It is 48710."), Reply(text="It is unknown.")]
    when = When(schema=False, user="<assignment>\nOne")
    models.add(
        judge({}),
        *decisions(("researcher", "One")),
        Rule(when=when, reply=lambda _: steps.pop(0) if steps[1:] else steps[0]),
    )
    first = await product.finished(TASK, validation="on")
    assert (first["status"], first["rounds"]) == ("completed", 2), first
    assert (await product.finished(TASK, validation="on"))["cache"] is None
    assert (await product.finished(TASK, validation="on", cache={"max_age": 600}))["cache"]


async def test_work_that_left_a_file_is_done_anew(
    product: Product, models: FakeModelServer
) -> None:
    """Its outcome is not all that came of it."""
    write = Reply.calls(("write_file", {"path": "a.txt", "content": "a"}))
    models.add(
        *decisions(("coder", "One"), ("analyst", "Two")),
        turns("One", write, Reply(text="Written.")),
        once("Two", Reply.error(400, message="No.")),
        worker("Two", Reply(text="By the analyst.")),
        composer(Reply(text="Done.")),
    )
    await product.finished(TASK)
    second = await product.finished(TASK)
    assert await hits(product, second) == []
    assert [each["name"] for each in second["result"]["artifacts"]] == ["a.txt"]
    # As a whole it is given again, the file with it.
    third = await product.finished(TASK)
    assert third["cache"]["run_id"] == second["id"]
    [artifact] = third["result"]["artifacts"]
    assert artifact["url"] == f"/v1/runs/{third['id']}/artifacts/a.txt"
    assert (await product.client.get(artifact["url"])).content == b"a"


async def test_the_same_page_is_read_once_in_a_run(
    product: Product, models: FakeModelServer, web: FakeWeb
) -> None:
    """By two agents at the same time, and again later; another run reads it anew, unless it says how old it
    may be."""
    page = web.page("/fastnet", html("Fastnet", f"<p>{'It stands on a rock. ' * 20}</p>"))
    fetch = Reply.calls(("fetch_url", {"url": page}), ("fetch_url", {"url": page}))
    steps = (
        lambda _: fetch,
        lambda told: Reply(text=f"On a rock [1]: {len(told)} readings."),
    )
    when = When(schema=False, user="<assignment>\nRead it\n")
    models.add(*decisions(("researcher", "Read it")), Rule(when=when, reply=reading(*steps)))
    task = f"Read {page}"
    first = await product.finished(task)
    assert first["status"] == "completed", first
    assert web.opened == ["/fastnet"]
    [hit] = await hits(product, first)
    call = hit["data"].pop("call_id")
    assert call.endswith(".0.1")
    assert hit["data"] == {
        "kind": "tool",
        "run_id": first["id"],
        "age": hit["data"]["age"],
        "saved_cost_usd": None,
    }
    second = await product.finished(task)
    assert second["cache"] is None
    assert web.opened == ["/fastnet"] * 2
    assert [hit["data"]["run_id"] for hit in await hits(product, second)] == [second["id"]]
    # With an age: the page, the agent's work and the whole answer.
    third = await product.finished(f"{task} ", tags=["x"], cache={"max_age": 600})
    assert third["cache"]["run_id"] == second["id"]
    asked = await product.finished(task, validation="on", cache={"max_age": 600})
    assert asked["cache"] is None
    assert [hit["data"]["kind"] for hit in await hits(product, asked)] == ["assignment"]
    assert web.opened == ["/fastnet"] * 2
    for run in (first, third, asked):
        [source] = run["result"]["citations"]
        kept = await product.client.get(f"/v1/runs/{run['id']}/sources/{source['sha256']}")
        assert "It stands on a rock." in kept.text


async def test_nobody_waits_for_a_page_that_it_may_not_have(
    product: Product, models: FakeModelServer, web: FakeWeb
) -> None:
    """Two runs that do not say how old it may be read it at the same time."""
    held = web.hold("/fastnet")
    fetch = Reply.calls(("fetch_url", {"url": web.url("/fastnet")}))
    steps = (lambda _: fetch, lambda _: Reply(text="Read."))
    when = When(schema=False, user="<assignment>\nRead it\n")
    models.add(*decisions(("researcher", "Read it")), Rule(when=when, reply=reading(*steps)))
    tasks = [f"{word} {web.url('/fastnet')}" for word in ("Read", "Open")]
    begun = [await product.client.post("/v1/runs", json={"task": task}) for task in tasks]
    await web.arrived("/fastnet", 2)
    held.open()
    for created in begun:
        assert (await product.ended(created.json()["id"]))["status"] == "completed"


async def test_the_same_search_is_made_once(
    product: Product, models: FakeModelServer, web: FakeWeb
) -> None:
    """What is shown of it is kept for each run, so that its answer can be checked."""
    web.found(result("Fastnet", "https://example.com/fastnet", "A lighthouse of granite."))
    search = Reply.calls(("web_search", {"query": "Fastnet"}))
    steps = (
        lambda _: search,
        lambda told: Reply(text=f"Of granite [1], {len(told)} searches."),
    )
    when = When(schema=False, user="<assignment>\nSearch\n")
    models.add(*decisions(("researcher", "Search")), Rule(when=when, reply=reading(*steps)))
    first = await product.finished(TASK, cache={"max_age": 0})
    again = await product.finished("Tell more of Fastnet", cache={"max_age": 600})
    assert len(web.searches) == 1
    [hit] = await hits(product, again)
    assert (hit["data"]["kind"], hit["data"]["run_id"]) == ("tool", first["id"])
    await product.finished("Tell all of Fastnet")
    assert len(web.searches) == 2
