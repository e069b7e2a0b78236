"""Reads a run that has ended as a trace: its rounds, the work of its agents, their tools, and who was asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from domain.events import Event, EventType
from domain.run import Run
from monitoring import genai
from monitoring.spans import OF_THE_GRAPH, Moment, Parents, Place, Span, Value

TYPES: Final[frozenset[EventType]] = frozenset(
    {
        *("run.started", "run.resumed", "run.requires_action"),
        *("run.completed", "run.failed", "run.cancelled", "run.incomplete"),
        *("supervisor.decision", "validation.completed"),
        *("agent.started", "agent.completed", "agent.failed", "agent.retrying"),
        *("tool.started", "tool.completed", "tool.failed"),
        *("approval.requested", "approval.resolved", "approval.expired"),
        *("action.in_doubt", "budget.warning", "budget.reached", "cache.hit"),
    }
)
"""The events that a trace is made of."""

_BEGINNINGS: Final = frozenset({"run.started", "run.resumed"})

UNFINISHED: Final = "unfinished"
"""The error of a part that the end of its run has cut off."""

OTHER: Final = "other"
"""The name of a tool that is none of this server's: a model may have made it up."""


def places_of(event: Event) -> list[Place]:
    """Return the parts of its run that an event makes a trace have."""
    if event.type not in TYPES or not event.round:
        return []
    if not event.path or event.path in OF_THE_GRAPH or event.type.startswith("approval."):
        return [Place(event.round)]
    return [Place(event.round), Place(event.round, event.path)]


def since_retry(events: Sequence[Event]) -> Sequence[Event]:
    """Return the events of a run since it was retried last: those after the end that went before the last event."""
    ends = [index for index, event in enumerate(events[:-1]) if event.terminal]
    return events[ends[-1] + 1 :] if ends else events


def run_spans(
    run: Run, events: Sequence[Event], named: Mapping[Place, datetime], *, tools: Collection[str]
) -> list[Span]:
    """Return the spans of a run that has ended, but for those of its model calls.

    `events`: all that it has of `TYPES` · `named`: parts that calls have named as theirs, which there may be no
    event of, and when · `tools`: the names there are."""
    until = [event for event in events if event.seq <= run.last_seq]
    return _Trace(run, since_retry(until), tools).spans(named)


@dataclass
class _Part:
    """An assignment, or a call of a tool, as far as it has come."""

    agent: str
    began: datetime
    ended: datetime | None = None
    error: str | None = None
    attributes: dict[str, Value] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)


