"""What went wrong in a run is found without its database: in the log alone, in the trace alone, and in the metrics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from domain.events import TERMINAL_EVENTS
from tests.conftest import ROOT
from tests.docs.fault_page import AGENTS, FAULTS, OTHER, WHOSE
from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Models
from tests.e2e.processes import Event, Run, Service
from tests.e2e.test_log import BROKEN
from tests.e2e.test_metrics import total
from tests.fakes.billing import PRICES
from tests.fakes.collector import Collector, Seen, collector
from tests.fakes.http_target import CountingTarget, target_in_thread
from tests.fakes.model_server import Reply, Rule, When
from tests.integration.checking import verdict
from tests.integration.team_script import composer, worker

SCRIPT: Final = str(ROOT / "deploy" / "observability" / "why.py")
SANE: Final = Reply(text="It is done.")
ENDS: Final = "|".join(sorted(TERMINAL_EVENTS))
TINY: Final = {"budget": {"per_agent": {"coder": {"max_tokens": 600}}}}


@dataclass(frozen=True, kw_only=True)
class Injected:
    """A fault, whose part of a run it meets, and what is to be found out."""

    whose: str
    outcome: str
    code: str | None = None
    reply: Reply | None = None
    times: int | None = None
    """How many calls it meets; all where not given."""
    body: dict[str, Any] = field(default_factory=dict)
    calls_tool: bool = False
    retries: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    tools: dict[str, int] = field(default_factory=dict)
    cost_known: bool = True


INJECTED: Final[dict[str, Injected]] = {
    "the key is refused": Injected(
        whose="researcher", reply=FAULTS["401"],
        outcome="failed", code="model-error", causes={"401": 1},
    ),
    "one answer is a 500": Injected(
        whose="coder", reply=FAULTS["500"], times=1,
        outcome="recovered", retries=1, causes={"500": 1},
    ),
    "the rate limit stays": Injected(
        whose="analyst", reply=FAULTS["429 with `Retry-After`"],
        outcome="failed", code="model-error", retries=2, causes={"429": 3},
    ),
    "one connection breaks": Injected(
        whose="coder", reply=FAULTS["a broken connection"], times=1, cost_known=False,
        outcome="recovered", retries=1, causes={"OpenAIConnectionError": 1},
    ),
    "one answer does not come": Injected(
        whose="researcher", reply=FAULTS["no answer in time"], times=1, cost_known=False,
        outcome="recovered", retries=1, causes={"timeout": 1},
    ),
    "the answer is withheld": Injected(
        whose="coder", reply=FAULTS["content filter"],
        outcome="failed", code="model-error", causes={"ModelCallError": 1},
    ),
    "answers are empty": Injected(
        whose="analyst", reply=FAULTS["an empty answer"],
        outcome="failed", code="model-error", retries=2, causes={"ModelAnswerError": 3},
    ),
    "nobody decides": Injected(
        whose="supervisor", reply=FAULTS["401"],
        outcome="failed", code="model-error", causes={"401": 1},
    ),
    "one decision is a 500": Injected(
        whose="supervisor", reply=FAULTS["500"], times=1,
        outcome="recovered", retries=1, causes={"500": 1},
    ),
    "nobody checks": Injected(
        whose="validator", reply=FAULTS["401"], body={"validation": "on"},
        outcome="degraded", causes={"401": 1},
    ),
    "a graph from outside raises": Injected(
        whose="acme", outcome="failed", code="internal-error",
    ),
    "time is over": Injected(
        whose="analyst", reply=FAULTS["no answer in time"], body={"budget": {"max_seconds": 1}},
        outcome="failed", code="deadline-exceeded", cost_known=False,
    ),
    "a limit is reached": Injected(
        whose="coder", body={"approvals": {"mode": "never"}, **TINY},
        outcome="failed", code="budget-exhausted",
    ),
    "a tool breaks": Injected(
        whose="coder", calls_tool=True, outcome="recovered", tools={"http_request": 1},
    ),
}  # fmt: skip


@pytest.fixture
def target() -> Iterator[CountingTarget]:
    """Run a server that closes connections without an answer."""
    with target_in_thread() as server:
        server.drop("/gone")
        yield server


@pytest.fixture
def collected() -> Iterator[Collector]:
    """Run a collector."""
    with collector() as found:
        yield found


@pytest.fixture
def service(
    serve: StartService, models: Models, folder: Path, collected: Collector, target: CountingTarget
) -> Service:
    """Return a server with a price for every call, and an agent that breaks."""
    made = folder / "agents_of_acme"
    made.mkdir()
    (made / "acme.py").write_text(BROKEN)
    (folder / "prices.yaml").write_text(PRICES)
    return serve(
        models=models,
        ACME_API_KEY="no-key-at-all",
        SIGNALBOX_AGENTS=str(made),
        SIGNALBOX_PRICES=str(folder / "prices.yaml"),
        SIGNALBOX_MODEL_TIMEOUT="1.5",
        SIGNALBOX_SANDBOX="off",
        SIGNALBOX_HTTP_ALLOW=target.address,
        SIGNALBOX_GATES=orjson.dumps([{"tool": "http_request", "gate": "auto"}]).decode(),
        OTEL_EXPORTER_OTLP_ENDPOINT=collected.url,
        OTEL_BSP_SCHEDULE_DELAY="50",
    )


def script(injected: Injected, target: CountingTarget) -> list[Rule]:
    """Return what the model says in a run of two agents, one of which has the fault."""
    who = injected.whose if injected.whose in {*AGENTS, "acme"} else "coder"
    call = ("http_request", {"method": "GET", "url": target.url("/gone")})
    fails = When(schema=False, user="<assignment>\nFail\n", after_tool=False)
    rules = [
        Rule(when=When(schema=True, user="<results>", system="^You sup"), reply=Reply.route()),
        Rule(
            when=When(schema=True, system="^You supervise"),
            reply=Reply.route((who, "Fail"), (OTHER.get(who, "coder"), "Work")),
        ),
        Rule(when=When(schema=True, system="^You check"), reply=Reply.json(verdict())),
        *([Rule(when=fails, reply=Reply.calls(call))] if injected.calls_tool else []),
        *(worker(task, SANE) for task in ("Fail", "Work")),
        composer(Reply(text="All of it is done.")),
    ]
    if injected.reply:
        rules.insert(
            0, Rule(when=WHOSE[injected.whose], reply=injected.reply, times=injected.times)
        )
    return rules


def whole(collected: Collector, run: Run, events: list[Event]) -> None:
    """Wait until all spans of a run that has ended are there."""
    begun = {(e["round"], e["path"]) for e in events if e["type"] == "agent.started"}
    calls = {e["data"]["call_id"] for e in events if e["type"] == "tool.started"}

    def are_there(seen: list[Seen]) -> bool:
        own = [s.attributes for s in seen if s.attributes.get("signalbox.run.id") == run["id"]]
        names = {each.get("gen_ai.operation.name") for each in own}
        parts = {(each.get("signalbox.round"), each.get("signalbox.path")) for each in own}
        tools = {each.get("gen_ai.tool.call.id") for each in own}
        return "invoke_workflow" in names and begun <= parts and calls <= tools

    collected.wait(are_there)


def oracle(run: Run, events: list[Event], injected: Injected) -> dict[str, Any]:
    """Return what is to be found out, as the API says it."""
    kinds = Counter((event["type"], event["agent"]) for event in events)
    assert kinds["agent.retrying", injected.whose] == injected.retries
    failed = [e["data"]["code"] for e in events if e["type"] == "agent.failed"]
    error = run["error"] and run["error"]["code"]
    assert failed == ([injected.code] if injected.code and error is None else [])
    share = run["usage"]["by_agent"].get(injected.whose, {"cost_usd": "0", "cost_known": True})
    assert share["cost_known"] is injected.cost_known
    assert {part["agent"] for part in run["degraded"]} == (
        {injected.whose} if injected.outcome != "recovered" and error is None else set()
    )
    return {
        "run_id": run["id"],
        "trace_id": run["trace_id"],
        "status": run["status"],
        "stop_reason": run["stop_reason"],
        "code": error,
        "cost_usd": run["usage"]["cost_usd"],
        "degraded": sorted({part["agent"] for part in run["degraded"]}),
        "agents": {
            injected.whose: {
                "outcome": injected.outcome,
                "code": injected.code,
                "cost_usd": share["cost_usd"],
                "retries": injected.retries,
                "faults": injected.causes,
                "tools": injected.tools,
            }
        },
    }


def check_metrics(before: str, after: str, run: Run, injected: Injected) -> None:
    """Check that the process has counted what the run came to."""

    def counted(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    whose = injected.whose
    failed = injected.outcome == "failed" and run["error"] is None
    work = "signalbox_agent_assignments_total"
    assert counted(work, agent=whose, status="failed") == failed
    assert counted(work, status="failed") == failed
    assert counted("signalbox_runs_total", status=run["status"]) == 1
    assert counted("signalbox_model_retries_total", agent=whose) == injected.retries
    assert counted("signalbox_model_retries_total") == injected.retries
    for cause, times in injected.causes.items():
        assert counted("signalbox_model_faults_total", agent=whose, cause=cause) == times
    for tool, times in injected.tools.items():
        assert counted("signalbox_tool_calls_total", tool=tool, status="failed") == times
    unknown = run["usage"]["unmetered_calls"]
    assert counted("signalbox_unpriced_calls_total") == unknown
    assert bool(unknown) is not injected.cost_known
    for name, share in run["usage"]["by_agent"].items():
        if share["cost_known"]:
            cost = counted("signalbox_cost_usd_total", agent=name)
            assert cost == pytest.approx(float(share["cost_usd"]), abs=1e-9), name


@pytest.mark.timeout(120)
def test_a_script_names_every_injected_fault_without_the_database(
    service: Service,
    models: Models,
    collected: Collector,
    target: CountingTarget,
    start_process: StartProcess,
    folder: Path,
) -> None:
    """Who failed, of what, at what cost, after how many retries: the same from each source, and true."""
    log, spans = folder / "all.log", folder / "spans.jsonl"

    def why(run_id: str, *source: str) -> dict[str, Any]:
        process = start_process(SCRIPT, run_id, *source, "--json")
        assert process.ended() == 0, process.stderr
        found: dict[str, Any] = json.loads(process.stdout)
        return found

    runs: dict[str, str] = {}
    expected: dict[str, dict[str, Any]] = {}
    for name, injected in INJECTED.items():
        models.server.rules.clear()
        models.add(*script(injected, target))
        before = service.client.get("/metrics").text
        run = service.ended(service.create(name, **injected.body))
        events = service.events(run["id"])
        service.process.says(rf'"action":"({ENDS})".*"run_id":"{run["id"]}"')
        check_metrics(before, service.client.get("/metrics").text, run, injected)
        whole(collected, run, events)
        runs[name], expected[name] = run["id"], oracle(run, events, injected)
    log.write_text(service.process.stderr)
    spans.write_text(collected.lines())

    for name, run_id in runs.items():
        told = why(run_id, "--log", str(log))
        details = [part.pop("detail") for part in told["agents"].values()]
        assert told == expected[name], name
        assert all(details) is (expected[name]["agents"][INJECTED[name].whose]["code"] is not None)
        traced = why(run_id, "--spans", str(spans))
        assert [part.pop("detail") for part in traced["agents"].values()] == [None]
        assert traced == expected[name], name
    url = f"{service.base_url}/metrics"
    counted = why(runs["a limit is reached"], "--log", str(log), "--metrics", url)["metrics"]
    cost = total(service.client.get("/metrics").text, "signalbox_cost_usd_total", agent="coder")
    assert counted.keys() == {"coder"}
    assert (counted["coder"]["failed"], counted["coder"]["retries"]) == ("2", "2")
    assert Decimal(counted["coder"]["cost_usd"]) == round(Decimal(cost), 12)
