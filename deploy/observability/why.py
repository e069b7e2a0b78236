"""Says what went wrong in a run: who failed, of what, what that cost, and how often it was tried again.

    python why.py run_01a2… --log signalbox.log
    python why.py run_01a2… --spans spans.jsonl --metrics http://localhost:8000/metrics

`--log`: the JSON lines of all processes that the run went through, in one file; `-` is stdin · `--spans`: what the
`file` exporter of an OpenTelemetry Collector writes · `--metrics`: an address or a file; adds what that process has
counted of the same agents. The key for it is taken from SIGNALBOX_API_KEY. Python 3.11 is all that it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

SECONDS = 10.0
CUT_OFF = frozenset({"cancelled", "unfinished"})
"""What says no more of a part than that its run has ended."""

ENDS = frozenset({"run.completed", "run.incomplete", "run.failed", "run.cancelled"})
COUNTERS = {
    "failed": "signalbox_agent_assignments_total",
    "retries": "signalbox_model_retries_total",
    "cost_usd": "signalbox_cost_usd_total",
}
_SAMPLE = re.compile(r'^(\w+)\{(.*?agent="([^"]*)".*?)\} (\S+)')


@dataclass
class Agent:
    """What is known of one agent's part in a run."""

    code: str | None = None
    detail: str | None = None
    failed: int = 0
    retries: int = 0
    cost: Decimal | None = Decimal(0)
    """`None` where nobody knows it."""
    faults: Counter[str] = field(default_factory=Counter)
    """What calls of its model failed of: HTTP statuses and names of errors."""
    tools: Counter[str] = field(default_factory=Counter)
    """Tools whose calls failed."""

    def pay(self, cost: str | float | None) -> None:
        """Add what a call cost."""
        known = self.cost is not None and cost is not None
        self.cost = (self.cost or Decimal(0)) + Decimal(str(cost)) if known else None


@dataclass
class Run:
    """What is known of a run."""

    id: str
    trace_id: str | None = None
    status: str | None = None
    stop_reason: str | None = None
    code: str | None = None
    detail: str | None = None
    cost: Decimal | None = None
    degraded: list[str] = field(default_factory=list)
    agents: dict[str, Agent] = field(default_factory=dict)
    last_fault: str | None = None
    """Whose call failed last."""

    def of(self, agent: str) -> Agent:
        """Return an agent's part."""
        return self.agents.setdefault(agent, Agent())

    def fault(self, agent: str, cause: str) -> None:
        """Take note of a call of a model that failed."""
        if cause not in CUT_OFF:
            self.of(agent).faults[cause] += 1
            self.last_fault = agent

    def fail(self, agent: str, code: str, detail: str | None = None) -> None:
        """Take note of an assignment that failed."""
        if code not in CUT_OFF:
            part = self.of(agent)
            part.failed += 1
            part.code, part.detail = code, detail

    def outcome_of(self, name: str) -> str | None:
        """Return what became of an agent with which something was wrong."""
        part = self.agents[name]
        if part.failed or name == self.culprit:
            return "failed"
        if name in self.degraded:
            return "degraded"
        return "recovered" if part.retries or part.faults or part.tools else None

    @property
    def culprit(self) -> str | None:
        """Return of whose failure a run ends in which no assignment has failed: the supervisor's, mostly."""
        any_failed = any(part.failed for part in self.agents.values())
        return self.last_fault if self.status == "failed" and not any_failed else None

    def answer(self) -> dict[str, Any]:
        """Return it as JSON."""
        for name in self.degraded:
            self.of(name)
        if self.culprit:
            part = self.of(self.culprit)
            part.code, part.detail = self.code, self.detail
        troubled = {
            name: {
                "outcome": self.outcome_of(name),
                "code": part.code,
                "detail": part.detail,
                "cost_usd": plain(part.cost),
                "retries": part.retries,
                "faults": dict(sorted(part.faults.items())),
                "tools": dict(sorted(part.tools.items())),
            }
            for name, part in sorted(self.agents.items())
            if self.outcome_of(name)
        }
        return {
            "run_id": self.id,
            "trace_id": self.trace_id,
            "status": self.status,
            "stop_reason": self.stop_reason,
            "code": self.code,
            "cost_usd": plain(self.cost),
            "degraded": self.degraded,
            "agents": troubled,
        }


