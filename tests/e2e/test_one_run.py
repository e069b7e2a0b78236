"""One run over two processes, seen by everybody who looks on: trace, log, metrics, LangSmith and receipt agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from domain.approval import action_id
from tests.e2e.conftest import StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import Run, Service, completed
from tests.e2e.test_metrics import total
from tests.fakes.billing import PRICES
from tests.fakes.collector import Collector, Seen, assert_whole, collector, tree
from tests.fakes.http_target import CountingTarget, in_thread, target_in_thread
from tests.fakes.langsmith_server import FakeLangSmith, Part, Tree, uuid_of
from tests.fakes.model_server import Reply, Rule, When

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
TASK: Final = "Count the orders and send the seventh"
BODY: Final = '{"order":7}'


class Seers(NamedTuple):
    """Who looks on from outside, and what the run changes."""

    collected: Collector
    langsmith: FakeLangSmith
    target: CountingTarget


@pytest.fixture
def seers() -> Iterator[Seers]:
    """Run them; they outlive the product's processes."""
    with (
        collector() as collected,
        in_thread(FakeLangSmith()) as langsmith,
        target_in_thread() as target,
    ):
        yield Seers(collected, langsmith, target)


@pytest.fixture
def start(serve: StartService, models: Models, folder: Path, seers: Seers) -> Callable[[], Service]:
    """Return how to start a server that tells all of them."""
    (folder / "prices.yaml").write_text(PRICES)
    langsmith = {name: str(value) for name, value in seers.langsmith.settings().items()}

    def begin() -> Service:
        return serve(
            models=models,
            SIGNALBOX_HTTP_ALLOW=seers.target.address,
            SIGNALBOX_PRICES=str(folder / "prices.yaml"),
            OTEL_EXPORTER_OTLP_ENDPOINT=seers.collected.url,
            OTEL_BSP_SCHEDULE_DELAY="50",
            **langsmith,
        )

    return begin


def teach(models: Models, target: CountingTarget) -> Hanging:
    """Script two agents at once: one is met by a 500, the other asks to send; return what its first call hangs in."""
    call = {"method": "POST", "url": target.url("/orders"), "body": BODY}
    sends = When(system=agent("coder"), after_tool=False)
    hanging = Hanging(sends, Reply.calls(("http_request", call)))
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.route(("analyst", "Count"), ("coder", "Send"))),
        Rule(when=When(system=agent("analyst")), reply=Reply.error(500), times=1),
        Rule(when=When(system=agent("analyst")), reply=Reply(text="There are seven.")),
        *hanging.rules,
        Rule(when=When(system=agent("coder")), reply=Reply(text="It is sent.")),
        Rule(reply=Reply(text="Seven, and the last one is sent.")),
    )
    return hanging


def analyst_is_told(langsmith: FakeLangSmith, run_id: str) -> bool:
    """Return whether LangSmith has the end of the analyst's work."""
    trees = langsmith.trees
    parts = trees[uuid_of(run_id)].named("analyst") if uuid_of(run_id) in trees else []
    return any("end_time" in part for part in parts)


def test_everybody_who_looks_on_sees_the_same_run(
    start: Callable[[], Service], models: Models, seers: Seers
) -> None:
    """A parallel round, a retry, a kill in the middle, an approval by the process after it."""
    hanging = teach(models, seers.target)
    first = start()
    caller = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    made = first.client.post("/v1/runs", json={"task": TASK}, headers=caller)
    assert made.status_code == 202, made.text
    run_id = made.json()["id"]
    hanging.wait()
    first.follow_until(run_id, completed("analyst"))
    seers.collected.wait(lambda seen: len(calls_of(seen)) >= 3)
    seers.langsmith.wait_until(lambda: analyst_is_told(seers.langsmith, run_id))
    first.process.kill()

    second = start()
    asked: Run = second.client.get(f"/v1/runs/{run_id}?wait=20").json()
    assert (asked["status"], asked["attempt"]) == ("requires_action", 2)
    [approval_id] = asked["required_action"]["approval_ids"]
    assert seers.target.requests == []
    path = f"/v1/approvals/{approval_id}/decision"
    assert second.client.post(path, json={"type": "approve"}).status_code == 200
    run = second.ended(run_id)
    assert (run["status"], run["attempt"], run["degraded"]) == ("completed", 3, [])
    assert run["trace_id"] == TRACE

    action = action_id(approval_id)
    [sent] = seers.target.requests
    assert (sent.key, sent.body) == (action, BODY)
    second.process.says(rf'"action":"run.completed".*"{run_id}"')
    check_trace(seers.collected, run, approval_id)
    check_log(first, second, run)
    check_metrics(second, run)
    check_langsmith(seers.langsmith, run)
    check_receipt(second, run, approval_id)


