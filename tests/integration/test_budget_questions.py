"""What a person may answer where a budget is reached, and what nobody may by it."""

from __future__ import annotations

import asyncio
import json
import re
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from domain.errors import ConfigurationError
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import asked, decide, decided, start_run, turns
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import SECONDS, composer, worker
from tests.integration.test_budgets import PRICES, many_turns, routes, said

ALLOW = {"unknown_prices": "allow"}


async def test_no_answer_lifts_what_the_server_allows(
    start: Start, models: FakeModelServer
) -> None:
    """Not even beside the one that the server itself wants to have."""
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    rules = {"unknown_prices": "ask", "most": {"max_cost_usd": "3", "max_tokens": 90_000}}
    async with start(models=models, budgets=json.dumps(rules)) as product:
        run_id = await start_run(product, agents=["coder"])
        approval = await asked(product, run_id)
        for more, pointer in (
            ({"max_cost_usd": "900"}, "max_cost_usd"),
            ({"max_cost_usd": None}, "max_cost_usd"),
            ({"max_tokens": 90_001}, "max_tokens"),
            ({"per_agent": {"nobody": {"max_tokens": 5}}}, "per_agent/nobody"),
        ):
            edit = {"name": "raise_budget", "args": {**ALLOW, **more}}
            refused = await decide(product, approval, type="edit", edited_action=edit)
            assert_problem(refused, "validation-error")
            assert pointers(refused.json()) == [f"/edited_action/args/{pointer}"]
        edit = {"name": "raise_budget", "args": {**ALLOW, "max_tokens": 80_000}}
        await decided(product, approval, type="edit", edited_action=edit)
        run = await product.ended(run_id)
        assert run["status"] == "completed"
        assert (run["budget"]["max_cost_usd"], run["budget"]["max_tokens"]) == ("3", 80_000)


