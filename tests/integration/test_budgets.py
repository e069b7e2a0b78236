"""What a run may spend: reserved before each call, told at the mark, asked once at the cap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import (
    asked,
    decide,
    decided,
    pending,
    seen_pending,
    start_run,
    turns,
    waiting,
)
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import composer, decisions, worker

USED = TokenUsage(1_000, 500)
"""What most scripted answers use."""

PRICES = 'openai:*: {input: "2", output: "10", cached: "0.5"}\n'
"""A call as above costs 0.007 USD."""

LIST: tuple[str, dict[str, Any]] = ("list_files", {})


def said(text: str = "", **more: Any) -> Reply:
    """Return an answer that uses what is usual."""
    return Reply(text=text, usage=USED, **more)


def step() -> Reply:
    """Return a turn in which an agent only looks at its files."""
    return Reply(tool_calls=Reply.calls(LIST).tool_calls, usage=USED)


def routes(*assignments: tuple[str, str]) -> list[Rule]:
    """Return the decisions of a supervisor whose calls use what is usual."""
    rules = decisions(*assignments)
    for rule in rules:
        assert isinstance(rule.reply, Reply)
        rule.reply = Reply(text=rule.reply.text, usage=USED)
    return rules


@pytest.fixture
async def priced(start: Start, models: FakeModelServer, tmp_path: Path) -> AsyncIterator[Product]:
    """Run the product with a model whose price is known."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    async with start(models=models, prices=prices, model_max_output=1000) as running_product:
        yield running_product


def many_turns(count: int = 40) -> list[Reply]:
    """Return the turns of an agent that takes its time."""
    return [*[step()] * count, said("It is done.")]


async def types_of(product: Product, run_id: str) -> list[str]:
    return [event["type"] for event in await product.events(run_id)]


async def test_a_raise_lets_the_run_go_on(priced: Product, models: FakeModelServer) -> None:
    """With what its agent had done, and nothing of it is called again."""
    models.add(*routes(("coder", "Do it")), turns("Do it", step(), step(), said("It is done.")))
    run_id = await start_run(priced, agents=["coder"], budget={"max_tokens": 6_000})
    approval = await asked(priced, run_id)
    run = await waiting(priced, run_id)
    assert run["required_action"]["type"] == approval["type"] == "budget"
    assert approval["allowed_decisions"] == ["edit", "reject"]
    assert approval["action"] == {"name": "raise_budget", "args": {"max_tokens": 6_000}}
    assert "6,000 tokens" in approval["description"]
    before = len(models.requests)
    edit = {"name": "raise_budget", "args": {"max_tokens": 100_000}}
    await decided(priced, approval, type="edit", edited_action=edit)
    run = await priced.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("completed", "done")
    assert run["result"]["output"] == "It is done."
    assert run["budget"]["max_tokens"] == 100_000
    assert (
        run["budget"]["spent"]["tokens"]
        == run["usage"]["input_tokens"] + run["usage"]["output_tokens"]
    )
    assert before < len(models.requests) == 5
    told = await types_of(priced, run_id)
    assert told.count("budget.reached") == told.count("approval.requested") == 1
    assert told.count("agent.started") == told.count("agent.completed") == 1


async def test_what_there_is_becomes_the_answer(priced: Product, models: FakeModelServer) -> None:
    """After a no the run ends without another call, and names what is missing."""
    models.add(
        *routes(("coder", "Do it"), ("analyst", "Count it")),
        turns("Do it", *many_turns()),
        worker("Count it", said("There are five.")),
        composer(said("never asked for")),
    )
    budget = {"max_cost_usd": "0.04", "per_agent": {"coder": {"max_cost_usd": "0.04"}}}
    run_id = await start_run(priced, budget=budget)
    approval = await asked(priced, run_id)
    before = len(models.requests)
    await decided(priced, approval, type="reject")
    run = await priced.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "budget")
    assert "There are five." in run["result"]["output"]
    assert {part["agent"] for part in run["degraded"]} >= {"coder", "supervisor"}
    assert len(models.requests) == before
    assert Decimal(run["usage"]["cost_usd"]) <= Decimal("0.04")


