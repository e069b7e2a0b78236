"""What runs cost, in the run, its events, its receipt and the ledger over all of them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from domain.errors import ConfigurationError
from domain.problems import Code
from service.bootstrap import open_services
from service.ids import SystemClock
from service.settings import read_settings
from tests.contract.factories import add_running, make_call
from tests.fakes.model_script import ModelRequest, Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import composer, decisions

PRICES: Final = """
openai:gpt-4o-mini: {input: 0.15, output: 0.60, cached: 0.075}
openai:gpt-4.1: {input: 2, output: 8}
openai:free*: {input: 0, output: 0}
"""
TOKENS: Final = TokenUsage(1_000, 100, 400)
MINI: Final = Decimal("0.00018")
"""What such an answer costs on gpt-4o-mini: 600, 400 and 100 tokens."""


YEAR: Final = ("2026-01-01", "2026-12-31")


def cursor_of(*told: object) -> str:
    """Return what a client that makes its own cursors would send."""
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """Return a file of prices: those of a fake server are nobody's."""
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES)
    return file


@pytest.fixture
async def priced(start: Start, models: FakeModelServer, prices: Path) -> AsyncIterator[Product]:
    """Run the product with prices, every tier on one model."""
    async with start(models=models, prices=prices, model_fast="openai:gpt-4o-mini") as product:
        yield product


def metered(models: FakeModelServer) -> None:
    """Script two agents and a composed answer, each call with the same counts."""

    def answer(request: ModelRequest) -> Reply:
        return Reply(text=f"Done. {len(request.user)}", usage=TOKENS)

    models.add(
        Rule(
            when=When(schema=True, user="<results>"),
            reply=Reply(text='{"reason": "done", "assignments": []}', usage=TOKENS),
            optional=True,
        ),
        *decisions(("coder", "Do it"), ("analyst", "Check it"))[1:],
        composer(Reply(text="All is done.", usage=TOKENS)),
        Rule(when=When(schema=False), reply=answer),
    )


async def spent(product: Product, query: str = "") -> dict[str, Any]:
    response = await product.client.get(f"/v1/usage{query}")
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


async def test_a_run_says_what_it_cost_wherever_it_says_so(
    priced: Product, models: FakeModelServer
) -> None:
    """In the run, its last event and its receipt: exact, and the same."""
    metered(models)
    run = await priced.finished("Do both")
    usage = run["usage"]
    assert run["status"] == "completed"
    assert (usage["cost_known"], usage["unmetered_calls"]) == (True, 0)
    assert usage["by_model"].keys() == {"openai:gpt-4o-mini"}
    assert Decimal(usage["by_agent"]["coder"]["cost_usd"]) == MINI
    shares = [Decimal(share["cost_usd"]) for share in usage["by_agent"].values()]
    assert sum(shares) == Decimal(usage["cost_usd"])
    events = await priced.events(run["id"])
    assert events[-1]["data"]["run"]["usage"] == usage
    told = [e["data"]["usage"]["calls"] for e in events if e["type"] == "usage.updated"]
    assert told == sorted(told)
    receipt = (await priced.client.get(f"/v1/runs/{run['id']}/receipt")).json()
    assert receipt["usage"] == usage


async def test_the_ledger_sums_runs_by_what_is_asked_for(
    priced: Product, models: FakeModelServer
) -> None:
    """Each sum over the groups is the total, whichever way it is grouped."""
    metered(models)
    runs = [await priced.finished(task) for task in ("One", "Two")]
    total = (await spent(priced))["total"]
    for name in ("input_tokens", "output_tokens", "cached_tokens", "calls"):
        assert total[name] == sum(run["usage"][name] for run in runs)
    assert Decimal(total["cost_usd"]) == sum(Decimal(run["usage"]["cost_usd"]) for run in runs)
    for query, fields in (
        ("", {"day"}),
        ("?group_by=agent", {"agent"}),
        ("?group_by=key", {"key"}),
        ("?group_by=model,agent", {"model", "agent"}),
        ("?group_by=day&group_by=key,model&group_by=day", {"day", "key", "model"}),
    ):
        page = await spent(priced, query)
        assert page["total"] == total
        assert sum(group["calls"] for group in page["data"]) == total["calls"]
        assert sum(Decimal(group["cost_usd"]) for group in page["data"]) == Decimal(
            total["cost_usd"]
        )
        for group in page["data"]:
            assert group.keys() == total.keys() | fields
    agents = {group["agent"] for group in (await spent(priced, "?group_by=agent"))["data"]}
    assert agents == {"supervisor", "coder", "analyst"}
    assert (await spent(priced, "?group_by=key"))["data"][0]["key"] == "default"


