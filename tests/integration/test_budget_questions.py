"""What a person may answer where a budget is reached, and what nobody may by it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.model_server import FakeModelServer
from tests.integration.conftest import Start
from tests.integration.people import asked, decide, decided, start_run, turns
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import worker
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
