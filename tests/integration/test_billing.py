"""What the ledger says, beside what a provider would bill: random runs with faults, caps and cancellations."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.model_script import GARBAGE_ROUTE, Fault, ModelRequest, Reply, Rule, TokenUsage
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import decide, pending

FAULTS: Final[tuple[Fault, ...]] = (
    *("truncate", "malformed", "disconnect", "empty", "length", "content_filter", "not_json"),
)
AGENTS: Final = ("researcher", "coder", "analyst")
AT_ONCE: Final = 6
MANY: Final = 166, 167, 168
"""Runs of each of the long tests, 501 together; the number is the seed too."""
PRICES: Final = 'openai:*: {input: "2", output: "10", cached: "0.5"}\n'


class Provider:
    """A model that answers at random, and now and then not at all."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, request: ModelRequest) -> Reply:
        chance = self._random.random()
        usage = self._usage(request)
        if chance < 0.05:
            return Reply.error(self._random.choice((429, 500, 503)), retry_after="0")
        if chance < 0.16:
            fault = self._random.choice(FAULTS)
            return Reply(text="Something was to be said here.", fault=fault, usage=usage)
        if request.schema is not None:
            return Reply(text=json.dumps(self._route(request)), usage=usage)
        if chance < 0.5 and request.tools:
            calls = Reply.calls(("list_files", {})).tool_calls
            return Reply(tool_calls=calls, usage=usage)
        return Reply(text=f"It is {self._random.randrange(1000)}.", usage=usage)

    def _usage(self, request: ModelRequest) -> TokenUsage:
        """Return what such an answer may use: no more than was sent, and than was allowed."""
        most = int(request.body["max_completion_tokens"])
        prompt = self._random.randrange(1, max(len(request.transcript) // 3, 2))
        answer = self._random.randrange(1, most + 1)
        cached = self._random.randrange(prompt + 1)
        return TokenUsage(prompt, answer, cached_tokens=cached)

    def _route(self, request: ModelRequest) -> object:
        if self._random.random() < 0.1:
            return GARBAGE_ROUTE
        if "<results>" in request.user and self._random.random() < 0.6:
            return {"reason": "It is done.", "assignments": []}
        names = self._random.sample(AGENTS, self._random.randint(1, 3))
        number = self._random.randrange(100)
        work = [{"agent": name, "task": f"Do part {number}"} for name in names]
        return {"reason": "There is work.", "assignments": work}


def budget(chance: random.Random) -> dict[str, Any]:
    """Return limits that most runs reach and some do not."""
    kinds: list[dict[str, Any]] = [
        {},
        {"max_tokens": chance.randrange(3_000, 40_000)},
        {"max_cost_usd": str(Decimal(chance.randrange(10, 300)) / 1000)},
        {"per_agent": {"coder": {"max_tokens": chance.randrange(2_000, 12_000)}}},
    ]
    return {"max_rounds": 4, **chance.choice(kinds)}


async def lead(product: Product, number: int, seed: int) -> dict[str, Any]:
    """Bring one run to its end: answer what it asks, and now and then cancel it."""
    chance = random.Random(seed * 100_003 + number)
    body = {"task": f"Task <{number:04}> to do", "budget": budget(chance)}
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


def raised(limits: dict[str, Any]) -> dict[str, Any]:
    """Return limits that are half as high again."""
    return {
        name: raised(value)
        if isinstance(value, dict)
        else value * 3 // 2
        if isinstance(value, int)
        else str(Decimal(value) * 3 / 2)
        for name, value in limits.items()
    }


def check(run: dict[str, Any], billed: list[TokenUsage]) -> None:
    """Compare a run with its bill, to the token."""
    usage, limits = run["usage"], run["budget"]
    tokens = usage["input_tokens"] + usage["output_tokens"]
    due = sum(each.input_tokens + each.output_tokens for each in billed)
    assert usage["calls"] >= len(billed)
    assert tokens <= due <= limits["spent"]["tokens"]
    if not usage["unmetered_calls"]:
        assert usage["calls"] == len(billed)
        assert usage["input_tokens"] == sum(each.input_tokens for each in billed)
        assert usage["cached_tokens"] == sum(each.cached_tokens for each in billed)
        assert tokens == due == limits["spent"]["tokens"]
        assert Decimal(usage["cost_usd"]) == sum((cost(each) for each in billed), Decimal(0))
    assert usage["cost_known"] is not bool(usage["unmetered_calls"])
    for name in ("input_tokens", "output_tokens", "cached_tokens", "calls", "unmetered_calls"):
        for shares in (usage["by_agent"], usage["by_model"]):
            assert sum(share[name] for share in shares.values()) == usage[name], name
    if limits["max_tokens"]:
        assert due <= limits["max_tokens"]
    if limits["max_cost_usd"]:
        assert sum((cost(each) for each in billed), Decimal(0)) <= Decimal(limits["max_cost_usd"])


def cost(usage: TokenUsage) -> Decimal:
    fresh = usage.input_tokens - usage.cached_tokens
    return (2 * fresh + Decimal("0.5") * usage.cached_tokens + 10 * usage.output_tokens) / 1_000_000


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
            # What was cut off by a cancellation is booked a moment later.
            ended = [(await product.client.get(f"/v1/runs/{r['id']}")).json() for r in ended]
            sums = (await product.client.get("/v1/usage?group_by=agent")).json()
    bills: dict[int, list[TokenUsage]] = {number: [] for number in range(runs)}
    for request, usage in models.bills:
        bills[int(request.transcript.partition("Task <")[2][:4])].append(usage)
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