async def test_a_whole_number_is_one_however_it_is_written(product: Product) -> None:
    """JSON knows one kind of number: 3.0 is the integer 3."""
    body = {"task": "What is 6 * 7?", "budget": {"max_tokens": 90000.0, "max_rounds": 3.0}}
    created = await product.client.post("/v1/runs", json={**body, "cache": {"max_age": 60.0}})
    assert created.status_code == 202, created.text
    budget = created.json()["budget"]
    assert (budget["max_tokens"], budget["max_rounds"]) == (90000, 3)


async def test_three_at_the_cap_ask_once(priced: Product, models: FakeModelServer) -> None:
    """Whoever comes last waits for the others to be settled first."""
    models.add(
        *routes(("coder", "A"), ("analyst", "B"), ("researcher", "C")),
        *(turns(task, *many_turns()) for task in "ABC"),
        composer(said("All of it.")),
    )
    run_id = await start_run(priced, budget={"max_tokens": 20_000})
    run = await waiting(priced, run_id)
    [approval] = await pending(priced, run_id)
    assert run["required_action"] == {"type": "budget", "approval_ids": [approval["id"]]}
    assert approval["action"]["args"] == {"max_tokens": 20_000}
    assert run["budget"]["spent"]["tokens"] <= 20_000
    types = await types_of(priced, run_id)
    assert types.count("budget.warning") == types.count("budget.reached") == 1
    assert (await priced.client.post(f"/v1/runs/{run_id}/cancel")).status_code == 202


async def test_a_patch_raises_it_too(priced: Product, models: FakeModelServer) -> None:
    """And is on the record as a decision."""
    models.add(*routes(("coder", "Do it")), turns("Do it", step(), step(), said("It is done.")))
    run_id = await start_run(priced, agents=["coder"], budget={"max_tokens": 6_000})
    approval = await asked(priced, run_id)
    url = f"/v1/runs/{run_id}"
    low = await priced.client.patch(url, json={"budget": {"max_seconds": 600}})
    assert low.json()["status"] == "requires_action"
    done = await priced.client.patch(
        url, json={"budget": {"max_tokens": 90_000}, "metadata": {"a": 1}}
    )
    assert (done.status_code, done.json()["metadata"]) == (200, {"a": 1})
    run = await priced.ended(run_id)
    assert (run["status"], run["budget"]["max_seconds"]) == ("completed", 600)
    found = (await priced.client.get(f"/v1/approvals/{approval['id']}")).json()
    assert found["status"] == "resolved"
    assert found["decision"]["edited_action"]["args"] == {"max_tokens": 90_000}
    late = await priced.client.patch(url, json={"budget": {"max_tokens": 95_000}})
    assert_problem(late, "run-terminal")
    noted = await priced.client.patch(url, json={"metadata": {}})
    assert (noted.status_code, noted.json()["metadata"]) == (200, {})


async def test_the_supervisor_asks_as_well(priced: Product, models: FakeModelServer) -> None:
    """Whose call it is makes no difference: here the first decision does not fit."""
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    run_id = await start_run(priced, budget={"max_tokens": 600})
    approval = await asked(priced, run_id)
    assert not models.requests
    edit = {"name": "raise_budget", "args": {"max_tokens": 200_000}}
    await decided(priced, approval, type="edit", edited_action=edit)
    run = await priced.ended(run_id)
    assert (run["status"], run["result"]["output"]) == ("completed", "It is done.")


