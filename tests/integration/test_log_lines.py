"""What a reader of the log alone can tell: of requests, of runs, of what an agent failed at and what it cost."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.log_lines import Line, LogLines, log_lines
from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.team_script import SECONDS, composer, decisions, solo, worker

TASK: Final = "canary-of-the-task: compare sundials"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
WORDS: Final = "canary-of-an-answer"


@pytest.fixture
def lines() -> Iterator[LogLines]:
    with log_lines() as listening:
        yield listening


async def told(lines: LogLines, action: str, count: int = 1, **fields: Any) -> list[Line]:
    """Return the lines of an action as soon as there are so many; a line has no event to wait for."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = [line for line in lines.of(action) if fields.items() <= line.items()]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


@pytest.fixture
async def failing(
    start: Start, models: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Product]:
    """Run the product with a team of which one fails at last, after an answer and two new tries."""
    usage = TokenUsage(1000, 100)
    models.add(
        *decisions(("coder", "Fail"), ("analyst", "Work")),
        Rule(
            when=When(schema=False, user="<assignment>\nFail\n", after_tool=False),
            reply=replace(Reply.calls(("list_files", {})), usage=usage),
        ),
        Rule(
            when=When(schema=False, user="<assignment>\nFail\n", after_tool=True),
            reply=Reply.error(500, retry_after="0", message=WORDS),
        ),
        worker("Work", Reply(text=WORDS, usage=usage)),
        composer(Reply(text=WORDS)),
    )
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai:*: {input: 2, output: 8}\n")
    async with start(models=models, prices=prices) as product:
        monkeypatch.setattr(product.services.gateway, "first_delay_seconds", 0.0)
        yield product


async def test_a_failed_agent_is_named_with_its_cause_its_cost_and_its_tries(
    failing: Product, lines: LogLines
) -> None:
    """From the log alone: what a script needs that is to act on it."""
    run = await failing.finished(TASK)
    line = lines.one("agent.failed")
    assert (line["level"], line["agent"], line["path"]) == ("warning", "coder", "coder")
    assert (line["run_id"], line["thread_id"]) == (run["id"], run["thread_id"])
    assert line["code"] == "model-error"
    assert line["detail"] == run["degraded"][0]["reason"]
    assert line["retries"] == 2
    assert (line["calls"], line["input_tokens"], line["output_tokens"]) == (1, 1000, 100)
    assert (line["cost_usd"], line["cost_known"]) == ("0.0028", True), (
        "what was refused is not paid"
    )
    assert line["cost_usd"] == run["usage"]["by_agent"]["coder"]["cost_usd"]
    assert line["seconds"] >= 0
    assert len(lines.of("agent.retrying")) == 2


async def test_every_decision_agent_tool_and_call_of_a_run_has_a_line(
    failing: Product, lines: LogLines
) -> None:
    """As many as there are events of it; the ids are the same in all of them, and no line has what was said."""
    run = await failing.finished(TASK)
    happened = Counter(event["type"] for event in await failing.events(run["id"]))
    said = Counter(line["action"] for line in lines.all if "seq" in line)
    untold = {"usage.updated", "message.completed", "run.created"}
    assert said == {type_: n for type_, n in happened.items() if type_ not in untold}
    assert lines.one("run.created")["request_id"]
    usage = run["usage"]
    assert len(lines.of("model_called")) == usage["calls"]
    of_the_run = [line for line in lines.all if line.get("run_id") == run["id"]]
    assert {line["trace_id"] for line in of_the_run} == {run["id"].removeprefix("run_")}
    within = [line for line in of_the_run if "seq" in line or line["action"] == "model_called"]
    assert {(line["thread_id"], line["attempt"]) for line in within} == {(run["thread_id"], 1)}
    assert not any("request_id" in line for line in within), "a run is not about who asked for it"
    first = lines.of("supervisor.decision")[0]
    assert (first["agents"], first["assignments"]) == (["coder", "analyst"], 2)
    tool = lines.one("tool.completed")
    assert (tool["tool"], tool["agent"], tool["ok"]) == ("list_files", "coder", True)
    end = lines.one("run.completed")
    assert (end["status"], end["stop_reason"], end["degraded"]) == ("completed", "done", ["coder"])
    assert (end["calls"], end["cost_usd"]) == (usage["calls"], usage["cost_usd"])
    assert end["seconds"] >= 0
    for canary in ("canary-of-the-task", WORDS, "sundials"):
        assert canary not in lines.text