def calls_of(seen: list[Seen]) -> list[Seen]:
    return [span for span in seen if span.name.startswith("chat ")]


def check_trace(collected: Collector, run: Run, approval_id: str) -> None:
    """Check that all is one trace, below the caller's span, over both processes."""
    # One refused call is not in the usage, and the one that the kill cut off is in no trace.
    calls = run["usage"]["calls"] + 1 - run["usage"]["unmetered_calls"]
    assert (calls, run["usage"]["unmetered_calls"]) == (7, 1)
    collected.wait(lambda seen: len(calls_of(seen)) == calls)
    spans = collected.of_run(run)
    assert_whole(spans, above=SPAN)
    own = [span for span in spans if "signalbox.run.id" in span.attributes]
    assert {span.attributes["signalbox.run.id"] for span in own} == {run["id"]}
    assert {span.attributes["gen_ai.conversation.id"] for span in own} == {run["thread_id"]}
    small, large = "chat gpt-4o-mini", "chat gpt-4.1"
    assert tree(own) == {
        ("", "invoke_workflow signalbox"): 1,
        ("invoke_workflow signalbox", "round 1"): 1,
        ("round 1", small): 1,
        ("round 1", "invoke_agent analyst"): 1,
        ("invoke_agent analyst", large): 2,
        ("round 1", "invoke_agent coder"): 1,
        ("invoke_agent coder", large): 2,
        ("invoke_agent coder", "execute_tool http_request"): 1,
        ("invoke_workflow signalbox", "approval action"): 1,
        ("invoke_workflow signalbox", "round 2"): 1,
        ("round 2", small): 1,
        ("invoke_workflow signalbox", large): 1,
    }
    assert Counter(span.attributes["signalbox.attempt"] for span in calls_of(spans)) == {
        1: 3,
        2: 1,
        3: 3,
    }
    [question] = [span for span in own if span.name == "approval action"]
    assert question.attributes["signalbox.approval.id"] == approval_id
    assert question.attributes["signalbox.approval.outcome"] == "approve"
    [analyst] = [span for span in own if span.name == "invoke_agent analyst"]
    assert analyst.attributes["signalbox.retries"] == 1
    [failed] = [span for span in own if span.failed]
    assert (failed.parent_id, failed.attributes["error.type"]) == (analyst.span_id, "500")


def check_log(first: Service, second: Service, run: Run) -> None:
    """Check that each line about the run says so, in the same words, whichever process wrote it."""
    told: list[Counter[str]] = []
    for service in (first, second):
        lines = [line for line in service.process.log if line.get("run_id") == run["id"]]
        assert {line["trace_id"] for line in lines} == {TRACE}
        threads = {
            line.get("thread_id") for line in lines if line["logger"] != "signalbox.requests"
        }
        assert threads == {run["thread_id"]}
        told.append(Counter(str(line.get("action")) for line in lines))
    before, after = told
    assert (before["agent.retrying"], before["model_failed"], before["agent.completed"]) == (
        1,
        1,
        1,
    )
    assert before["run.created"] == before["run.started"] == 1
    for action in ("approval.requested", "approval.resolved", "agent.completed", "run.completed"):
        assert after[action] == 1, action
    assert after["run.resumed"] == 2
    assert after["agent.retrying"] == 0
    called = [line for s in (first, second) for line in s.process.log if line.get("metered")]
    costs = defaultdict[str, Decimal](Decimal)
    for line in called:
        costs[line["agent"]] += Decimal(line["cost_usd"])
    by_agent = run["usage"]["by_agent"]
    for name in ("analyst", "supervisor"):
        assert costs[name] == Decimal(by_agent[name]["cost_usd"])
    assert by_agent["coder"]["cost_usd"] is None, "nobody knows what the killed call cost"
    assert len(called) == run["usage"]["calls"] - run["usage"]["unmetered_calls"]


