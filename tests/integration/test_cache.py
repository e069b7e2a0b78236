"""Work that is done once for several runs: whole answers, and runs that wait for one another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import ALL, FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start, database
from tests.integration.people import asked, decide, turns
from tests.integration.team_script import SECONDS, composer, decisions, solo, unauthorised, worker

TASK: Final = "Count the lighthouses"
PRICES: Final = 'openai:*: {input: "2", output: "10", cached: "0.5"}\n'
HOUR: Final = 3600


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of each database in turn."""
    return database(request, tmp_path)


@pytest.fixture
async def product(
    start: Start, models: FakeModelServer, tmp_path: Path, place: dict[str, Any]
) -> AsyncIterator[Product]:
    """Run the product with a model of known price, and answers that are given again for an hour."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    async with start(models=models, prices=prices, cache_seconds=HOUR, **place) as running_product:
        yield running_product


async def events_of(product: Product, run: dict[str, Any]) -> list[str]:
    """Return the types of a run's events."""
    return [event["type"] for event in await product.events(run["id"])]


async def begin(product: Product, task: str = TASK, **body: Any) -> dict[str, Any]:
    """Create a run and return it as it is then."""
    created = await product.client.post("/v1/runs", json={"task": task, **body})
    assert created.status_code == 202, created.text
    run: dict[str, Any] = created.json()
    return run


def told(run: dict[str, Any]) -> Any:
    """Return what a run came to, without what is its own."""
    return {**run["result"], "artifacts": [a["sha256"] for a in run["result"]["artifacts"]]}


async def test_ten_identical_tasks_at_once_are_worked_on_once(
    product: Product, models: FakeModelServer
) -> None:
    """One set of model calls, ten equal answers; each run says whose it is, and what that saved."""
    held = models.event("held")
    models.add(
        *decisions(("coder", "One"), ("analyst", "Two")),
        worker("One", Reply(text="By the coder.", usage=TokenUsage(1000, 100)), gate="held"),
        worker("Two", Reply(text="By the analyst.")),
        composer(Reply(text="There are 3.")),
    )
    begun = await asyncio.gather(*(begin(product) for _ in range(10)))
    assert {run["status"] for run in begun} == {"queued"}
    held.set()
    runs = [await product.ended(run["id"]) for run in begun]
    assert {run["status"] for run in runs} == {"completed"}
    assert len(models.requests) == 5
    leaders = [run for run in runs if run["cache"] is None]
    followers = [run for run in runs if run["cache"] is not None]
    assert (len(leaders), len(followers)) == (1, 9)
    leader = leaders[0]
    for run in followers:
        assert told(run) == told(leader)
        assert run["cache"] == {"run_id": leader["id"], "age": 0}
        assert (run["attempt"], run["usage"]["calls"], run["usage"]["cost_usd"]) == (0, 0, "0")
        assert run["usage"]["cache_savings_usd"] == leader["usage"]["cost_usd"]
        assert await events_of(product, run) == ["run.created", "cache.hit", "run.completed"]
    usage = (await product.client.get("/v1/usage")).json()["total"]
    assert (usage["calls"], usage["cost_usd"]) == (5, leader["usage"]["cost_usd"])
    saved = sum(float(run["usage"]["cache_savings_usd"]) for run in followers)
    assert float(usage["cache_savings_usd"]) == pytest.approx(saved)


async def test_a_later_task_gets_the_answer_at_once(
    product: Product, models: FakeModelServer
) -> None:
    """It has ended when the request is answered, with the same answer and a log of its own."""
    models.add(*solo(Reply(text="There are 3.")))
    first = await product.finished(TASK)
    calls = models.counts[ALL]
    answered = await product.run(f"  {TASK}\r\n", wait=5)
    assert answered.status_code == 200
    second = answered.json()
    assert models.counts[ALL] == calls
    assert second["cache"]["run_id"] == first["id"]
    assert second["result"] == first["result"]
    assert second["started_at"] == second["ended_at"] >= first["ended_at"]
    hit = (await product.events(second["id"]))[1]
    assert hit["data"] == {
        "kind": "run",
        "run_id": first["id"],
        "age": second["cache"]["age"],
        "saved_cost_usd": first["usage"]["cost_usd"],
    }
    streamed = await product.stream(second["id"])
    assert [e["_event"] for e in streamed] == ["run.created", "cache.hit", "run.completed"]
    # What is handed on stays as old as it is.
    third = (await product.run(TASK, wait=5)).json()
    assert third["cache"]["run_id"] == first["id"]
    await product.finished("Thanks", thread_id=second["thread_id"])