async def test_days_are_those_of_utc_and_both_ends_count(
    priced: Product, pytestconfig: pytest.Config
) -> None:
    """A month is shown where nobody says which days."""
    if pytestconfig.getoption("--over"):
        pytest.skip("a worker beside it would take over the run that is written here by hand")
    today = SystemClock().now()
    store: Any = priced.services.store
    tenant = "default"
    ref = await add_running(store, tenant_id=tenant)
    for days in (0, 1, 29, 30):
        call = make_call(f"{days}", cost_usd=Decimal("0.1"))
        at = today - timedelta(days=days)
        await store.append(ref, attempt=1, drafts=[], calls=[call], now=at)
    day = {days: (today - timedelta(days=days)).date().isoformat() for days in (0, 1, 29, 30, 31)}
    month = await spent(priced)
    assert (month["from"], month["to"]) == (day[29], day[0])
    assert [group["day"] for group in month["data"]] == [day[29], day[1], day[0]]
    assert month["total"]["cost_usd"] == "0.3"
    earlier = await spent(priced, f"?from={day[31]}&to={day[29]}")
    assert [group["day"] for group in earlier["data"]] == [day[30], day[29]]
    assert [g["day"] for g in (await spent(priced, f"?to={day[30]}"))["data"]] == [day[30]]
    assert (await spent(priced, f"?from={day[31]}"))["total"]["calls"] == 4
    assert (await spent(priced, "?from=0001-01-01&to=9999-12-31"))["total"]["calls"] == 4
    assert (await spent(priced, "?from=9999-01-01"))["data"] == []


async def test_pages_of_the_ledger_lead_to_each_other(
    priced: Product, models: FakeModelServer
) -> None:
    metered(models)
    await priced.finished("One")
    everything = await spent(priced, "?group_by=agent,model")
    seen: list[Any] = []
    query = "?group_by=agent,model&limit=1"
    while True:
        page = await spent(priced, query)
        assert page["total"] == everything["total"]
        seen += page["data"]
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        # The cursor knows what it is a cursor of.
        query = f"?limit=1&cursor={page['next_cursor']}"
    assert seen == everything["data"]
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("query", "code", "detail"),
    [
        ("?to=0", "invalid-parameter", "must be a day such as 2026-11-29"),
        ("?group_by=tier", "invalid-parameter", "'tier' is not one of day, agent, model, key"),
        ("?group_by=", "invalid-parameter", "'' is not one of day"),
        ("?group_by=day,,agent", "invalid-parameter", "'' is not one of day"),
        ("?from=yesterday", "invalid-parameter", "from: "),
        ("?to=2026-02-30", "invalid-parameter", "to: "),
        ("?from=2026-02-02&to=2026-02-01", "invalid-parameter", "2026-02-02 is after to"),
        ("?limit=0", "invalid-parameter", "limit: "),
        ("?limit=1001", "invalid-parameter", "limit: "),
        ("?cursor=x", "malformed-cursor", "Send next_cursor as it came"),
        ("?cursor=", "malformed-cursor", "Send next_cursor as it came"),
        *(
            (f"?cursor={cursor_of(*told)}", "malformed-cursor", "Send next_cursor as it came")
            for told in (
                (),
                (None,),
                (["tier"], *YEAR, ["a"]),
                (["agent", "agent"], *YEAR, ["a", "a"]),
                (["agent"], *YEAR, []),
                (["agent"], *YEAR, [7]),
                (["agent"], *YEAR, ["\x00"]),
                (["agent"], *YEAR, ["\ud800"]),
                (["agent"], "2026", "2027", ["a"]),
            )
        ),
        (
            f"?group_by=day&cursor={cursor_of(['agent'], *YEAR, ['a'])}",
            "malformed-cursor",
            "group_by=agent. Send these again, or leave them out",
        ),
    ],
)
async def test_what_cannot_be_asked_says_what_can(
    priced: Product, query: str, code: Code, detail: str
) -> None:
    problem = assert_problem(await priced.client.get(f"/v1/usage{query}"), code)
    assert detail in problem["detail"]