def check_metrics(second: Service, run: Run) -> None:
    """Check that the second process counts what it did, and nothing of the first."""
    shown = second.client.get("/metrics").text
    work = "signalbox_agent_assignments_total"
    assert total(shown, "signalbox_runs_total") == 1
    assert total(shown, "signalbox_runs_total", status=run["status"]) == 1
    assert total(shown, work) == total(shown, work, agent="coder", status="completed") == 1
    assert total(shown, "signalbox_model_calls_total") == 4
    assert total(shown, "signalbox_model_calls_total", agent="coder") == 2
    assert total(shown, "signalbox_model_retries_total") == 0
    assert total(shown, "signalbox_tool_calls_total") == 1
    assert total(shown, "signalbox_approvals_total", type="action", outcome="approve") == 1
    assert total(shown, "signalbox_approvals_total") == 1
    lines = [line for line in second.process.log if line.get("action") == "model_called"]
    cost = sum(Decimal(line["cost_usd"]) for line in lines)
    assert total(shown, "signalbox_cost_usd_total") == pytest.approx(float(cost))


def check_langsmith(langsmith: FakeLangSmith, run: Run) -> None:
    """Check that there is one tree, whose root is the run, and that a killed process has left nothing loose."""
    own = uuid_of(run["id"])
    langsmith.wait_until(lambda: "end_time" in langsmith.trees[own].parts.get(own, {}))
    langsmith.wait_until(lambda: all("end_time" in p for p in segments(langsmith.trees[own])[1:]))
    assert langsmith.trees.keys() == {own}
    seen = langsmith.trees[own]
    assert seen.root["id"] == own
    assert seen.root["outputs"]["output"] == run["result"]["output"]
    assert [part["name"] for part in segments(seen)] == ["segment 1", "segment 2", "segment 3"]
    reached = list[Part]()
    waiting = [seen.root]
    while waiting:
        part = waiting.pop()
        reached.append(part)
        waiting += seen.below(part)
    assert len(reached) == len(seen.parts), "every part has its parent"
    for part in reached:
        about = part["extra"]["metadata"]
        assert (about["run_id"], about["thread_id"]) == (run["id"], run["thread_id"])
    cut_off = {part["name"] for part in reached if "end_time" not in part}
    assert {"segment 1", "coder"} <= cut_off
    assert not {"segment 2", "segment 3", "analyst"} & cut_off
    assert f"/r/{own}" in run["trace_url"]


def segments(seen: Tree) -> list[Part]:
    """Return the parts below the root, in order."""
    return sorted(seen.below(seen.root), key=lambda part: str(part["dotted_order"]))


def check_receipt(second: Service, run: Run, approval_id: str) -> None:
    """Check that it says who decided, that it was done once, by which processes, and what it cost."""
    receipt: dict[str, Any] = second.client.get(f"/v1/runs/{run['id']}/receipt").json()
    for name in ("thread_id", "status", "attempt", "usage", "rounds", "degraded"):
        assert receipt[name] == run[name], name
    [executed] = receipt["configurations"]
    assert executed["attempts"] == [1, 2, 3]
    assert set(run["usage"]["by_model"]) <= {m for c in executed["models"].values() for m in c}
    [approval] = receipt["approvals"]
    told = second.client.get(f"/v1/approvals/{approval_id}").json()
    assert (approval["id"], approval["decision"]) == (approval_id, told["decision"])
    assert (told["decision"]["type"], told["decision"]["by"]) == ("approve", receipt["created_by"])
    [action] = receipt["actions"]
    assert (action["id"], action["status"]) == (action_id(approval_id), "done")
    assert action["attempt"] == 3
    assert action["args_digest"] == approval["args_digest"]
    resolved = [s for s in second.process.log if s.get("action") == "approval.resolved"]
    assert [(line["approval_id"], line["by"]) for line in resolved] == [
        (approval_id, approval["decision"]["by"])
    ]
