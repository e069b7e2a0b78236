"""Random runs: a provider that answers by chance, with faults; limits; and what its bill has to come to."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from tests.fakes.model_script import GARBAGE_ROUTE, Fault, ModelRequest, Reply, TokenUsage

FAULTS: Final[tuple[Fault, ...]] = (
    *("truncate", "malformed", "disconnect", "empty", "length", "content_filter", "not_json"),
)
AGENTS: Final = ("researcher", "coder", "analyst")
PRICES: Final = 'openai:*: {input: "2", output: "10", cached: "0.5"}\n'


class Provider:
    """A model that answers at random, and now and then not at all."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)

    def _chars_a_token(self, request: ModelRequest) -> int:
        return random.Random(f"{self._seed}/{number_of(request)}").randrange(3, 12)

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
        """Return what such an answer may use: no more than was sent, and than was allowed.

        Of one run every prompt is counted alike: what a prompt begins with does not count less the next time
        that it is sent, which is what the ledger's bounds rest on.
        """
        most = int(request.body["max_completion_tokens"])
        prompt = max(len(request.transcript) // self._chars_a_token(request), 1)
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


def task_of(number: int) -> str:
    """Return the task of a run, by which its bill is found."""
    return f"Task <{number:04}> to do"


def number_of(request: ModelRequest) -> int:
    """Return which run asks."""
    return int(request.transcript.partition("Task <")[2][:4])


def bills_of(
    billed: Iterable[tuple[ModelRequest, TokenUsage]],
) -> defaultdict[int, list[TokenUsage]]:
    """Return what a provider bills, run by run."""
    bills: defaultdict[int, list[TokenUsage]] = defaultdict(list)
    for request, usage in billed:
        bills[number_of(request)].append(usage)
    return bills


def check(run: dict[str, Any], billed: list[TokenUsage]) -> None:
    """Compare a run with its bill, to the token."""
    usage, limits = run["usage"], run["budget"]
    tokens = usage["input_tokens"] + usage["output_tokens"]
    due = sum(each.input_tokens + each.output_tokens for each in billed)
    told = tokens, due, limits["spent"]["tokens"], usage, billed, run["status"], run["stop_reason"]
    assert usage["calls"] >= len(billed), told
    assert tokens <= due <= limits["spent"]["tokens"], told
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
