"""Traces as a collector gets them: one for each run, whole, in its caller's trace, and without what was said."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.fakes.collector import Collector, Seen, assert_whole, collector, tree
from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.team_script import composer, decisions, worker

CANARY: Final = "canary7c40aa"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
TRACEPARENT: Final = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def collected() -> Iterator[Collector]:
    """Run a collector that nobody knows of yet."""
    with collector() as found:
        yield found


@pytest.fixture
def sent(collected: Collector, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """Have traces sent to a collector, soon."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    return collected


async def spans_of(collected: Collector, run: dict[str, Any]) -> list[Seen]:
    """Return the spans of a run that has ended."""
    return await asyncio.to_thread(collected.of_run, run)


async def traced(product: Product, task: str = "Tidy up", **headers: str) -> dict[str, Any]:
    """Return a run that has ended, created with these headers."""
    created = await product.client.post("/v1/runs", json={"task": task}, headers=headers)
    assert created.status_code == 202, created.text
    return await product.ended(created.json()["id"])


def team(models: FakeModelServer) -> None:
    """Teach the models a run of two agents at once, one of which uses a tool."""
    usage = TokenUsage(100, 20, cached_tokens=10)
    models.add(
        *decisions(("coder", f"List {CANARY}"), ("analyst", "Say it")),
        Rule(
            when=When(schema=False, user=f"<assignment>\nList {CANARY}\n", after_tool=False),
            reply=Reply.calls(("list_files", {"folder": CANARY})),
        ),
        worker(f"List {CANARY}", Reply(text=f"Nothing {CANARY} there.", usage=usage)),
        Rule(
            when=When(schema=False, user="<assignment>\nSay it\n"),
            reply=Reply.error(503, message=CANARY, retry_after="0"),
            times=1,
        ),
        worker("Say it", Reply(text=f"Said {CANARY}.", usage=usage)),
        composer(Reply(text=f"All {CANARY} of it.", usage=usage)),
    )


async def test_a_run_is_one_trace(start: Start, models: FakeModelServer, sent: Collector) -> None:
    """Run, rounds, agents, tools and calls are below each other, once each, and say what they were."""
    team(models)
    async with start(models=models, model_fast="openai:gpt-4o-mini") as product:
        run = await product.finished(f"Do it {CANARY}")
        assert run["trace_id"] == run["id"].removeprefix("run_")
    spans = await spans_of(sent, run)
    assert_whole(spans)
    top = "invoke_workflow signalbox"
    model = run_model(spans)
    assert tree(spans) == Counter(
        {
            ("", top): 1,
            (top, "round 1"): 1,
            (top, "round 2"): 1,
            ("round 1", "chat gpt-4o-mini"): 1,
            ("round 1", "invoke_agent coder"): 1,
            ("round 1", "invoke_agent analyst"): 1,
            ("invoke_agent coder", f"chat {model}"): 2,
            ("invoke_agent coder", "execute_tool list_files"): 1,
            ("invoke_agent analyst", f"chat {model}"): 2,
            ("round 2", "chat gpt-4o-mini"): 1,
            ("round 2", f"chat {model}"): 1,
        }
    )


def run_model(spans: list[Seen]) -> str:
    return next(
        s.attributes["gen_ai.request.model"] for s in spans if s.name.startswith("invoke_agent")
    )