async def test_a_run_that_could_pay_for_nothing_fails(
    priced: Product, models: FakeModelServer
) -> None:
    run_id = await start_run(priced, budget={"max_tokens": 600})
    await decided(priced, await asked(priced, run_id), type="reject")
    run = await priced.ended(run_id)
    assert (run["status"], run["stop_reason"], run["error"]["code"]) == (
        "failed",
        "budget",
        "agents-failed",
    )
    assert "budget is reached" in run["error"]["detail"]
    assert not models.requests


async def test_nobody_is_asked_where_nobody_is_to_be(
    priced: Product, models: FakeModelServer
) -> None:
    """`approvals.mode: never` finishes with what there is at once."""
    models.add(
        *routes(("analyst", "Count it"), ("coder", "Do it")),
        turns("Do it", *many_turns()),
        worker("Count it", said("There are five.")),
    )
    budget = {"max_cost_usd": "0.04", "per_agent": {"coder": {"max_cost_usd": "0.04"}}}
    run_id = await start_run(priced, approvals={"mode": "never"}, budget=budget)
    run = await priced.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "budget")
    assert not await pending(priced, run_id)


async def test_one_agent_has_a_limit_of_its_own(priced: Product, models: FakeModelServer) -> None:
    """After a no it is missing from the answer, and the others have gone on."""
    models.add(
        *routes(("coder", "Do it"), ("analyst", "Count it")),
        turns("Do it", *many_turns()),
        worker("Count it", said("There are five.")),
    )
    run_id = await start_run(priced, budget={"per_agent": {"coder": {"max_tokens": 6_000}}})
    approval = await asked(priced, run_id)
    assert approval["agent"] == "coder"
    assert approval["action"]["args"] == {"per_agent": {"coder": {"max_tokens": 6_000}}}
    await decided(priced, approval, type="reject")
    run = await priced.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("completed", "done")
    [missing] = run["degraded"]
    assert missing["agent"] == "coder"
    assert run["usage"]["by_agent"]["coder"]["input_tokens"] <= 6_000


async def test_what_was_tried_before_a_raise_is_booked_beside_what_is_tried_after(
    priced: Product, models: FakeModelServer
) -> None:
    """Also where the raise comes while others work, so that the run goes on in the same claim."""
    gate = models.event("work")
    bad = Reply(text="Some words here", fault="empty", usage=TokenUsage(1_000, 900))
    models.add(
        *routes(("coder", "Do it"), ("analyst", "Count it")),
        Rule(when=When(schema=False, user="<assignment>\\nDo it\\n"), reply=bad, times=1),
        worker("Do it", said("It is done.")),
        worker("Count it", said("There are five."), gate="work"),
        composer(said("All of it.")),
    )
    run_id = await start_run(priced, budget={"per_agent": {"coder": {"max_tokens": 4_000}}})
    [approval] = await seen_pending(priced, run_id, 1)
    edit = {"name": "raise_budget", "args": {"per_agent": {"coder": {"max_tokens": 90_000}}}}
    await decided(priced, approval, type="edit", edited_action=edit)
    gate.set()
    run = await priced.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 1)
    coder = run["usage"]["by_agent"]["coder"]
    assert (coder["calls"], coder["input_tokens"], coder["output_tokens"]) == (2, 2_000, 1_400)


async def test_no_agent_takes_more_than_half(priced: Product, models: FakeModelServer) -> None:
    """Unless it is alone, or the run says otherwise."""
    models.add(*routes(("coder", "Do it")), turns("Do it", *many_turns()))
    run_id = await start_run(priced, budget={"max_tokens": 14_000})
    approval = await asked(priced, run_id)
    assert approval["action"]["args"] == {"per_agent": {"coder": {"max_tokens": 7_000}}}
    await priced.client.post(f"/v1/runs/{run_id}/cancel")


