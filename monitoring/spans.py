"""Makes a trace of what a run has written: its events, and the calls of models as they end.

Nothing is taken from them but names, numbers, statuses and times: no task, no answer, no argument of a tool,
no text of an error. The ids follow from the run's id and from what a span is about, so that whoever writes a
span, in whichever process, names the same parents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from domain.budget import BUDGET, Tried
from domain.events import SUPERVISOR
from domain.run import Run
from domain.tracing import TraceParent, read_traceparent, span_id_of, trace_id_of
from domain.usage import cost_of
from domain.validation import VALIDATOR
from monitoring import genai

Value = str | bool | int | float | Sequence[str]

OF_THE_GRAPH: Final = frozenset({SUPERVISOR, VALIDATOR, BUDGET})
"""Paths that are no assignment's."""

_OF_THE_ANSWER: Final = frozenset({"answer", "mended", "fill"})
"""What the supervisor's calls are called that are no decisions."""

_LEAST_FAULT: Final = 500


class Moment(NamedTuple):
    """Something that happened within a span."""

    name: str
    at: datetime
    attributes: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a trace, as it ended."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    began: datetime
    ended: datetime
    kind: Literal["internal", "client", "server"] = "internal"
    attributes: Mapping[str, Value]
    moments: tuple[Moment, ...] = ()
    links: tuple[TraceParent, ...] = ()
    """Spans that it has to do with, in this trace or another."""
    error: str | None = None
    """What it failed of, in one word."""


class Place(NamedTuple):
    """A part of a run: one of its rounds, or an assignment of that."""

    round: int
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Parents:
    """How the spans of a run are named, from its creation to its end or from a retry to the next one."""

    run: Run

    @property
    def trace_id(self) -> str:
        """Return the trace."""
        return trace_id_of(self.run.id, self.run.traceparent)

    @property
    def of_run(self) -> str:
        """Return the id of the span of the run itself."""
        return run_span_id(self.run.id, self.run.retried_after)

    @property
    def above(self) -> str | None:
        """Return what the run's span is below: after a retry the span that it had before the first one."""
        if self.run.retried_after:
            return run_span_id(self.run.id, 0)
        parent = read_traceparent(self.run.traceparent)
        return parent.span_id if parent else None

    def of(self, place: Place) -> str:
        """Return the id of the span of a part."""
        return self.named("part", place.round, place.path) if place.round else self.of_run

    def named(self, *what: object) -> str:
        """Return the id of the span of whatever else there is once."""
        return span_id_of(self.run.id, self.run.retried_after, *what)

    @property
    def common(self) -> dict[str, Value]:
        """Return what every span of the run has."""
        return {genai.RUN: self.run.id, genai.CONVERSATION: self.run.thread_id}


def run_span_id(run_id: str, retried_after: int) -> str:
    """Return the id of a run's own span: it has one for each end that it comes to."""
    return span_id_of(run_id, retried_after, "run")


def place_of(tried: Tried) -> Place:
    """Return which part of its run a call belongs to; those of the final answer are of the run itself."""
    _, path, name, _ = tried.planned.key.split("|", 3)
    if path == SUPERVISOR and name.partition("~")[0] in _OF_THE_ANSWER:
        return Place(0)
    return Place(tried.planned.round, "" if path in OF_THE_GRAPH else path)


def call_span(run: Run, tried: Tried, place: Place) -> Span:
    """Return the span of one try of a model call, below a part of its run."""
    parents, planned, call = Parents(run=run), tried.planned, tried.call
    provider, model = genai.provider_and_model(planned.model)
    attributes: dict[str, Value] = {
        **parents.common,
        genai.OPERATION: genai.CHAT,
        genai.PROVIDER: provider,
        genai.MODEL: model,
        genai.AGENT: planned.agent,
        genai.TIER: planned.tier,
        genai.ROUND: planned.round,
        genai.ATTEMPT: planned.attempt,
        genai.TRY: int(planned.key.partition("~")[2] or 1),
        genai.CALL_STATUS: tried.status,
    }
    if planned.max_tokens:
        attributes[genai.MAX_TOKENS] = planned.max_tokens
    if call and call.metered:
        attributes |= {
            genai.INPUT_TOKENS: call.input_tokens,
            genai.OUTPUT_TOKENS: call.output_tokens,
            genai.CACHED_TOKENS: call.cached_tokens,
            genai.REASONING_TOKENS: call.reasoning_tokens,
        }
    cost = cost_of(call) if call else Decimal(0)
    if cost is not None:
        attributes[genai.COST] = float(cost)
    return Span(
        name=f"{genai.CHAT} {model}",
        trace_id=parents.trace_id,
        span_id=parents.named("call", planned.key),
        parent_id=parents.of(place),
        began=tried.began,
        ended=tried.ended,
        kind="client",
        attributes=attributes,
        error=tried.cause,
    )


def run_parent(run: Run) -> TraceParent:
    """Return the span of a run, for what leads to it or comes of it."""
    parents = Parents(run=run)
    return TraceParent(parents.trace_id, parents.of_run, sampled=True)


def request_span(
    own: TraceParent,
    caller: TraceParent | None,
    *,
    method: str,
    route: str | None,
    status: int | None,
    run: TraceParent | None,
    began: datetime,
    ended: datetime,
) -> Span:
    """Return the span of a request to the API; its path and query may hold what only its caller is to know.

    `status` is `None` where its client left before the answer. The run that it led to is linked, and not below
    it: a run outlives its request, and the process that has answered it."""
    attributes: dict[str, Value] = {genai.HTTP_METHOD: method}
    if status:
        attributes[genai.HTTP_STATUS] = status
    if route:
        attributes[genai.HTTP_ROUTE] = route
    failed = str(status) if status and status >= _LEAST_FAULT else None
    return Span(
        name=f"{method} {route}" if route else method,
        trace_id=own.trace_id,
        span_id=own.span_id,
        parent_id=caller.span_id if caller else None,
        began=began,
        ended=ended,
        kind="server",
        attributes=attributes,
        links=(run,) if run else (),
        error=failed if status else "disconnected",
    )