async def test_a_retried_call_costs_what_was_answered(
    priced: Product, models: FakeModelServer
) -> None:
    """A refusal is not billed, and nothing is counted twice."""
    models.add(
        Rule(when=When(schema=False), reply=Reply.error(500), times=1),
    )
    metered(models)
    run = await priced.finished("Do both")
    assert run["status"] == "completed"
    answered = [r for r in models.requests if r.rule != "rule-1"]
    assert run["usage"]["calls"] == len(answered)
    assert run["usage"]["cost_known"] is True


async def test_an_unknown_price_is_said_and_not_guessed(
    start: Start, models: FakeModelServer
) -> None:
    """A server of somebody else that calls its model like OpenAI's does not cost what OpenAI says."""
    metered(models)
    async with start(models=models, model_fast="openai:gpt-4o-mini") as product:
        run = await product.finished("Do both")
        total = (await spent(product))["total"]
    for share in (run["usage"], run["usage"]["by_agent"]["coder"], total):
        assert (share["cost_usd"], share["cost_known"]) == (None, False)
        assert share["input_tokens"] >= 1_000


async def test_a_free_model_costs_a_known_nothing(
    start: Start, models: FakeModelServer, prices: Path
) -> None:
    metered(models)
    async with start(models=models, prices=prices, model_fast="openai:free-7b") as product:
        run = await product.finished("Do both")
    assert (run["usage"]["cost_usd"], run["usage"]["cost_known"]) == ("0", True)


async def test_tokens_of_reasoning_are_told_apart_and_paid_as_output(
    priced: Product, models: FakeModelServer
) -> None:
    thought = TokenUsage(1_000, 100, 400, reasoning_tokens=64)
    models.add(
        *decisions(("coder", "Do it")),
        Rule(when=When(schema=False), reply=Reply(text="Done.", usage=thought)),
    )
    coder = (await priced.finished("Do it"))["usage"]["by_agent"]["coder"]
    assert (coder["reasoning_tokens"], coder["output_tokens"]) == (64, 100)
    assert Decimal(coder["cost_usd"]) == MINI


async def test_a_call_that_nobody_metered_is_one_of_unknown_price(
    priced: Product, models: FakeModelServer
) -> None:
    """Streamed or not: the tokens count as none, the money as unknown."""
    models.add(
        Rule(
            when=When(schema=True, user="<results>"),
            reply=Reply(text='{"reason": "done", "assignments": []}', metered=False),
        ),
        *decisions(("coder", "Do it"))[1:],
        Rule(when=When(schema=False), reply=Reply(text="Done.", metered=False)),
    )
    usage = (await priced.finished("Do it"))["usage"]
    assert (usage["calls"], usage["unmetered_calls"]) == (3, 2)
    assert (usage["cost_usd"], usage["cost_known"]) == (None, False)
    coder = usage["by_agent"]["coder"]
    assert (coder["calls"], coder["unmetered_calls"], coder["input_tokens"]) == (1, 1, 0)
    total = (await spent(priced))["total"]
    assert (total["unmetered_calls"], total["cost_usd"]) == (2, None)


async def test_a_file_of_prices_that_cannot_be_used_stops_the_start(
    tmp_path: Path, prices: Path
) -> None:
    prices.write_text("openai:gpt-4o-mini: {input: cheap, output: 1}")
    settings = read_settings(database_url="memory://", data_dir=tmp_path, prices=prices)
    with pytest.raises(ConfigurationError, match=r"SIGNALBOX_PRICES=.*'cheap' as 'input'"):
        async with open_services(settings):
            pass