async def test_an_answer_shrinks_to_what_fits(priced: Product, models: FakeModelServer) -> None:
    """Near the cap a call may answer with less, and is made all the same."""
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    spent = await start_run(priced, agents=["coder"], budget={"max_tokens": 1_000_000})
    await priced.ended(spent)
    [prompt] = [r for r in models.requests if r.schema is None]
    most = prompt.body["max_completion_tokens"]
    assert most == 1_000
    run_id = await start_run(priced, agents=["coder"], budget={"max_tokens": 6_000})
    run = await waiting_or_ended(priced, run_id)
    asked_for = [r.body["max_completion_tokens"] for r in models.requests]
    assert min(asked_for) >= 512
    assert run["budget"]["spent"]["tokens"] <= 6_000


async def waiting_or_ended(product: Product, run_id: str) -> dict[str, Any]:
    run: dict[str, Any] = (await product.client.get(f"/v1/runs/{run_id}?wait=20")).json()
    return run


OUTSIDE = """
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from domain.agent import AgentSpec


async def think(state):
    usage = {"input_tokens": 40_000, "output_tokens": 2_000, "total_tokens": 42_000}
    return {"messages": [AIMessage("I have thought.", usage_metadata=usage)]}


graph = StateGraph(MessagesState)
graph.add_node("think", think)
graph.add_edge(START, "think")
graph.add_edge("think", END)
AGENT = AgentSpec(name="thinker", description="Thinks for long.", graph=graph.compile())
"""


