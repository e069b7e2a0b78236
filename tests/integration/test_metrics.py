"""What `/metrics` says is what happened, as the runs themselves tell it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, start_run, waiting
from tests.integration.problem_checks import assert_problem
from tests.integration.receiving import delivery, hook
from tests.integration.team_script import composer, decisions, worker

Labels = tuple[tuple[str, str], ...]
Samples = dict[str, dict[Labels, float]]

CANARY: Final = "canary5b1e77"


def read(text: str) -> Samples:
    """Return every sample by its name and labels."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            samples.setdefault(sample.name, {})[labels] = sample.value
    return samples


async def metrics(product: Product, headers: dict[str, str] | None = None) -> Samples:
    """Return what the process counts."""
    response = await product.client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return read(response.text)


def counted(samples: Samples, name: str, *by: str) -> dict[Any, float]:
    """Return the sums of a counter by some of its labels, without what is 0."""
    sums: Counter[Any] = Counter()
    for labels, value in samples[name].items():
        key = tuple(dict(labels)[label] for label in by)
        sums[key if len(by) > 1 else key[0] if by else None] += value  # type: ignore[assignment]
    return {key: value for key, value in sums.items() if value}


@pytest.fixture
def team(models: FakeModelServer) -> FakeModelServer:
    """Teach the models a run of two agents, one of which uses a tool and is asked twice."""
    usage = TokenUsage(100, 20, cached_tokens=10)
    models.add(
        *decisions(("coder", f"List {CANARY}"), ("analyst", "Say it")),
        Rule(
            when=When(schema=False, user=f"<assignment>\nList {CANARY}\n", after_tool=False),
            reply=Reply.calls(("list_files", {})),
        ),
        worker(f"List {CANARY}", Reply(text="Nothing there.", usage=usage)),
        Rule(
            when=When(schema=False, user="<assignment>\nSay it\n"),
            reply=Reply.error(503, retry_after="0"),
            times=1,
        ),
        worker("Say it", Reply(text="Said.", usage=usage)),
        composer(Reply(text="All of it.", usage=usage)),
    )
    return models


async def test_a_run_is_counted_as_it_tells_itself(
    start: Start, team: FakeModelServer, tmp_path: Path
) -> None:
    """Assignments, calls, tokens, money, tools, tries: each agrees with the run and its events."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai:gpt-4o-mini: {input: 0.15, output: 0.60}\n")
    async with start(models=team, prices=prices, model_fast="openai:gpt-4o-mini") as product:
        run = await product.finished(f"Do it {CANARY}")
        assert run["status"] == "completed", run
        found = await metrics(product)
        text = (await product.client.get("/metrics")).text
        events = await product.events(run["id"])
    told = Counter((event["type"], event["agent"]) for event in events)
    assert counted(found, "signalbox_runs_total", "status") == {"completed": 1}
    assert counted(found, "signalbox_run_duration_seconds_count") == {None: 1}
    assert counted(found, "signalbox_queue_wait_seconds_count") == {None: 1}
    assert counted(found, "signalbox_agent_assignments_total", "agent", "status") == {
        (agent, type_.removeprefix("agent.")): count
        for (type_, agent), count in told.items()
        if type_ in {"agent.completed", "agent.failed"}
    }
    assert counted(found, "signalbox_agent_duration_seconds_count", "agent") == {
        "coder": 1,
        "analyst": 1,
    }
    assert counted(found, "signalbox_model_retries_total", "agent") == {"analyst": 1}
    assert counted(found, "signalbox_tool_calls_total", "tool", "status") == {
        ("list_files", "completed"): 1
    }
    by_agent = run["usage"]["by_agent"]
    for kind in ("input", "output", "cached"):
        assert {
            agent: count
            for (agent, of), count in counted(
                found, "signalbox_tokens_total", "agent", "type"
            ).items()
            if of == kind
        } == {a: u[f"{kind}_tokens"] for a, u in by_agent.items() if u[f"{kind}_tokens"]}
    cost = counted(found, "signalbox_cost_usd_total", "agent")
    assert cost.keys() == {a for a, u in by_agent.items() if Decimal(u["cost_usd"])}
    for agent, value in cost.items():
        assert value == pytest.approx(float(by_agent[agent]["cost_usd"]))
    assert (
        sum(counted(found, "signalbox_model_calls_total", "agent").values())
        == (run["usage"]["calls"])
    )
    assert CANARY not in text
    assert run["id"] not in text
    assert run["thread_id"] not in text


async def test_what_fails_and_what_is_missing_is_counted(
    start: Start, models: FakeModelServer
) -> None:
    """A failed agent by its name, a failed run by its status."""
    models.add(
        *decisions(("coder", "Do it")),
        Rule(when=When(schema=False), reply=Reply.error(401, message="no")),
    )
    async with start(models=models) as product:
        run = await product.finished("Do it")
        found = await metrics(product)
    assert run["status"] == "failed"
    assert counted(found, "signalbox_runs_total", "status") == {"failed": 1}
    assert counted(found, "signalbox_agent_assignments_total", "agent", "status") == {
        ("coder", "failed"): 1
    }


async def test_what_waits_is_read_from_the_database(start: Start) -> None:
    """Runs by status and open questions; and then how the question was answered."""
    async with start() as product:
        run_id = await start_run(product, "What is 17% of 80?", approvals={"mode": "always"})
        await waiting(product, run_id)
        found = await metrics(product)
        assert counted(found, "signalbox_runs_in_flight", "status") == {"requires_action": 1}
        assert counted(found, "signalbox_approvals_pending") == {None: 1}
        assert counted(found, "signalbox_database_up") == {None: 1}
        approval = await asked(product, run_id)
        await decided(product, approval["id"], type="approve")
        await product.ended(run_id)
        found = await metrics(product)
    assert counted(found, "signalbox_runs_in_flight", "status") == {}
    assert counted(found, "signalbox_approvals_pending") == {}
    assert counted(found, "signalbox_approvals_total", "type", "outcome") == {
        ("action", "approve"): 1
    }
    assert counted(found, "signalbox_approval_wait_seconds_count", "type") == {"action": 1}


async def test_without_its_database_a_process_still_tells_what_it_counted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that the database is down; of what is in there nothing, rather than 0."""

    async def unreachable() -> dict[str, int]:
        raise ConnectionError

    async with start() as product:
        # A database cannot be taken from under a running process in a portable way.
        monkeypatch.setattr(product.services.store, "standing", unreachable)
        found = await metrics(product)
    assert found["signalbox_database_up"] == {(): 0}
    assert "signalbox_runs_in_flight" not in found
    assert "signalbox_approvals_pending" not in found
    assert "signalbox_runs_total" in found


