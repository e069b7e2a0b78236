"""What the ledger says, beside what a provider would bill: random runs with faults, caps and cancellations."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.billing import PRICES, Provider, bills_of, budget, check, raised, task_of
from tests.fakes.model_script import Rule
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import decide, pending

AT_ONCE: Final = 6
MANY: Final = 166, 167, 168
"""Runs of each of the long tests, 501 together; the number is the seed too."""


async def lead(product: Product, number: int, seed: int) -> dict[str, Any]:
    """Bring one run to its end: answer what it asks, and now and then cancel it."""
    chance = random.Random(seed * 100_003 + number)
    body = {"task": task_of(number), "budget": budget(chance)}
    run: dict[str, Any] = (await product.client.post("/v1/runs", json=body)).json()
    url = f"/v1/runs/{run['id']}"
    if chance.random() < 0.15:
        wanted = chance.randrange(2, 12)
        async with asyncio.timeout(60):
            # One that waits for a person writes nothing more: it is cancelled as it waits.
            while (seen := (await product.client.get(url)).json())["last_seq"] < wanted:
                if seen["ended_at"] or seen["status"] == "requires_action":
                    break
        await product.client.post(f"{url}/cancel")
    for _ in range(60):
        run = (await product.client.get(f"{url}?wait=20")).json()
        if run["ended_at"]:
            return run
        for approval in await pending(product, run["id"]):
            await answer(product, approval, chance)
    msg = f"the run does not end: {run}"
    raise AssertionError(msg)


async def answer(product: Product, approval: dict[str, Any], chance: random.Random) -> None:
    """Raise what was reached by a half, or finish."""
    assert approval["type"] == "budget"
    if chance.random() < 0.4:
        await decide(product, approval, type="reject")
        return
    edit = {"name": "raise_budget", "args": raised(approval["action"]["args"])}
    await decide(product, approval, type="edit", edited_action=edit)


@pytest.mark.parametrize(
    "runs",
    [25, *(pytest.param(n, marks=[pytest.mark.slow, pytest.mark.timeout(240)]) for n in MANY)],
)
async def test_the_ledger_is_the_bill(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    """Whatever fails, is cut off, capped or cancelled; and what was set aside is never exceeded."""
    seed = runs
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    async with FakeModelServer(Rule(reply=Provider(seed))) as models:
        settings: dict[str, Any] = {
            "prices": prices,
            "model_max_output": 900,
            "database_url": f"sqlite:///{tmp_path}/runs.db",
        }
        async with start(models=models, **settings) as product:
            monkeypatch.setattr(product.services.gateway, "first_delay_seconds", 0.0)
            slots = asyncio.Semaphore(AT_ONCE)

            async def one(number: int) -> dict[str, Any]:
                async with slots:
                    return await lead(product, number, seed)

            ended = await asyncio.gather(*(one(number) for number in range(runs)))
        # What was cut off by a cancellation is booked a moment later: a stop waits for that.
        async with start(models=models, **settings) as product:
            ended = [(await product.client.get(f"/v1/runs/{r['id']}")).json() for r in ended]
            sums = (await product.client.get("/v1/usage?group_by=agent")).json()
    bills = bills_of(models.bills)
    for number, run in enumerate(ended):
        check(run, bills[number])
    for name in ("input_tokens", "output_tokens", "calls"):
        assert sums["total"][name] == sum(run["usage"][name] for run in ended)
    if runs in MANY:
        # Chance has had its way: all that was to be seen was there.
        assert {run["status"] for run in ended} == {
            "completed",
            "incomplete",
            "failed",
            "cancelled",
        }
        assert any(run["usage"]["unmetered_calls"] for run in ended)
        assert any(run["stop_reason"] == "budget" for run in ended)
