"""Traces as a collector gets them: one for each run, whole, in its caller's trace, and without what was said."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.collector import Collector, Seen, assert_whole, collector, tree
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import creating
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.receiving import delivery, hook, received
from tests.integration.retrying import mend, retried
from tests.integration.team_script import (
    Arriving,
    composer,
    decisions,
    solo,
    unauthorised,
    worker,
)

CANARY: Final = "canary7c40aa"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
TRACEPARENT: Final = f"00-{TRACE}-{SPAN}-01"
TOP: Final = "invoke_workflow signalbox"
ONE_MODEL: Final = {"model_fast": "openai:gpt-4o-mini"}
CHAT: Final = "chat gpt-4o-mini"
ECHO: Final = f"""
from domain.agent import AgentSpec
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph


async def answer(state: MessagesState):
    call = {{"name": "{CANARY}", "args": {{}}, "id": "1"}}
    count = {{"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}}
    meta = {{"model_name": "acme-1", "model_provider": "acme"}}
    return {{"messages": [
        AIMessage("", tool_calls=[call]),
        ToolMessage("{CANARY}", tool_call_id="1"),
        AIMessage("Acme heard.", usage_metadata=count, response_metadata=meta),
    ]}}


graph = StateGraph(MessagesState)
graph.add_node("answer", answer)
graph.add_edge(START, "answer")
graph.add_edge("answer", END)
AGENT = AgentSpec(name="echo", description="Says it again.", graph=graph.compile())
"""
BOUND: Final = 10.0
"""Far beyond what a stopping process waits for its traces."""


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


def named(spans: list[Seen], name: str) -> list[Seen]:
    """Return the spans of a name, in the order in which they began."""
    return sorted((span for span in spans if span.name == name), key=lambda span: span.began)


async def test_a_run_is_one_trace(start: Start, models: FakeModelServer, sent: Collector) -> None:
    """Run, rounds, agents, tools and calls are below each other, once each, and say what they were."""
    team(models)
    async with start(models=models, **ONE_MODEL) as product:
        run = await product.finished(f"Do it {CANARY}")
        events = await product.events(run["id"])
    assert run["trace_id"] == run["id"].removeprefix("run_")
    spans = await spans_of(sent, run)
    assert_whole(spans)
    assert tree(spans) == {
        ("", TOP): 1,
        (TOP, "round 1"): 1,
        (TOP, "round 2"): 1,
        (TOP, CHAT): 1,
        ("round 1", CHAT): 1,
        ("round 1", "invoke_agent coder"): 1,
        ("round 1", "invoke_agent analyst"): 1,
        ("invoke_agent coder", CHAT): 2,
        ("invoke_agent coder", "execute_tool list_files"): 1,
        ("invoke_agent analyst", CHAT): 2,
        ("round 2", CHAT): 1,
    }
    [top] = named(spans, TOP)
    assert top.attributes["gen_ai.operation.name"] == "invoke_workflow"
    assert top.attributes["gen_ai.conversation.id"] == run["thread_id"]
    assert top.attributes["signalbox.run.status"] == "completed"
    assert top.resource["service.name"] == "signalbox"
    [agent] = named(spans, "invoke_agent analyst")
    again = {"gen_ai.agent.name": "analyst", "try": 2, "delay_seconds": 0.0}
    assert agent.moments == [("retry", again)]
    assert (agent.attributes["gen_ai.agent.name"], agent.attributes["signalbox.retries"]) == (
        "analyst",
        1,
    )
    [tool] = named(spans, "execute_tool list_files")
    [told] = [event for event in events if event["type"] == "tool.completed"]
    assert tool.attributes["gen_ai.tool.call.id"] == told["data"]["call_id"]
    assert not [span for span in spans if CANARY in str(span)]
    assert not [body for body in sent.bodies if CANARY.encode() in body]


async def test_calls_say_what_they_used_and_what_they_failed_of(
    start: Start, models: FakeModelServer, sent: Collector, tmp_path: Path
) -> None:
    """Their tokens and money are those of the run; one that failed names its cause, and no text of it."""
    team(models)
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai:gpt-4o-mini: {input: 0.15, output: 0.60}\n")
    async with start(models=models, **ONE_MODEL, prices=prices) as product:
        run = await product.finished(f"Do it {CANARY}")
    spans = await spans_of(sent, run)
    calls = named(spans, CHAT)
    usage = run["usage"]
    for name, of in (("input", "input"), ("output", "output"), ("cache_read.input", "cached")):
        used = sum(call.attributes.get(f"gen_ai.usage.{name}_tokens", 0) for call in calls)
        assert used == usage[f"{of}_tokens"]
    cost = sum(call.attributes.get("signalbox.cost_usd", 0) for call in calls)
    assert cost == pytest.approx(float(usage["cost_usd"]))
    assert named(spans, TOP)[0].attributes["signalbox.cost_usd"] == pytest.approx(cost)
    [failed] = [call for call in calls if call.failed]
    assert failed.attributes["error.type"] == "503"
    assert failed.attributes["signalbox.call.status"] == "failed"
    assert failed.said == ""
    tries = [c.attributes["signalbox.try"] for c in calls if c.parent_id == failed.parent_id]
    assert tries == [1, 2]
    assert {call.kind for call in calls} == {"client"}
    assert {call.attributes["gen_ai.provider.name"] for call in calls} == {"openai"}


async def test_a_failure_names_its_cause(
    start: Start, models: FakeModelServer, sent: Collector
) -> None:
    """An agent that fails, and a run that does."""
    models.add(*decisions(("coder", "Do it")), unauthorised())
    async with start(models=models, **ONE_MODEL) as product:
        run = await product.finished(f"Tidy up {CANARY}")
    spans = await spans_of(sent, run)
    assert_whole(spans)
    [agent] = named(spans, "invoke_agent coder")
    assert (agent.failed, agent.attributes["error.type"]) == (True, "model-error")
    [call] = [span for span in named(spans, CHAT) if span.parent_id == agent.span_id]
    assert (call.failed, call.attributes["error.type"]) == (True, "401")
    [top] = named(spans, TOP)
    assert (top.failed, top.attributes["error.type"]) == (True, run["error"]["code"])
    assert not [body for body in sent.bodies if b"sk-secret" in body or CANARY.encode() in body]


async def test_a_caller_s_trace_goes_on_and_out(
    start: Start, models: FakeModelServer, sent: Collector, target: CountingTarget
) -> None:
    """What a caller's `traceparent` names is above the run, and the run is above what its webhook begins."""
    models.add(*solo())
    async with start(models=models, **ONE_MODEL, http_allow=target.address) as product:
        created = await product.client.post(
            "/v1/runs",
            json={"task": "Tidy up", **hook(target)},
            headers={"traceparent": TRACEPARENT},
        )
        assert created.json()["trace_id"] == TRACE
        run = await product.ended(created.json()["id"])
        await delivery(product, run["id"], "delivered")
    assert run["trace_id"] == TRACE
    spans = await spans_of(sent, run)
    assert_whole(spans, above=SPAN)
    [top] = named(spans, TOP)
    assert top.parent_id == SPAN
    [request] = named(spans, "POST /v1/runs")
    assert (request.kind, request.parent_id) == ("server", SPAN)
    assert request.links == [(TRACE, top.span_id)]
    assert request.attributes["http.response.status_code"] == 202
    [message] = received(target)
    assert message.headers["traceparent"] == f"00-{TRACE}-{top.span_id}-01"


async def test_without_a_collector_a_caller_s_trace_is_passed_on(
    start: Start, models: FakeModelServer, collected: Collector, target: CountingTarget
) -> None:
    """As it came; and nobody connects to anything."""
    models.add(*solo())
    async with start(models=models, **ONE_MODEL, http_allow=target.address) as product:
        for headers in ({"traceparent": TRACEPARENT}, {}):
            created = await product.client.post(
                "/v1/runs", json={"task": "Tidy up", **hook(target)}, headers=headers
            )
            run = await product.ended(created.json()["id"])
            await delivery(product, run["id"], "delivered")
            own = run["id"].removeprefix("run_")
            assert run["trace_id"] == (TRACE if headers else own)
    first, second = received(target)
    assert first.headers["traceparent"] == TRACEPARENT
    assert "traceparent" not in second.headers
    assert collected.requests == 0


@pytest.mark.parametrize(
    "name",
    ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none", "OTEL_TRACES_SAMPLER=always_off"],
)
async def test_nothing_is_sent_where_that_is_wanted(
    start: Start,
    models: FakeModelServer,
    sent: Collector,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Each of the usual ways to switch it off does."""
    monkeypatch.setenv(*name.split("="))
    models.add(*solo())
    async with start(models=models, **ONE_MODEL) as product:
        assert (await traced(product))["status"] == "completed"
    assert sent.requests == 0


async def test_what_a_caller_does_not_record_is_not_recorded(
    start: Start, models: FakeModelServer, sent: Collector, target: CountingTarget
) -> None:
    """Its runs are left out, whole, and whoever gets a message is told so; others are not."""
    models.add(*solo())
    async with start(models=models, **ONE_MODEL, http_allow=target.address) as product:
        created = await product.client.post(
            "/v1/runs",
            json={"task": "Tidy up", **hook(target)},
            headers={"traceparent": f"00-{TRACE}-{SPAN}-00"},
        )
        run = await product.ended(created.json()["id"])
        await delivery(product, run["id"], "delivered")
        other = await traced(product)
    await spans_of(sent, other)
    assert run["trace_id"] == TRACE
    assert TRACE not in {span.trace_id for span in sent.seen}
    [message] = received(target)
    assert message.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert message.headers["traceparent"].endswith("-00")


async def test_a_retried_run_stays_in_its_trace(
    start: Start, models: FakeModelServer, sent: Collector
) -> None:
    """What comes after the retry is below the run as it was before, and no span is there twice."""
    models.add(unauthorised())
    async with start(models=models, **ONE_MODEL) as product:
        run = await product.finished("Do it")
        assert run["status"] == "failed"
        await spans_of(sent, run)
        mend(models, *solo())
        run = await retried(product, run["id"])
        assert run["status"] == "completed"
    spans = [span for span in sent.seen if span.trace_id == run["trace_id"]]
    assert_whole(spans)
    first, second = named(spans, TOP)
    assert second.parent_id == first.span_id
    assert (first.failed, second.failed) == (True, False)
    [agent] = named(spans, "invoke_agent coder")
    assert agent.began >= second.began >= first.ended
    causes = [span.attributes.get("error.type") for span in named(spans, CHAT)]
    assert causes == ["401", None, None, None]


async def test_waiting_for_a_person_is_a_span(
    start: Start, models: FakeModelServer, sent: Collector, target: CountingTarget
) -> None:
    """From the question to the decision; with which tool it was about, and not with what was to be sent."""
    call = post(target, "/orders", CANARY)
    models.add(
        *decisions(("coder", "Do it")), turns("Do it", Reply.calls(call), Reply(text="Done."))
    )
    async with start(models=models, **ONE_MODEL, http_allow=target.address) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        await decided(product, approval, type="approve", comment=CANARY)
        run = await product.ended(run_id)
    spans = await spans_of(sent, run)
    assert_whole(spans)
    [waited] = named(spans, "approval action")
    assert waited.attributes["signalbox.approval.outcome"] == "approve"
    assert waited.attributes["gen_ai.tool.name"] == "http_request"
    assert tree(spans)[TOP, "approval action"] == 1
    assert tree(spans)["invoke_agent coder", "execute_tool http_request"] == 1
    assert not [body for body in sent.bodies if CANARY.encode() in body]


@pytest.mark.parametrize(
    "deciding", [False, True], ids=["an agent works", "it is decided who does"]
)
async def test_a_run_that_is_cancelled_has_a_whole_trace(
    start: Start, models: FakeModelServer, sent: Collector, *, deciding: bool
) -> None:
    """Whatever it was doing: the call that was cut off has its parents."""
    work = Arriving(Reply(text="Done it."))
    models.event("held")
    if deciding:
        models.add(Rule(when=When(schema=True), reply=work, gate="held"))
    else:
        models.add(*solo(work, gate="held"))
    async with start(models=models, **ONE_MODEL) as product:
        run_id = await start_run(product)
        await work.wait()
        await product.client.post(f"/v1/runs/{run_id}/cancel")
        run = await product.ended(run_id)
    spans = await spans_of(sent, run)
    assert_whole(spans)
    [call] = [span for span in spans if _is_cut_off(span)]
    assert (call.failed, call.attributes["error.type"]) == (True, "cancelled")
    [parent] = [span.name for span in spans if span.span_id == call.parent_id]
    # Where another process cancels it, nothing may be stored yet of what it was doing.
    assert parent in ({TOP} if deciding else {"invoke_agent coder", TOP})
    assert not named(spans, TOP)[0].failed


def _is_cut_off(span: Seen) -> bool:
    return span.attributes.get("signalbox.call.status") == "cancelled"


async def test_an_answer_of_another_run_is_told_as_such(
    start: Start, models: FakeModelServer, sent: Collector
) -> None:
    """A run that nobody worked on is a trace of one span."""
    models.add(*solo())
    async with start(models=models, cache_seconds=600, **ONE_MODEL) as product:
        first = await traced(product)
        second = await traced(product)
    [span] = await spans_of(sent, second)
    assert span.parent_id == ""
    [(name, attributes)] = [each for each in span.moments if each[0] == "cache.hit"]
    assert (name, attributes) == ("cache.hit", {"kind": "run", "signalbox.run.id": first["id"]})


async def test_what_a_graph_from_outside_tells_is_in_the_trace(
    start: Start, models: FakeModelServer, sent: Collector, tmp_path: Path
) -> None:
    """Its calls with what they used, and the tool that it has made up under no name."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "echo.py").write_text(ECHO)
    models.add(*decisions(("echo", f"Say {CANARY}")))
    async with start(models=models, agents=str(tmp_path / "outside"), **ONE_MODEL) as product:
        run = await product.finished("Do it")
    assert run["status"] == "completed", run
    spans = await spans_of(sent, run)
    assert_whole(spans)
    [call] = named(spans, "chat acme-1")
    assert call.attributes["gen_ai.usage.input_tokens"] == 11
    assert tree(spans)["invoke_agent echo", "chat acme-1"] == 1
    assert tree(spans)["invoke_agent echo", "execute_tool other"] == 1
    assert not [body for body in sent.bodies if CANARY.encode() in body]


async def test_requests_are_spans_without_their_paths(
    start: Start, models: FakeModelServer, sent: Collector
) -> None:
    """The route is named; path and query, which may hold secrets, are not, nor are streams and health."""
    models.add(*solo())
    async with start(models=models, **ONE_MODEL) as product:
        run = await traced(product)
        await product.stream(run["id"])
        async with creating(product, task="Tidy up") as stream:
            await stream.end()
        for path in ("/health/live", "/metrics", f"/approve/{CANARY}?key={CANARY}"):
            await product.client.get(path)
        await product.client.get(f"/v1/runs/{run['id']}?cursor={CANARY}")
        await product.client.get("/v1/info", headers={"traceparent": "00-nothing-of-the-kind-01"})
    names = Counter(span.name for span in sent.seen if span.kind == "server")
    assert names["GET /v1/info"] == 1
    assert names["POST /v1/runs"] == 2
    assert names["GET /v1/runs/{run_id}"] >= 2
    assert not {name for name in names if "health" in name or "metrics" in name or "events" in name}
    assert not [body for body in sent.bodies if CANARY.encode() in body]


@pytest.mark.slow
async def test_a_collector_that_hangs_holds_nothing_up(
    start: Start, models: FakeModelServer, sent: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs go on, the process stops in time, and it is told once."""
    sent.hangs = True
    models.add(*solo())
    stopping = 0.0
    async with asyncio.timeout(20), start(models=models, **ONE_MODEL) as product:
        for _ in range(3):
            assert (await traced(product))["status"] == "completed"
        await asyncio.to_thread(sent.wait, lambda _: sent.requests > 0)
        stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < BOUND
    lines = [r.message for r in caplog.records if r.name == "signalbox.tracing"]
    assert lines == ["The last spans could not be sent in time."]


@pytest.mark.slow
async def test_a_collector_that_is_not_there_is_told_once(
    start: Start,
    models: FakeModelServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without its address, which may hold a password; and everything works."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://me:{CANARY}@127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    models.add(*solo())
    async with asyncio.timeout(20), start(models=models, **ONE_MODEL) as product:
        for _ in range(3):
            assert (await traced(product))["status"] == "completed"
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("signalbox")]
    told = [line for line in lines if "OTEL_EXPORTER_OTLP_ENDPOINT" in line]
    assert len(told) == 1, lines
    assert CANARY not in str(lines)
