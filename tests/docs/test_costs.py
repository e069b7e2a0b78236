"""The page of costs says what typical runs really come to, and prompts are made so that caches hit."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

import pytest
import pytest_asyncio

from monitoring.costs import PriceTable
from tests.docs.cost_page import PAGE, Measured, directing, measure, replace_tables, write_tables
from tests.docs.typical_runs import FIVE_ROUNDS, LONG_REPORT, common, prompt_text
from tests.fakes.model_script import ModelRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def measured(tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    """Carry out the typical runs, once."""
    return await measure(tmp_path_factory.mktemp("costs"))


def named(measured: list[Measured], name: str) -> Measured:
    return next(each for each in measured if each.run.name == name)


async def test_the_page_says_what_typical_runs_cost(measured: list[Measured]) -> None:
    """`python -m tests.docs.cost_page` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert replace_tables(page, write_tables(measured)) == page


async def test_five_rounds_cost_half_a_cent(measured: list[Measured]) -> None:
    five = named(measured, FIVE_ROUNDS)
    assert five.cost("openai:gpt-4o-mini", PriceTable()) <= Decimal("0.005")


async def test_most_tokens_are_those_of_the_work(measured: list[Measured]) -> None:
    """Of typical runs together, supervisor, validator and answer have a fifth at most."""
    assert directing(measured) <= Decimal("0.2")
    assert named(measured, LONG_REPORT).directing <= Decimal("0.16")


def by_caller(requests: list[ModelRequest]) -> dict[str, list[ModelRequest]]:
    """Return the requests of each assignment in order, and those of the supervisor's decisions."""
    found = defaultdict(list)
    for request in requests:
        _, inside, assignment = request.user.rpartition("<assignment>\n")
        if inside or request.system.startswith("You supervise"):
            found[assignment if inside else "supervisor"].append(request)
    return found


async def test_each_call_of_an_agent_begins_with_the_whole_call_before(
    measured: list[Measured],
) -> None:
    """To the byte, tools included: only so do providers find it in their caches."""
    calls = 0
    for each in measured:
        for caller, requests in by_caller(each.requests).items():
            for before, after in pairwise(requests):
                if caller == "supervisor":
                    continue
                calls += 1
                assert json.dumps(after.body.get("tools")) == json.dumps(before.body.get("tools"))
                kept = after.body["messages"][: len(before.body["messages"])]
                assert json.dumps(kept) == json.dumps(before.body["messages"])
    assert calls > 20


async def test_each_decision_begins_with_the_one_before(measured: list[Measured]) -> None:
    """Up to the end of its results, behind which the new ones stand."""
    for each in measured:
        requests = by_caller(each.requests)["supervisor"]
        assert len(requests) == len(each.run.rounds)
        for before, after in pairwise(requests):
            assert after.body["response_format"] == before.body["response_format"]
            assert after.system == before.system
            text = prompt_text(before)
            stable = text.rpartition("\\n</results>")[0] or text.rpartition("\\n</files>")[0]
            assert common(text, prompt_text(after)) >= len(stable)


async def test_two_runs_share_what_does_not_change(measured: list[Measured]) -> None:
    """The instructions, the team and the schema of the decision stand before anything of a run."""
    first = [by_caller(each.requests)["supervisor"][0] for each in measured]
    for request in first:
        assert request.system == first[0].system
        assert request.body["messages"][0]["role"] == "system"
        assert request.body["response_format"] == first[0].body["response_format"]