class _Trace:
    """What a run has done up to one of its ends."""

    def __init__(self, run: Run, events: Sequence[Event], tools: Collection[str]) -> None:
        self._run = run
        self._events = events
        self._tools = tools
        self._parents = Parents(run=run)
        first = events[0].ts if events else run.created_at
        self._began = first if run.retried_after else run.created_at
        self._ended = max([run.ended_at or self._began, *(event.ts for event in events[-1:])])
        self._cut_off = "cancelled" if run.status == "cancelled" else UNFINISHED
        self._moments: list[Moment] = []
        self._rounds: dict[int, list[Moment]] = {}
        self._work: dict[Place, _Part] = {}
        self._calls: dict[str, tuple[Place, _Part]] = {}
        self._asked: dict[str, _Part] = {}

    def spans(self, named: Mapping[Place, datetime]) -> list[Span]:
        """Return them."""
        for event in self._events:
            self._take(event)
        for place, at in named.items():
            if place.path:
                self._part_of(place, place.path.partition("#")[0], at)
        return [
            self._of_run(),
            *self._of_rounds({place.round for place in named}),
            *self._of_work(),
            *self._of_tools(),
            *self._of_questions(),
        ]

    def _take(self, event: Event) -> None:
        """Take note of one event."""
        kind, _, what = event.type.partition(".")
        if kind == "tool":
            self._take_tool(event, ended=what != "started")
        elif kind == "approval":
            self._take_approval(event, asked=what == "requested")
        elif event.round and event.path and event.path not in OF_THE_GRAPH:
            self._take_work(event)
        else:
            moments = self._rounds.setdefault(event.round, []) if event.round else self._moments
            moments += _moments_of(event)

    def _take_work(self, event: Event) -> None:
        part = self._part_of(Place(event.round, event.path or ""), event.agent or "", event.ts)
        if event.type == "agent.started":
            _, model = genai.provider_and_model(event.data["model"])
            part.attributes |= {genai.MODEL: model, genai.TIER: event.data["tier"]}
        elif event.type in {"agent.completed", "agent.failed"}:
            part.ended = event.ts
            part.error = event.data.get("code") if event.type == "agent.failed" else None
        else:
            part.moments += _moments_of(event)

    def _part_of(self, place: Place, agent: str, at: datetime) -> _Part:
        """Return an assignment; what began before a retry goes on from its first sign since."""
        self._rounds.setdefault(place.round, [])
        if place not in self._work:
            self._work[place] = _Part(agent, at)
        return self._work[place]

    def _take_tool(self, event: Event, *, ended: bool) -> None:
        place, agent = Place(event.round, event.path or ""), event.agent or ""
        self._part_of(place, agent, event.ts)
        call_id = event.data["call_id"]
        _, part = self._calls.setdefault(call_id, (place, _Part(agent, event.ts)))
        part.attributes[genai.TOOL] = self._tool(event.data["tool"])
        if ended:
            took = timedelta(milliseconds=event.data.get("duration_ms") or 0)
            # A call that a crash kept from being told of is told of when it has ended.
            part.began = min(part.began, event.ts - took)
            part.ended = event.ts
            part.error = "tool-failed" if event.type == "tool.failed" else None

    def _take_approval(self, event: Event, *, asked: bool) -> None:
        approval = event.data["approval"]
        if asked:
            part = self._asked.setdefault(approval["id"], _Part(event.agent or "", event.ts))
            part.attributes |= {genai.APPROVAL_TYPE: approval["type"], genai.OUTCOME: "open"}
            if event.round:
                part.attributes[genai.ROUND] = event.round
            if approval.get("tool"):
                part.attributes[genai.TOOL] = self._tool(approval["tool"])
        elif approval["id"] in self._asked:
            part = self._asked[approval["id"]]
            part.ended = event.ts
            part.attributes[genai.OUTCOME] = (approval.get("decision") or {"type": "expired"})[
                "type"
            ]

    def _tool(self, name: str) -> str:
        return name if name in self._tools else OTHER

    def _span(
        self,
        name: str,
        span_id: str,
        parent_id: str | None,
        began: datetime,
        ended: datetime,
        attributes: Mapping[str, Value],
        moments: Iterable[Moment] = (),
        error: str | None = None,
    ) -> Span:
        return Span(
            name=name,
            trace_id=self._parents.trace_id,
            span_id=span_id,
            parent_id=parent_id,
            began=began,
            ended=max(began, ended),
            attributes={**self._parents.common, **attributes},
            moments=tuple(moments),
            error=error,
        )

    def _of_run(self) -> Span:
        run = self._run
        attributes: dict[str, Value] = {
            genai.OPERATION: genai.INVOKE_WORKFLOW,
            genai.WORKFLOW: genai.PRODUCT,
            genai.STATUS: run.status,
            genai.ROUNDS: run.rounds,
            genai.ATTEMPTS: run.attempt,
            genai.ENGINE: run.engine,
            genai.DEGRADED: sorted({part.agent for part in run.degraded}),
        }
        if run.stop_reason:
            attributes[genai.STOP_REASON] = run.stop_reason
        if run.usage.cost_usd is not None:
            attributes[genai.COST] = float(run.usage.cost_usd)
        error = (run.error["code"] if run.error else UNFINISHED) if run.status == "failed" else None
        return self._span(
            f"{genai.INVOKE_WORKFLOW} {genai.PRODUCT}",
            self._parents.of_run,
            self._parents.above,
            self._began,
            self._ended,
            attributes,
            self._moments,
            error,
        )

    def _of_rounds(self, named: set[int]) -> list[Span]:
        """Return the rounds: each lasts from the end of what came before it to that of its last event."""
        times: dict[int, list[datetime]] = {}
        for event in self._events:
            times.setdefault(event.round, []).append(event.ts)
        numbers = sorted((times.keys() | self._rounds.keys() | named) - {0})
        began = [event.ts for event in self._events if event.type in _BEGINNINGS]
        since = began[0] if began else self._began
        spans: list[Span] = []
        for number in numbers:
            own = times.get(number, [])
            until = self._ended if number == numbers[-1] else max(own, default=since)
            spans.append(
                self._span(
                    f"round {number}",
                    self._parents.of(Place(number)),
                    self._parents.of_run,
                    min([since, *own]),
                    until,
                    {genai.ROUND: number},
                    self._rounds.get(number, ()),
                )
            )
            since = max(since, until)
        return spans

    def _of_work(self) -> list[Span]:
        return [
            self._span(
                f"{genai.INVOKE_AGENT} {part.agent}",
                self._parents.of(place),
                self._parents.of(Place(place.round)),
                part.began,
                part.ended or self._ended,
                {
                    genai.OPERATION: genai.INVOKE_AGENT,
                    genai.AGENT: part.agent,
                    genai.ROUND: place.round,
                    genai.PATH: place.path,
                    genai.RETRIES: sum(each.name == "retry" for each in part.moments),
                    **part.attributes,
                },
                part.moments,
                part.error if part.ended else self._cut_off,
            )
            for place, part in self._work.items()
        ]

    def _of_tools(self) -> list[Span]:
        return [
            self._span(
                f"{genai.EXECUTE_TOOL} {part.attributes[genai.TOOL]}",
                self._parents.named("tool", call_id),
                self._parents.of(place),
                part.began,
                part.ended or self._ended,
                {
                    genai.OPERATION: genai.EXECUTE_TOOL,
                    genai.TOOL_CALL: call_id,
                    genai.AGENT: part.agent,
                    **part.attributes,
                },
                error=part.error if part.ended else self._cut_off,
            )
            for call_id, (place, part) in self._calls.items()
        ]

    def _of_questions(self) -> list[Span]:
        """Return how long people were waited for."""
        return [
            self._span(
                f"approval {part.attributes[genai.APPROVAL_TYPE]}",
                self._parents.named("approval", approval_id),
                self._parents.of_run,
                part.began,
                part.ended or self._ended,
                {genai.APPROVAL: approval_id, genai.AGENT: part.agent, **part.attributes},
            )
            for approval_id, part in self._asked.items()
        ]


def _moments_of(event: Event) -> list[Moment]:
    """Return what an event is told as where it is no span of its own."""
    data: dict[str, Any] = event.data
    attributes: dict[str, Value]
    match event.type:
        case "supervisor.decision":
            name, attributes = "decision", {"agents": [a["agent"] for a in data["assignments"]]}
        case "validation.completed":
            name, attributes = "check", {"verdict": data["verdict"], "by": data["by"]}
        case "agent.retrying":
            delay = float(data["delay_seconds"])
            name, attributes = "retry", {"try": data["try"], "delay_seconds": delay}
            attributes[genai.AGENT] = event.agent or ""
        case "budget.warning" | "budget.reached":
            name, attributes = event.type, {"scope": data["scope"], "limit": data["limit"]}
        case "cache.hit":
            name, attributes = event.type, {"kind": data["kind"], genai.RUN: data["run_id"]}
        case "run.resumed":
            name, attributes = event.type, {"cause": data["cause"], "attempt": data["attempt"]}
        case "action.in_doubt":
            name, attributes = event.type, {"action": data["action"]["id"]}
        case _:
            return [] if event.terminal else [Moment(event.type, event.ts, {})]
    return [Moment(name, event.ts, attributes)]