async def test_requests_are_counted_by_route_and_streams_while_they_are_open(
    start: Start,
) -> None:
    """Whatever a stranger makes up, there is one label for it."""
    async with start() as product:
        run = await product.finished("What is 6 * 7?")
        await product.client.get(f"/{CANARY}")
        await product.client.request("PROPFIND", "/v1/runs")
        await product.client.get(f"/v1/runs/run_{CANARY}")
        await product.stream(run["id"], headers={"last-event-id": "1"})
        waits = await start_run(product, "What is 17% of 80?", approvals={"mode": "always"})
        await waiting(product, waits)
        url = f"/v1/runs/{waits}/events"
        async with product.client.stream(
            "GET", url, headers={"accept": "text/event-stream"}
        ) as opened:
            lines = opened.aiter_lines()
            await anext(lines)
            found = await metrics(product)
        text = (await product.client.get("/metrics")).text
    assert counted(found, "signalbox_streams") == {None: 1}
    assert counted(found, "signalbox_stream_resumes_total") == {None: 1}
    requests = counted(
        found, "signalbox_http_request_duration_seconds_count", "method", "route", "status"
    )
    assert requests["GET", "other", "404"] == 1
    assert requests["other", "/v1/runs", "405"] == 1
    assert requests["GET", "/v1/runs/{run_id}", "404"] == 1
    assert requests["POST", "/v1/runs", "202"] == 2
    assert ("GET", "/v1/runs/{run_id}/events", "200") not in requests
    assert CANARY not in text.lower()


async def test_attempts_to_deliver_are_counted(start: Start, target: CountingTarget) -> None:
    """By what the delivery is then."""
    target.reply("/good", status=204)
    target.reply("/gone", status=410)
    async with start() as product:
        for path, status in (("/good", "delivered"), ("/gone", "disabled")):
            run = await product.finished("What is 6 * 7?", **hook(target, path))
            await delivery(product, run["id"], status)
        found = await metrics(product)
    assert counted(found, "signalbox_webhook_deliveries_total", "result") == {
        "delivered": 1,
        "disabled": 1,
    }


async def test_who_administers_may_read_them(start: Start) -> None:
    """They are about every tenant: other keys may not, and nobody without one."""
    async with start() as product:
        _, admin = await issue(product, "admin")
        _, reader = await issue(product, "runs:read")
        assert_problem(await product.client.get("/metrics"), "unauthenticated")
        assert_problem(await product.client.get("/metrics", headers=reader), "forbidden")
        await metrics(product, admin)


async def test_what_can_be_known_is_there_before_it_happens(start: Start) -> None:
    """Otherwise nobody could ask for the rate of a first failure."""
    async with start() as product:
        found = await metrics(product)
        assert not [each for each in found if each.endswith("_created")]
        agents = [a["name"] for a in (await product.client.get("/v1/agents")).json()["data"]]
        tools = [t["name"] for t in (await product.client.get("/v1/tools")).json()["data"]]
        info = (await product.client.get("/v1/info")).json()
    for status in ("completed", "failed", "cancelled", "incomplete"):
        assert found["signalbox_runs_total"][("status", status),] == 0
    for agent in agents:
        assert found["signalbox_degraded_total"][("agent", agent),] == 0
    for tool in tools:
        assert found["signalbox_tool_calls_total"][("status", "failed"), ("tool", tool)] == 0
    assert found["signalbox_info"] == {
        (
            ("engine", "offline"),
            ("graph_version", info["graph_version"]),
            ("version", info["version"]),
        ): 1
    }