def plain(amount: Decimal | None) -> str | None:
    """Return an amount as the API writes it."""
    return None if amount is None else format(amount.normalize() + 0, "f")


def read_log(run_id: str, lines: Iterable[str]) -> Run | None:
    """Return what log lines say of a run; those of other things are left alone."""
    run, found = Run(run_id), False
    for text in lines:
        if run_id not in text or not text.startswith("{"):
            continue
        try:
            line = json.loads(text)
        except ValueError:
            continue  # a process that was killed may have written half of its last line
        if line.get("run_id") == run_id:
            found = True
            run.trace_id = line.get("trace_id") or run.trace_id
            take_line(run, line)
    return run if found else None


def take_line(run: Run, line: dict[str, Any]) -> None:
    """Take note of a line."""
    agent = line.get("agent") or ""
    match line.get("action"):
        case "agent.failed":
            run.fail(agent, line["code"], line.get("detail"))
        case "agent.retrying":
            run.of(agent).retries += 1
        case "model_called":
            run.of(agent).pay(line.get("cost_usd"))
        case "model_failed":
            run.fault(agent, line["cause"])
        case "tool.failed":
            run.of(agent).tools[line["tool"]] += 1
        case action if action in ENDS:
            run.status, run.stop_reason = line["status"], line.get("stop_reason")
            run.code, run.detail = line.get("code"), line.get("detail")
            run.degraded = sorted(line.get("degraded") or ())
            run.cost = Decimal(line["cost_usd"]) if line.get("cost_known") else None


def read_spans(run_id: str, lines: Iterable[str]) -> Run | None:
    """Return what spans say of a run."""
    spans: dict[str, dict[str, Any]] = {}
    for text in lines:
        if run_id in text:
            for span in spans_of(json.loads(text)):
                if span["attributes"].get("signalbox.run.id") == run_id:
                    spans[span["spanId"]] = span
    run = Run(run_id)
    for span in sorted(spans.values(), key=lambda each: int(each["endTimeUnixNano"])):
        run.trace_id = span["traceId"]
        take_span(run, span["attributes"])
        for event in span.get("events", ()):
            if event["name"] == "retry":
                run.of(values_of(event)["gen_ai.agent.name"]).retries += 1
    return run if spans else None


def spans_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the spans of an export, with their attributes as plain values."""
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield {**span, "attributes": values_of(span)}


def values_of(part: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span or of one of its events."""
    return {pair["key"]: value_of(pair["value"]) for pair in part.get("attributes", ())}