@pytest.mark.parametrize(
    "other",
    [
        {"cache": False},
        {"cache": {"max_age": 0}},
        {"agents": ["coder"]},
        {"validation": "on"},
        {"approvals": {"mode": "always"}},
        {"budget": {"max_tier": "fast"}},
        {"files": [{"name": "a.txt", "content_base64": "YQ=="}]},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_another_request_is_other_work(
    product: Product, models: FakeModelServer, other: dict[str, Any]
) -> None:
    """What the answer may depend on is compared; and nobody gets an old answer who wants none."""
    models.add(*solo(Reply(text="There are 3.")))
    await product.finished(TASK)
    calls = models.counts[ALL]
    run = await product.finished(TASK, **other)
    assert run["cache"] is None
    assert models.counts[ALL] > calls


async def test_what_keeps_to_itself_is_given_to_nobody(
    product: Product, models: FakeModelServer
) -> None:
    """`false` neither takes nor gives; an age of 0 gives."""
    models.add(*solo(Reply(text="There are 3.")))
    await product.finished(TASK, cache=False)
    fresh = await product.finished(TASK, cache={"max_age": 0})
    assert fresh["cache"] is None
    assert (await product.finished(TASK))["cache"]["run_id"] == fresh["id"]


async def test_a_follow_up_is_always_worked_on(product: Product, models: FakeModelServer) -> None:
    """Its answer depends on what was said before."""
    models.add(*solo(Reply(text="There are 3.")))
    first = await product.finished(TASK)
    again = await product.finished(TASK, thread_id=first["thread_id"], cache=True)
    assert again["cache"] is None


async def test_an_answer_grows_old(
    start: Start, models: FakeModelServer, place: dict[str, Any]
) -> None:
    """Where the server says nothing a run may; an answer older than that is not given."""
    models.add(*solo(Reply(text="There are 3.")))
    async with start(models=models, cache_seconds=0, **place) as product:
        first = await product.finished(TASK, cache=True)
        assert (await product.finished(TASK))["cache"] is None
        assert (await product.finished(TASK, cache=True))["cache"]["run_id"] == first["id"]
        ended = datetime.fromisoformat(first["ended_at"])
        # Older than a second it is soon enough; nobody has to wait for it.
        age = (datetime.now(UTC) - ended).total_seconds()
        limit = max(int(age) - 1, 0)
        assert (await product.finished(TASK, cache={"max_age": limit}))["cache"] is None
        assert ended + timedelta(seconds=limit) < datetime.now(UTC)


async def test_an_answer_is_for_servers_with_the_same_tools(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """Another start knows it again; one that may search the web, or reach another host, works anew."""
    models.add(*solo(Reply(text="There are 3.")))
    given: dict[str, Any] = {
        "models": models,
        "cache_seconds": HOUR,
        "database_url": f"sqlite:///{tmp_path}/kept.db",
    }
    async with start(**given) as product:
        first = await product.finished(TASK)
    async with start(**given) as product:
        assert (await product.finished(TASK))["cache"]["run_id"] == first["id"]
    others: list[dict[str, Any]] = [{"search_keyless": True}, {"http_allow": "127.0.0.1:9"}]
    for other in others:
        async with start(**given, **other) as product:
            assert (await product.finished(TASK))["cache"] is None


async def test_what_was_not_worked_out_is_not_given(
    product: Product, models: FakeModelServer
) -> None:
    """A failed run gives nothing, and a degraded one does not."""
    models.add(
        *decisions(("coder", "One"), ("analyst", "Two")),
        worker("One", Reply(text="By the coder.")),
        Rule(
            name="down",
            when=worker("Two", Reply()).when,
            reply=Reply.error(400, message="No."),
            times=1,
        ),
        worker("Two", Reply(text="By the analyst.")),
        composer(Reply(text="There are 3.")),
    )
    degraded = await product.finished(TASK)
    assert degraded["degraded"]
    whole = await product.finished(TASK)
    assert (whole["cache"], whole["degraded"]) == (None, [])
    assert (await product.finished(TASK))["cache"]["run_id"] == whole["id"]


async def test_one_follower_takes_the_place_of_a_leader_that_fails(
    product: Product, models: FakeModelServer
) -> None:
    """And the others get its answer."""
    held = models.event("held")
    models.add(
        Rule(name="no", reply=unauthorised().reply, gate="held", times=1),
        *solo(Reply(text="There are 3.")),
    )
    begun = [await begin(product) for _ in range(4)]
    held.set()
    runs = [await product.ended(run["id"]) for run in begun]
    assert [run["status"] for run in runs] == ["failed", *["completed"] * 3]
    assert [run["cache"] and run["cache"]["run_id"] for run in runs] == [
        None,
        None,
        runs[1]["id"],
        runs[1]["id"],
    ]


async def test_one_follower_takes_the_place_of_a_leader_that_is_cancelled(
    product: Product, models: FakeModelServer
) -> None:
    """Whoever cancels a follower stops that one alone."""
    held = models.event("held")
    models.add(*solo(Reply(text="There are 3."), gate="held"))
    first, second, third, fourth = [await begin(product) for _ in range(4)]
    for run in (second, first):
        cancelled = await product.client.post(f"/v1/runs/{run['id']}/cancel", json={})
        assert cancelled.status_code == 202, cancelled.text
    held.set()
    done = await product.ended(third["id"])
    assert (done["status"], done["cache"]) == ("completed", None)
    follower = await product.ended(fourth["id"])
    assert follower["cache"]["run_id"] == third["id"]
    assert (await product.ended(second["id"]))["status"] == "cancelled"


async def test_a_run_that_asks_shares_nothing(product: Product, models: FakeModelServer) -> None:
    """Its followers do not wait for a person; and what somebody has approved is not done for others."""
    asks = Reply.calls(("ask_user", {"question": "Which coast?"}))
    held = models.event("held")
    models.add(
        *decisions(("coder", "Do it")),
        Rule(
            when=worker("Do it", Reply()).when,
            reply=asks,
            gate="held",
            times=1,
        ),
        worker("Do it", Reply(text="There are 3.")),
    )
    first, second, third = [await begin(product) for _ in range(3)]
    held.set()
    approval = await asked(product, first["id"])
    assert (await product.ended(second["id"]))["cache"] is None
    assert (await product.ended(third["id"]))["cache"]["run_id"] == second["id"]
    await decide(product, approval["id"], type="respond", message="The north.")
    assert (await product.ended(first["id"]))["status"] == "completed"
    assert (await product.finished(TASK))["cache"]["run_id"] == second["id"]


async def test_followers_hold_no_place(
    start: Start, models: FakeModelServer, place: dict[str, Any]
) -> None:
    """With two places for runs, five of one task and one of another are all answered."""
    held = models.event("held")
    models.add(
        *decisions(("coder", "Hold"), task=TASK),
        worker("Hold", Reply(text="There are 3."), gate="held"),
        *decisions(("coder", "Do it")),
        worker("Do it", Reply(text="Done.")),
    )
    settings = {"max_concurrent_runs": 2, "max_concurrent_per_key": 2, "cache_seconds": HOUR}
    async with start(models=models, **settings, **place) as product:
        begun = [await begin(product) for _ in range(5)]
        async with asyncio.timeout(SECONDS):
            other = await product.finished("Something else")
        assert other["status"] == "completed"
        held.set()
        for run in begun:
            assert (await product.ended(run["id"]))["status"] == "completed"


async def test_what_costs_nothing_is_given_at_a_days_limit(
    start: Start, models: FakeModelServer, place: dict[str, Any]
) -> None:
    """An answer that is there, and a request that was made before; only work is refused."""
    dear = replace(Reply.route(), usage=TokenUsage(40_000, 10))
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=dear, optional=True),
        *solo(Reply(text="There are 3.")),
    )
    budgets = '{"per_day": {"max_tokens": 40000}}'
    async with start(models=models, budgets=budgets, cache_seconds=HOUR, **place) as product:
        key = {"idempotency-key": "one"}
        body = {"task": TASK}
        made = await product.client.post("/v1/runs?wait=10", json=body, headers=key)
        assert made.json()["status"] == "completed", made.text
        refused = await product.client.post("/v1/runs", json={"task": "Something else"})
        assert (refused.status_code, refused.json()["code"]) == (402, "budget-exhausted")
        again = await product.client.post("/v1/runs", json=body, headers=key)
        assert again.json()["id"] == made.json()["id"]
        given = await product.client.post("/v1/runs", json=body)
        assert given.json()["cache"]["run_id"] == made.json()["id"]
        anew = await product.client.post("/v1/runs", json={**body, "cache": False})
        assert anew.status_code == 402
        listed = (await product.client.get("/v1/runs")).json()["data"]
        assert [run["id"] for run in listed] == [given.json()["id"], made.json()["id"]]


async def test_what_came_of_a_call_that_failed_is_given_to_nobody(
    product: Product, models: FakeModelServer
) -> None:
    """The tool may be there a moment later; what was mended is given."""
    missing = Reply.calls(("read_file", {"path": "no.txt"}))
    models.add(
        *decisions(("coder", "Do it")),
        turns("Do it", missing, Reply(text="There is no such file.")),
    )
    first = await product.finished(TASK)
    assert (first["status"], first["degraded"]) == ("completed", [])
    assert "tool.failed" in await events_of(product, first)
    asked_before = len(models.requests)
    second = await product.finished(TASK)
    assert second["cache"] is None
    assert len(models.requests) > asked_before
    assert "cache.hit" not in await events_of(product, second)