async def test_an_agent_with_money_of_its_own_asks_about_prices(
    start: Start, models: FakeModelServer
) -> None:
    """What is answered holds for the run; a no ends the work of that agent alone."""
    models.add(
        *routes(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", said("It is done.")),
        worker("Count it", said("There are five.")),
    )
    async with start(models=models) as product:
        budget = {"unknown_prices": "ask", "per_agent": {"coder": {"max_cost_usd": "1"}}}
        run_id = await start_run(product, agents=["coder"], budget=budget)
        approval = await asked(product, run_id)
        assert approval["action"]["args"] == ALLOW
        assert "agent coder has a limit in money (1 USD)" in approval["description"]
        edit = {"name": "raise_budget", "args": {"per_agent": {"coder": {"max_cost_usd": "2"}}}}
        refused = await decide(product, approval, type="edit", edited_action=edit)
        assert pointers(refused.json()) == ["/edited_action/args"]
        edit = {"name": "raise_budget", "args": ALLOW}
        await decided(product, approval, type="edit", edited_action=edit)
        assert (await product.ended(run_id))["status"] == "completed"

        run_id = await start_run(product, budget=budget)
        await decided(product, await asked(product, run_id), type="reject")
        run = await product.ended(run_id)
        assert run["status"] == "completed"
        assert run["result"]["output"].startswith("There are five.")
        assert [part["agent"] for part in run["degraded"]] == ["coder"]


async def test_what_was_raised_and_lowered_again_asks_again(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """An answer counts once: it does not carry the run round and round."""
    first, then = (turns("Do it", *many_turns(), gate=gate) for gate in (None, "lowered"))
    first.times = 2
    models.add(*routes(("coder", "Do it")), first, then)
    gate = models.event("lowered")
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    async with start(models=models, prices=prices, model_max_output=1000) as product:
        run_id = await start_run(product, agents=["coder"], budget={"max_tokens": 6_000})
        before = await asked(product, run_id)
        edit = {"name": "raise_budget", "args": {"max_tokens": 7_000}}
        await decided(product, before, type="edit", edited_action=edit)
        # One call fits, and is under way, when the limit is again what it was.
        lower = {"budget": {"max_tokens": 6_000}}
        patched = await product.client.patch(f"/v1/runs/{run_id}", json=lower)
        assert patched.status_code == 200
        gate.set()
        run = (await product.client.get(f"/v1/runs/{run_id}?wait=5")).json()
        if run["status"] == "running":
            await product.client.post(f"/v1/runs/{run_id}/cancel")
        approval = await asked(product, run_id)
        assert approval["id"] != before["id"]
        assert approval["action"] == before["action"]
        await decided(product, approval, type="reject")
        run = await product.ended(run_id)
        assert (run["stop_reason"], run["budget"]["max_tokens"]) == ("budget", 6_000)
        told = [event["type"] for event in await product.events(run_id)]
        assert told.count("budget.reached") == told.count("approval.requested") == 2


async def test_the_form_of_an_answer_is_what_may_be_sent(
    start: Start, models: FakeModelServer
) -> None:
    """A client that checks by it can send cents."""
    async with start(models=models) as product:
        run_id = await start_run(product, agents=["coder"], budget={"max_tokens": 600})
        approval = await asked(product, run_id)
        schema = approval["response_schema"]
        for amount, fits in (("0.50", True), ("12", True), ("1.5e3", False), ("0x50", False)):
            answer = {
                "type": "edit",
                "edited_action": {"name": "raise_budget", "args": {"max_cost_usd": amount}},
            }
            assert Draft202012Validator(schema).is_valid(answer) is fits, amount


async def test_names_that_are_no_text_are_refused(start: Start, models: FakeModelServer) -> None:
    """Wherever limits are set."""
    half = json.loads('"\\ud800"')
    async with start(models=models) as product:
        run_id = await start_run(product, agents=["coder"], budget={"max_tokens": 600})
        approval = await asked(product, run_id)
        limits = {"per_agent": {half: {"max_tokens": 5}}}
        edit = {"name": "raise_budget", "args": limits}
        for method, url, body in (
            ("POST", "/v1/runs", {"task": "Do it", "budget": limits}),
            ("PATCH", f"/v1/runs/{run_id}", {"budget": limits}),
            (
                "POST",
                f"/v1/approvals/{approval['id']}/decision",
                {"type": "edit", "edited_action": edit},
            ),
            (
                "POST",
                f"/v1/approvals/{approval['id']}/decision",
                {"type": "edit", "edited_action": {"name": "raise_budget", "args": {half: 5}}},
            ),
        ):
            sent = json.dumps(body).encode()
            headers = {"content-type": "application/json"}
            refused = await product.client.request(method, url, content=sent, headers=headers)
            assert_problem(refused, "validation-error")


async def test_a_day_is_shared_by_runs_that_overlap(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """What is only set aside for others is waited for: it comes to far less than it may."""
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    rules = {"per_day": {"max_tokens": 40_000}}
    async with start(models=models, budgets=json.dumps(rules), model_max_output=1000) as product:
        many = [start_run(product, agents=["coder"]) for _ in range(6)]
        runs = [await product.ended(run_id) for run_id in await asyncio.gather(*many)]
        # 4,500 tokens each, and up to ten times as many set aside.
        assert [run["status"] for run in runs] == ["completed"] * 6
        assert sum(run["budget"]["spent"]["tokens"] for run in runs) == 6 * 4_500
        more = [start_run(product, agents=["coder"]) for _ in range(6)]
        runs = [await product.ended(run_id) for run_id in await asyncio.gather(*more)]
        assert "failed" in {run["status"] for run in runs}
        used = sum(usage.input_tokens + usage.output_tokens for _, usage in models.bills)
        assert 6 * 4_500 < used <= 40_000


async def test_a_day_in_tokens_holds_where_they_are_free(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """What costs nothing is set aside all the same, or runs at once would all see the same room."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai:*: {input: 0, output: 0}\n")
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    rules = {"per_day": {"max_tokens": 20_000}}
    settings: dict[str, Any] = {"budgets": json.dumps(rules), "prices": prices}
    async with start(models=models, model_max_output=1000, **settings) as product:
        many = [start_run(product, agents=["coder"]) for _ in range(12)]
        for run_id in await asyncio.gather(*many):
            await product.ended(run_id)
        used = sum(usage.input_tokens + usage.output_tokens for _, usage in models.bills)
        assert 4_500 <= used <= 20_000


async def test_no_answer_in_time_keeps_what_there_is(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """Also on a server where other questions that nobody answers end their run."""
    models.add(
        *routes(("coder", "Do it"), ("analyst", "Count it")),
        turns("Do it", *many_turns()),
        worker("Count it", said("There are five.")),
    )
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    settings: dict[str, Any] = {"approval_seconds": 1, "approval_on_expiry": "fail"}
    async with start(models=models, prices=prices, model_max_output=1000, **settings) as product:
        budget = {"max_cost_usd": "0.04", "per_agent": {"coder": {"max_cost_usd": "0.04"}}}
        run_id = await start_run(product, budget=budget)
        async with asyncio.timeout(SECONDS):
            while not (run := await product_run(product, run_id))["ended_at"]:
                pass
    assert (run["status"], run["stop_reason"]) == ("incomplete", "budget")
    assert "There are five." in run["result"]["output"]


async def product_run(product: Product, run_id: str) -> dict[str, Any]:
    run: dict[str, Any] = (await product.client.get(f"/v1/runs/{run_id}")).json()
    return run


async def test_sums_are_exact(start: Start, models: FakeModelServer, tmp_path: Path) -> None:
    """However many digits a price has."""
    prices = tmp_path / "prices.yaml"
    rate = "123.1234567890123456789012345678901234567"
    prices.write_text(f'openai:*: {{input: "{rate}", output: 0}}\n')
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    async with start(models=models, prices=prices) as product:
        run = await product.finished("Do it", agents=["coder"])
        total = (await product.client.get("/v1/usage")).json()["total"]
    exact = Context(prec=60).multiply(Decimal(rate), Decimal(run["usage"]["input_tokens"]))
    assert Decimal(run["usage"]["cost_usd"]) == exact.scaleb(-6, Context(prec=60))
    assert total["cost_usd"] == run["usage"]["cost_usd"]


@pytest.mark.parametrize("mode", ["policy", "never"])
async def test_a_check_that_may_not_be_paid_is_made_by_rule(
    start: Start, models: FakeModelServer, mode: str
) -> None:
    """A no to the validator's own limit ends its work alone: the answer is written all the same."""
    models.add(
        *routes(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", said("It is done.")),
        worker("Count it", said("There are five.")),
        composer(said("It is done, and there are five.")),
    )
    async with start(models=models, validation="on") as product:
        budget = {"per_agent": {"validator": {"max_tokens": 600}}}
        run_id = await start_run(product, approvals={"mode": mode}, budget=budget)
        if mode == "policy":
            approval = await asked(product, run_id)
            assert approval["agent"] == "validator"
            await decided(product, approval, type="reject")
        run = await product.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("completed", "done")
    assert run["result"]["output"].startswith("It is done, and there are five.")
    [missing] = run["degraded"]
    assert missing["agent"] == "validator"
    assert missing["reason"].startswith(
        "the results were checked by rule alone: The agent validator"
    )


async def test_limits_in_money_are_written_as_people_do(
    start: Start, models: FakeModelServer
) -> None:
    """In every place the same, without an exponent."""
    async with start(models=models) as product:
        for sent, shown in (
            *(("1e3", "1000"), ("0.0000001", "0.0000001"), ("0.50", "0.5")),
            *((0.1 + 0.2, "0.3"), (1_000_000.0, "1000000"), ("1000000", "1000000")),
        ):
            budget = {"max_cost_usd": sent, "unknown_prices": "deny"}
            run = await product.finished("Do it", agents=["coder"], budget=budget)
            assert run["budget"]["max_cost_usd"] == run["budget"]["remaining"]["cost_usd"] == shown


async def test_a_day_in_money_looks_at_unknown_prices(
    start: Start, models: FakeModelServer
) -> None:
    """A server that is strict about them is so, too, where no run has a limit of its own."""
    models.add(*routes(("coder", "Do it")), worker("Do it", said("It is done.")))
    day = {"max_cost_usd": "5"}
    for policy in ("allow", "ask", "deny"):
        rules = json.dumps({"unknown_prices": policy, "per_day": day})
        async with start(models=models, budgets=rules) as product:
            before = len(models.requests)
            run_id = await start_run(product, agents=["coder"])
            if policy == "ask":
                approval = await asked(product, run_id)
                assert "limit in money for each day" in approval["description"]
                edit = {"name": "raise_budget", "args": ALLOW}
                await decided(product, approval, type="edit", edited_action=edit)
            run = await product.ended(run_id)
            assert run["status"] == ("failed" if policy == "deny" else "completed")
            assert (len(models.requests) == before) is (policy == "deny")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            {"default": {"max_tokens": 9}, "most": {"max_tokens": 8}},
            "default.max_tokens: 9 is more than this server allows",
        ),
        (
            {"default": {"unknown_prices": "allow"}, "unknown_prices": "deny"},
            "default.unknown_prices: 'allow' is less strict",
        ),
        ({"most": {"per_agent": {"coder": {"max_tokens": 8}}}}, "most has per_agent"),
        ({"most": {"unknown_prices": "deny"}}, "most has unknown_prices"),
    ],
)
async def test_rules_that_do_not_agree_stop_the_start(
    start: Start, rules: dict[str, Any], told: str
) -> None:
    """Or every run that says nothing would have more than any run may."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        async with start(budgets=json.dumps(rules)):
            pass