def value_of(value: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Return an attribute's value."""
    if "arrayValue" in value:
        return [value_of(each) for each in value["arrayValue"].get("values", ())]
    # The others are there as they are, but for whole numbers, which JSON has as texts.
    return int(value["intValue"]) if "intValue" in value else next(iter(value.values()), None)


def take_span(run: Run, attributes: dict[str, Any]) -> None:
    """Take note of a span."""
    agent = attributes.get("gen_ai.agent.name", "")
    error, cost = attributes.get("error.type"), attributes.get("signalbox.cost_usd")
    match attributes.get("gen_ai.operation.name"):
        case "invoke_agent":
            run.of(agent)
            if error:
                run.fail(agent, error)
        case "chat":
            run.of(agent).pay(cost)
            if error:
                run.fault(agent, error)
        case "execute_tool" if error and error not in CUT_OFF:
            run.of(agent).tools[attributes["gen_ai.tool.name"]] += 1
        case "invoke_workflow":
            run.status = attributes["signalbox.run.status"]
            run.stop_reason = attributes.get("signalbox.run.stop_reason")
            run.code = error
            run.degraded = sorted(attributes.get("signalbox.run.degraded", ()))
            run.cost = None if cost is None else Decimal(str(cost))


def read_metrics(text: str, agents: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what a process has counted of agents since it began."""
    sums = {name: dict.fromkeys(COUNTERS, Decimal(0)) for name in agents}
    for name, labels, agent, value in filter(None, map(sample_of, text.splitlines())):
        for what, counter in COUNTERS.items():
            wanted = name == counter and (what != "failed" or 'status="failed"' in labels)
            if wanted and agent in sums:
                sums[agent][what] += Decimal(value)
    return {
        agent: {what: plain(round(amount, 12)) or "0" for what, amount in counts.items()}
        for agent, counts in sums.items()
    }


def sample_of(line: str) -> tuple[str, str, str, str] | None:
    """Return name, labels, agent and value of a sample that is about an agent."""
    match = _SAMPLE.match(line)
    return (match[1], match[2], match[3], match[4]) if match else None


def fetch(where: str) -> str:
    """Return the metrics of an address, or of a file."""
    if not where.startswith(("http://", "https://")):
        return Path(where).read_text(encoding="utf-8")
    key = os.environ.get("SIGNALBOX_API_KEY")  # noqa: TID251 - a script without settings
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(where, headers=headers)  # noqa: S310 - it is one of the two
    with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - as above
        return str(response.read().decode())


def tell(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the answer in lines for people."""
    code = f", {answer['code']}" if answer["code"] else ""
    status = (
        f"{answer['status']} ({answer['stop_reason']}{code})" if answer["status"] else "not over"
    )
    yield f"{answer['run_id']} {status}, {money(answer['cost_usd'])}"
    for name, part in answer["agents"].items():
        retries = f"{part['retries']} {'retry' if part['retries'] == 1 else 'retries'}"
        code = f" ({part['code']})" if part["code"] else ""
        yield f"{name} {part['outcome']}{code}: {money(part['cost_usd'])}, {retries}"
        if part["detail"]:
            yield f"  {part['detail']}"
        for what, counts in (("model calls", part["faults"]), ("tools", part["tools"])):
            if counts:
                yield f"  {what} that failed: {', '.join(f'{n} x {k}' for k, n in counts.items())}"
    if not answer["agents"]:
        yield "nothing went wrong with its agents"
    for name, counts in answer.get("metrics", {}).items():
        yield (
            f"{name} in that process so far: {counts['failed']} failed, {counts['retries']} retries, "
            f"{money(counts['cost_usd'])}"
        )


def money(amount: str | None) -> str:
    """Return an amount for people."""
    return "cost unknown" if amount is None else f"US$ {amount}"


def main() -> int:
    """Tell; exit 1 where nothing is said of the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_id")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--log", metavar="FILE")
    source.add_argument("--spans", metavar="FILE")
    parser.add_argument("--metrics", metavar="URL")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    read, file = (read_log, options.log) if options.log else (read_spans, options.spans)
    try:
        if file == "-":
            run = read(options.run_id, sys.stdin)
        else:
            with Path(file).open(encoding="utf-8") as lines:
                run = read(options.run_id, lines)
        metrics = fetch(options.metrics) if options.metrics else None
    except (OSError, ValueError, LookupError) as error:
        sys.stderr.write(f"why.py: it cannot be read: {error!r}\n")
        return 1
    if run is None:
        sys.stderr.write(f"why.py: nothing is said of {options.run_id} in {file}\n")
        return 1
    answer = run.answer()
    if metrics is not None:
        answer["metrics"] = read_metrics(metrics, answer["agents"])
    text = json.dumps(answer, indent=2) if options.json else "\n".join(tell(answer))
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