async def test_what_people_are_asked_and_decide_has_a_line(
    acting_once: Product, models: FakeModelServer, target: CountingTarget, lines: LogLines
) -> None:
    """Who decided what, about which call, in whose trace; not what the call says, nor why."""
    models.add(*decisions(("coder", "Do it")))
    models.add(turns("Do it", Reply.calls(post(target, "/orders")), Reply(text="Done.")))
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    created = await acting_once.client.post("/v1/runs", json={"task": "Do it"}, headers=headers)
    run_id = created.json()["id"]
    question = await asked(acting_once, run_id)
    await decided(acting_once, question, type="approve", comment="canary-of-a-comment")
    await acting_once.ended(run_id)
    approval = question["id"]
    requested, resolved = lines.one("approval.requested"), lines.one("approval.resolved")
    assert requested["approval_id"] == resolved["approval_id"] == approval
    assert (requested["asks"], requested["tool"]) == ("action", "http_request")
    assert (resolved["decision"], resolved["by"]) == ("approve", "default")
    assert resolved["request_id"], "the request that has decided it"
    assert lines.one("run.requires_action")["approval_ids"] == [approval]
    assert {line["run_id"] for line in (requested, resolved)} == {run_id}
    assert {line["trace_id"] for line in lines.all if line.get("run_id") == run_id} == {TRACE}
    assert "canary-of-a-comment" not in lines.text
    assert "/orders" not in lines.text


async def test_a_request_has_one_line(product: Product, lines: LogLines) -> None:
    """With its id, its route and who asked; without a query, which may hold anything."""
    response = await product.client.get(
        "/v1/runs?cursor=canary", headers={"x-request-id": "mine-1"}
    )
    (line,) = await told(lines, "request")
    assert line["event"] == f"GET /v1/runs {response.status_code}"
    assert line["request_id"] == response.headers["x-request-id"] == "mine-1"
    assert (line["method"], line["route"], line["path"]) == ("GET", "/v1/runs", "/v1/runs")
    assert (line["status"], line["bytes"]) == (response.status_code, len(response.content))
    assert (line["caller"], line["tenant"], line["level"]) == ("default", "default", "info")
    assert line["ms"] > 0
    await product.client.get("/v1/nothing", headers={"authorization": "Bearer canary"})
    (other,) = await told(lines, "request", path="/v1/nothing")
    assert (other["status"], other["level"]) == (404, "info")
    assert "route" not in other
    assert "canary" not in lines.text


async def test_a_key_is_named_by_its_id(product: Product, lines: LogLines) -> None:
    key, headers = await issue(product)
    response = await product.client.get("/v1/runs/run_1", headers=headers)
    (line,) = await told(lines, "request", route="/v1/runs/{run_id}")
    assert (line["status"], line["run_id"]) == (response.status_code, "run_1")
    assert line["caller"] == key.id
    assert headers["authorization"].removeprefix("Bearer ") not in lines.text


async def test_a_fork_is_accepted_like_any_run(product: Product, lines: LogLines) -> None:
    run = await product.finished("What is 17% of 80?")
    fork = (await product.client.post(f"/v1/runs/{run['id']}/fork", json={})).json()
    first, second = await told(lines, "run.created", 2)
    assert (first["run_id"], "forked_from" in first) == (run["id"], False)
    assert (second["run_id"], second["forked_from"]) == (fork["id"], run["id"])
    assert second["thread_id"] == fork["thread_id"]


async def test_what_clients_choose_stays_in_its_field(product: Product, lines: LogLines) -> None:
    """A path with the end of a line in it, an id that is none."""
    headers = {"x-request-id": "a b"}
    await product.client.get("/v1/runs/x%0A%7B%22level%22:%22critical%22%7D%1b[2J", headers=headers)
    (line,) = await told(lines, "request")
    assert line["level"] == "info"
    assert line["path"].startswith("/v1/runs/x\\n{")
    assert line["request_id"].startswith("req_")
    assert "\x1b" not in lines.text


