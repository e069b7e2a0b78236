"""What providers say that a call used, and what the ledger makes of it where that cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes.model_script import Reply, TokenUsage
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, start_run, turns
from tests.integration.team_script import worker
from tests.integration.test_budgets import PRICES, USED, many_turns, routes


@pytest.fixture
async def priced(start: Start, models: FakeModelServer, tmp_path: Path) -> AsyncIterator[Product]:
    """Run the product with a model whose price is known."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    async with start(models=models, prices=prices, model_max_output=1000) as running_product:
        yield running_product


@pytest.mark.parametrize(
    "told", [TokenUsage(0, 0), TokenUsage(-5, -7), TokenUsage(0, 9), TokenUsage(9, 0)], ids=str
)
async def test_a_server_that_does_not_count_works_not_for_nothing(
    priced: Product, models: FakeModelServer, told: TokenUsage
) -> None:
    """What cannot be was not told: its price is unknown, and the most it can be counts."""
    models.add(*routes(("coder", "Do it")), worker("Do it", Reply(text="Done.", usage=told)))
    run_id = await start_run(priced, agents=["coder"])
    run = await priced.ended(run_id)
    coder = run["usage"]["by_agent"]["coder"]
    assert (coder["calls"], coder["unmetered_calls"]) == (1, 1)
    assert (coder["cost_usd"], coder["cost_known"]) == (None, False)
    assert (coder["input_tokens"], coder["output_tokens"]) == (0, 0)
    total = (await priced.client.get("/v1/usage")).json()["total"]
    assert (total["cost_usd"], total["unmetered_calls"]) == (None, 1)


async def test_a_limit_holds_where_nobody_counts(priced: Product, models: FakeModelServer) -> None:
    """Or the run would go on for as long as its model likes."""
    uncounted = [
        Reply(text=each.text, tool_calls=each.tool_calls, usage=TokenUsage(0, 0))
        for each in many_turns()
    ]
    models.add(*routes(("coder", "Do it")), turns("Do it", *uncounted))
    run_id = await start_run(priced, agents=["coder"], budget={"max_tokens": 12_000})
    await decided(priced, await asked(priced, run_id), type="reject")
    run = await priced.ended(run_id)
    assert run["stop_reason"] == "budget"
    assert 6_000 < run["budget"]["spent"]["tokens"] <= 12_000


async def test_a_count_in_each_part_counts_once(priced: Product, models: FakeModelServer) -> None:
    """It says what was used until then, and is no part of a sum."""
    reply = Reply(text="It is done, all of it.", usage=USED, recounted=True)
    models.add(*routes(("coder", "Do it")), worker("Do it", reply))
    run = await priced.finished("Do it", agents=["coder"])
    coder = run["usage"]["by_agent"]["coder"]
    assert run["result"]["output"] == "It is done, all of it."
    assert (coder["input_tokens"], coder["output_tokens"]) == tuple(USED[:2])
    assert Decimal(coder["cost_usd"]) == Decimal("0.007")


async def test_half_an_answer_is_none_though_it_was_counted(
    priced: Product, models: FakeModelServer
) -> None:
    """A stream that broke off is made again, and the lost one counts as the most it can have been."""
    cut = Reply(text="It is done, all of it.", usage=USED, recounted=True, fault="truncate")
    models.add(
        *routes(("coder", "Do it")),
        worker("Do it", cut, times=1),
        worker("Do it", Reply(text="It is done, all of it.", usage=USED)),
    )
    run = await priced.finished("Do it", agents=["coder"])
    assert run["result"]["output"] == "It is done, all of it."
    coder = run["usage"]["by_agent"]["coder"]
    assert (coder["calls"], coder["unmetered_calls"]) == (2, 1)


async def test_no_more_was_cached_than_was_read(priced: Product, models: FakeModelServer) -> None:
    told = TokenUsage(1_000, 500, cached_tokens=9_000)
    models.add(*routes(("coder", "Do it")), worker("Do it", Reply(text="Done.", usage=told)))
    run = await priced.finished("Do it", agents=["coder"])
    coder = run["usage"]["by_agent"]["coder"]
    assert (coder["input_tokens"], coder["cached_tokens"]) == (1_000, 1_000)
    assert Decimal(coder["cost_usd"]) == Decimal("0.0055")