async def test_what_an_outside_graph_has_spent_counts(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """Nobody could hold it back; the next call of ours asks."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "thinker.py").write_text(OUTSIDE)
    models.add(*routes(("thinker", "Think")))
    async with start(models=models, agents=str(folder)) as product:
        run_id = await start_run(product, budget={"max_tokens": 40_000})
        approval = await asked(product, run_id)
        assert approval["action"]["args"] == {"max_tokens": 40_000}
        await decided(product, approval, type="reject")
        run = await product.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "budget")
    assert run["result"]["output"].startswith("I have thought.")


async def test_an_edit_that_raises_nothing_is_refused(
    priced: Product, models: FakeModelServer
) -> None:
    """And the question stays."""
    models.add(*routes(("coder", "Do it")), turns("Do it", *many_turns()))
    run_id = await start_run(priced, agents=["coder"], budget={"max_tokens": 6_000})
    approval = await asked(priced, run_id)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"name": "raise_budget", "args": {"max_tokens": 6_000}}, "/edited_action/args"),
        ({"name": "raise_budget", "args": {"max_cost_usd": "5"}}, "/edited_action/args"),
        ({"name": "raise_budget", "args": {}}, "/edited_action/args"),
        (
            {"name": "raise_budget", "args": {"max_tokens": "many"}},
            "/edited_action/args/max_tokens",
        ),
        ({"name": "raise_budget", "args": {"max_seconds": 3}}, "/edited_action/args/max_seconds"),
        ({"name": "other", "args": {"max_tokens": 9_000}}, "/edited_action/name"),
    ]
    for edit, pointer in bad:
        refused = await decide(priced, approval, type="edit", edited_action=edit)
        assert_problem(refused, "validation-error")
        assert pointers(refused.json()) == [pointer], edit
    wrong = await decide(priced, approval, type="approve")
    assert_problem(wrong, "validation-error")
    assert (await asked(priced, run_id))["status"] == "pending"
    await priced.client.post(f"/v1/runs/{run_id}/cancel")


async def test_time_ends_a_run_with_the_best_there_is(
    start: Start, models: FakeModelServer
) -> None:
    """The agent that is slow is stopped, the one that has ended counts."""
    models.event("never")
    models.add(
        *routes(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", said("too late"), gate="never"),
        worker("Count it", said("There are five.")),
    )
    async with start(models=models) as product:
        run_id = await start_run(product, budget={"max_seconds": 1.5})
        run = await product.ended(run_id)
        assert (run["status"], run["stop_reason"]) == ("incomplete", "deadline")
        assert run["result"]["output"].startswith("There are five.")
        [missing] = [part for part in run["degraded"] if part["agent"] == "coder"]
        assert "time was over" in missing["reason"]
        assert run["budget"]["remaining"]["seconds"] == 0


async def test_time_that_leaves_nothing_fails(start: Start, models: FakeModelServer) -> None:
    models.event("never")
    models.add(Rule(when=When(schema=True), reply=Reply.route(), gate="never"))
    async with start(models=models) as product:
        answer = await product.run("Do it", budget={"max_seconds": 0.5})
        assert_problem(answer, "deadline-exceeded")
        run = answer.json()["run"]
        assert (run["status"], run["stop_reason"]) == ("failed", "deadline")


@pytest.mark.parametrize("policy", ["allow", "ask", "deny"])
async def test_an_unknown_price(start: Start, models: FakeModelServer, policy: str) -> None:
    """Looked at only where an amount of money is the limit."""
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    async with start(models=models) as product:
        budget = {"max_cost_usd": "1", "unknown_prices": policy}
        run_id = await start_run(product, budget=budget)
        if policy == "ask":
            approval = await asked(product, run_id)
            assert approval["action"]["args"] == {"unknown_prices": "allow"}
            edit = {"name": "raise_budget", "args": {"unknown_prices": "allow"}}
            await decided(product, approval, type="edit", edited_action=edit)
        run = await product.ended(run_id)
        assert run["status"] == ("failed" if policy == "deny" else "completed")
        assert run["usage"]["cost_known"] is (policy == "deny")
        free = await start_run(product, budget={"unknown_prices": policy})
        assert (await product.ended(free))["status"] == "completed"


async def test_what_the_server_allows(start: Start, models: FakeModelServer) -> None:
    """Defaults where a run says nothing, and what it may not ask for."""
    rules = {
        "default": {"max_tokens": 50_000},
        "most": {"max_tokens": 80_000, "max_cost_usd": "3", "max_tier": "standard"},
        "unknown_prices": "ask",
    }
    async with start(models=models, budgets=json.dumps(rules)) as product:
        models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
        run_id = await start_run(product)
        budget = (await product.client.get(f"/v1/runs/{run_id}")).json()["budget"]
        assert budget["max_tokens"] == 50_000
        assert Decimal(budget["max_cost_usd"]) == 3
        assert budget["max_tier"] == "standard"
        for asked_for, pointer in (
            ({"max_tokens": 80_001}, "/budget/max_tokens"),
            ({"max_tokens": None}, "/budget/max_tokens"),
            ({"max_tier": None}, "/budget/max_tier"),
            ({"unknown_prices": None}, "/budget/unknown_prices"),
            ({"max_tier": "deep"}, "/budget/max_tier"),
            ({"unknown_prices": "allow"}, "/budget/unknown_prices"),
            ({"per_agent": {"nobody": {"max_tokens": 5}}}, "/budget/per_agent/nobody"),
        ):
            body = {"task": "Do it", "budget": asked_for}
            refused = await product.client.post("/v1/runs", json=body)
            assert_problem(refused, "validation-error")
            assert pointers(refused.json()) == [pointer]
            patched = await product.client.patch(f"/v1/runs/{run_id}", json={"budget": asked_for})
            assert pointers(patched.json()) == [pointer]


async def test_a_day_has_a_limit(start: Start, models: FakeModelServer) -> None:
    """Of all runs together: the next one is not accepted."""
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    rules = {"per_day": {"max_tokens": 20_000}}
    async with start(models=models, budgets=json.dumps(rules), model_max_output=1000) as product:
        while True:
            created = await product.client.post("/v1/runs?wait=10", json={"task": "Do it"})
            if created.status_code != 200 or created.json()["status"] != "completed":
                break
        if created.status_code == 200:
            assert created.json()["stop_reason"] == "budget"
            created = await product.client.post("/v1/runs", json={"task": "Do it"})
        if created.status_code == 502:
            assert created.json()["run"]["stop_reason"] == "budget", created.json()["detail"]