async def test_the_token_of_a_link_is_not_shown(product: Product, lines: LogLines) -> None:
    await product.client.get("/approve/canary-of-a-token?x=1")
    (line,) = await told(lines, "request")
    assert (line["route"], line["path"]) == ("/approve/{token}", "/approve/***")
    assert "canary" not in lines.text


async def test_a_stream_has_a_line_when_it_is_over(product: Product, lines: LogLines) -> None:
    run = await product.finished("What is 17% of 80?")
    frames = await product.stream(run["id"])
    (line,) = await told(lines, "stream_ended")
    assert (line["status"], line["run_id"]) == (200, run["id"])
    assert line["seconds"] >= 0
    assert line["bytes"] > len(frames)
    assert "left" not in line


async def test_a_client_that_leaves_is_told_as_one(
    start: Start, models: FakeModelServer, lines: LogLines
) -> None:
    """A stream that nobody reads any more."""
    held = models.event("held")
    models.add(*solo(gate="held"))
    async with start(models=models) as product:
        run_id = await start_run(product)
        path = f"/v1/runs/{run_id}/events"
        async with product.client.stream("GET", path, headers={"accept": "text/event-stream"}):
            pass
        (stream,) = await told(lines, "stream_ended", run_id=run_id)
        assert (stream["left"], stream["status"]) == (True, 200)
        held.set()
        await product.ended(run_id)


async def test_probes_are_told_to_who_wants_to_see_everything(product: Product) -> None:
    with log_lines() as lines:
        await product.client.get("/health/live")
        await product.client.get("/v1/info")
        await told(lines, "request", route="/v1/info")
        assert len(lines.of("request")) == 1
    with log_lines(logging.DEBUG) as everything:
        await product.client.get("/health/live")
        (line,) = await told(everything, "request")
        assert (line["route"], line["level"]) == ("/health/live", "debug")


@pytest.mark.may_block  # the lines of the source are read where an exception is written down
async def test_a_failure_of_the_service_is_an_error_and_counted(
    product: Product, lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception as text under the request's id; the line of the request says 500."""

    async def broken(*_: object) -> None:
        raise RuntimeError("the cause")

    # Nothing a client can send makes the service fail, so the failure is put in by hand.
    with monkeypatch.context() as patch:
        patch.setattr(product.services.runs, "find", broken)
        async with httpx.AsyncClient(base_url=product.base_url, trust_env=False) as client:
            response = await client.get("/v1/runs", headers={"x-request-id": "req-77"})
    assert response.status_code == 500
    (line,) = await told(lines, "request")
    assert (line["level"], line["status"], line["request_id"]) == ("error", 500, "req-77")
    failed = lines.one("request_failed")
    assert failed["request_id"] == "req-77"
    assert failed["exception"].endswith("RuntimeError: the cause")
    counted = (await product.client.get("/metrics")).text
    assert 'method="GET",route="/v1/runs",status="500"' in counted


BROKEN = """
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from domain.agent import AgentSpec


async def divide(state: MessagesState):
    return {"messages": [AIMessage(str(1 / 0))]}


graph = StateGraph(MessagesState).add_node(divide).add_edge(START, "divide")
AGENT = AgentSpec(name="acme", description="Divides.", graph=graph.compile())
"""


@pytest.mark.may_block  # likewise; and the agent's file is read
async def test_an_agent_that_breaks_leaves_its_exception(
    start: Start, models: FakeModelServer, tmp_path: Path, lines: LogLines
) -> None:
    """Clients are told that the log has the details: it has."""
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "acme.py").write_text(BROKEN)
    models.add(*decisions(("acme", "Divide")))
    async with start(models=models, agents=str(folder)) as product:
        run = await product.finished("Divide")
    assert lines.one("agent.failed")["code"] == "internal-error"
    line = lines.one("agent_broke")
    assert (line["agent"], line["run_id"]) == ("acme", run["id"])
    assert "\nZeroDivisionError: division by zero\n" in line["exception"]
