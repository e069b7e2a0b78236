"""What a process counts, as Prometheus reads it: `signalbox_…`. Labels are few and known; no ids, no texts.

Each process counts what it has done itself, so sums over all processes are the service's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Final, NamedTuple, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest, start_http_server

from domain.approval import ApprovalType, Verb
from domain.budget import Tried
from domain.delivery import DeliveryStatus
from domain.events import SUPERVISOR, TERMINAL_TYPES, Event
from domain.run import ACTIVE, TERMINAL
from domain.usage import ModelCall
from domain.validation import Verdict

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

PREFIX: Final = "signalbox_"

OTHER: Final = "other"
"""The label of what nobody has told beforehand: whoever calls may not make up labels without end."""

MAX_UNDER_WAY: Final = 10_000
"""Assignments whose beginning is remembered; that of the oldest is forgotten first."""

_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_LONG: Final = (1, 10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 3 * 24 * 3600)
_SHORT: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_ENDS: Final[Mapping[str, str]] = {type_: status for status, type_ in TERMINAL_TYPES.items()}
_KINDS_OF_TOKENS: Final = ("input", "output", "cached", "reasoning")
_OUTCOMES: Final = (*get_args(Verb), "expired")
_OF_THE_GRAPH: Final = (SUPERVISOR, "validator")
"""Agents that nobody gives an assignment, and that call models."""


class Family(NamedTuple):
    """What is counted under one name."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


class Shown(NamedTuple):
    """Where metrics are shown, and what ends that."""

    port: int
    stop: Callable[[], None]


class Metrics:
    """The counters of one process."""

    def __init__(self, *, agents: Collection[str], tools: Collection[str]) -> None:
        # When each was first counted: a third more lines, and `runs_created` says what it is not.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self.families: Final[list[Family]] = []
        self._asking = CollectorRegistry()
        self._shared = CollectorRegistry()
        self._agents = frozenset({*agents, *_OF_THE_GRAPH})
        self._tools = frozenset(tools)
        self._begun: OrderedDict[tuple[str, int, str], datetime] = OrderedDict()
        self._make_runs()
        self._make_database()
        self._make_work()
        self._make_models()
        self._make_edge()
        self._prepare_work()
        self._prepare_rest()
        self._counts: Final[Mapping[str, Callable[[Event], None]]] = {
            "run.started": self._started,
            "agent.started": self._agent_started,
            "agent.completed": self._agent_ended,
            "agent.failed": self._agent_ended,
            "agent.retrying": self._retried,
            "tool.completed": self._tool_ended,
            "tool.failed": self._tool_ended,
            "cache.hit": self._hit,
            "approval.resolved": self._decided,
            "approval.expired": self._decided,
            "action.in_doubt": self._in_doubt,
            "budget.reached": self._reached,
            "validation.completed": self._checked,
        }
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def _make_runs(self) -> None:
        self._runs = self._counter("runs", "Runs that have ended here.", "status")
        self._run_seconds = self._histogram(
            "run_duration_seconds",
            "From a run's creation to its end, waiting for people included.",
            _LONG,
            "status",
        )
        self._queue_seconds = self._histogram(
            "queue_wait_seconds", "From a run's creation to its first start.", _SECONDS
        )
        self._degraded = self._counter("degraded", "What answers had to do without.", "agent")
        self._budgets = self._counter("budget_reached", "Limits that runs came to.")
        self._doubts = self._counter("actions_in_doubt", "Calls nobody knows the end of.", "tool")
        self._verdicts = self._counter("validations", "What checks of results said.", "verdict")
        self._lag = self._histogram(
            "event_log_lag_seconds", "From what happened to its being stored and sent.", _SHORT
        )

    def _make_database(self) -> None:
        """Make what is the same whichever process is asked: it is read from the database."""
        self._database = self._gauge(
            "database_up", "Whether the database answers: 1 or 0.", registry=self._asking
        )
        self._standing = self._gauge(
            "runs_in_flight", "Runs in the database by status.", "status", registry=self._shared
        )
        self._asked = self._gauge(
            "approvals_pending", "Questions nobody has answered yet.", registry=self._shared
        )

    def _make_work(self) -> None:
        self._work = self._counter(
            "agent_assignments", "Assignments that ended.", "agent", "status"
        )
        self._work_seconds = self._histogram(
            "agent_duration_seconds", "How long an agent worked on one.", _SECONDS, "agent"
        )
        self._tool_calls = self._counter("tool_calls", "Calls of tools.", "tool", "status")
        self._tool_seconds = self._histogram(
            "tool_duration_seconds", "How long a call that succeeded took.", _SECONDS, "tool"
        )
        self._reused = self._counter("cache_hits", "Work that was not done again.", "kind")
        self._approvals = self._counter(
            "approvals", "Questions that were answered, or lapsed.", "type", "outcome"
        )
        self._approval_seconds = self._histogram(
            "approval_wait_seconds", "How long people took to answer.", _LONG, "type"
        )

    def _make_models(self) -> None:
        self._calls = self._counter(
            "model_calls", "Calls of models.", "agent", "model", "tier", "status"
        )
        self._tokens = self._counter(
            "tokens", "Tokens as they are billed.", "agent", "model", "type"
        )
        self._cost = self._counter(
            "cost_usd", "US dollars as far as prices are known.", "agent", "model"
        )
        self._unpriced = self._counter(
            "unpriced_calls", "Calls whose cost is not in signalbox_cost_usd_total.", "model"
        )
        self._retries = self._counter("model_retries", "Calls that were made again.", "agent")
        self._faults = self._counter(
            "model_faults", "Calls that failed, billed or not.", "agent", "model", "cause"
        )

    def _make_edge(self) -> None:
        self._requests = self._histogram(
            "http_request_duration_seconds",
            "How long requests took; streams are not among them.",
            _SHORT,
            "method",
            "route",
            "status",
        )
        self._streams = self._gauge("streams", "Streams of events that are open.")
        self._resumed = self._counter("stream_resumes", "Streams that went on after an event.")
        self._sent = self._counter("webhook_deliveries", "Attempts to deliver.", "result")
        self._sandbox = self._gauge("sandbox", "1 for the back end that runs programs.", "backend")
        self._info = self._gauge("info", "Always 1.", "version", "graph_version", "engine")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        self._note(f"{name}_total", "counter", labels, about)
        return Counter(f"{PREFIX}{name}", about, labels, registry=self._registry)

    def _gauge(
        self, name: str, about: str, *labels: str, registry: CollectorRegistry | None = None
    ) -> Gauge:
        self._note(name, "gauge", labels, about)
        return Gauge(f"{PREFIX}{name}", about, labels, registry=registry or self._registry)

    def _histogram(
        self, name: str, about: str, buckets: Sequence[float], *labels: str
    ) -> Histogram:
        self._note(name, "histogram", labels, about)
        return Histogram(f"{PREFIX}{name}", about, labels, buckets=buckets, registry=self._registry)

    def _note(self, name: str, kind: str, labels: Sequence[str], about: str) -> None:
        self.families.append(Family(f"{PREFIX}{name}", kind, tuple(labels), about))

    # What can be known beforehand is there at 0: of what never was there is no rate to alert on.

    def _prepare_work(self) -> None:
        for agent in sorted(self._agents):
            self._degraded.labels(agent)
            self._retries.labels(agent)
            for status in ("completed", "failed"):
                self._work.labels(agent, status)
        for tool in sorted(self._tools):
            self._doubts.labels(tool)
            for status in ("completed", "failed"):
                self._tool_calls.labels(tool, status)

    def _prepare_rest(self) -> None:
        for status in sorted(TERMINAL):
            self._runs.labels(status)
            self._run_seconds.labels(status)
        for kind, outcome in product(get_args(ApprovalType), _OUTCOMES):
            self._approvals.labels(kind, outcome)
        for verdict in get_args(Verdict):
            self._verdicts.labels(verdict)
        for result in get_args(DeliveryStatus):
            self._sent.labels(result)

    # What happens.

    def stored(self, events: Iterable[Event]) -> None:
        """Count what this process has just stored."""
        now = datetime.now(UTC)
        for event in events:
            self._lag.observe(max((now - event.ts).total_seconds(), 0.0))
            if event.type in _ENDS:
                self._ended(event)
            else:
                count = self._counts.get(event.type)
                if count:
                    count(event)

    def called(self, calls: Iterable[ModelCall]) -> None:
        """Count calls of models that were booked."""
        for call in calls:
            agent = self._agent(call.agent)
            self._calls.labels(agent, call.model, call.tier, call.status).inc()
            counts = (
                call.input_tokens,
                call.output_tokens,
                call.cached_tokens,
                call.reasoning_tokens,
            )
            for kind, count in zip(_KINDS_OF_TOKENS, counts, strict=True):
                if count:
                    self._tokens.labels(agent, call.model, kind).inc(count)
            if call.status == "cached":
                continue
            if call.cost_usd is None or not call.metered:
                self._unpriced.labels(call.model).inc()
            self._cost.labels(agent, call.model).inc(float(call.cost_usd or Decimal(0)))

    def tried(self, tried: Tried) -> None:
        """Count a call that failed, by its HTTP status or the name of the error."""
        if tried.status != "completed":
            planned = tried.planned
            self._faults.labels(self._agent(planned.agent), planned.model, str(tried.cause)).inc()

    def answered(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; `route` is its pattern, `None` where it has none."""
        known = method if method in _METHODS else OTHER
        self._requests.labels(known, route or OTHER, str(status)).observe(seconds)

    def stream_opened(self, *, resumed: bool) -> None:
        """Count a stream that begins."""
        self._streams.inc()
        if resumed:
            self._resumed.inc()

    def stream_closed(self) -> None:
        """Count a stream that has ended."""
        self._streams.dec()

    def delivered(self, result: str) -> None:
        """Count an attempt to send to a webhook, by what its delivery is now."""
        self._sent.labels(result).inc()

    # What is read.

    def tell(self, *, version: str, graph_version: str, engine: str, sandbox: str) -> None:
        """Say what this process is."""
        self._info.labels(version, graph_version, engine).set(1)
        self._sandbox.labels(sandbox).set(1)

    def render(self, standing: Mapping[str, int] | None) -> bytes:
        """Return everything as text. `standing`: how many runs have each status, and `approvals`; `None`
        where the database does not answer, and then nothing is said of them."""
        self._database.set(standing is not None)
        own = generate_latest(self._registry) + generate_latest(self._asking)
        if standing is None:
            return own
        for status in sorted(ACTIVE):
            self._standing.labels(status).set(standing.get(status, 0))
        self._asked.set(standing.get("approvals", 0))
        return own + generate_latest(self._shared)

    def serve(self, host: str, port: int) -> Shown:
        """Show everything on a port of its own, for a process that serves nothing else.

        In a thread, so nothing is said of the database. Raises `OSError` where the port cannot be had."""
        server, thread = start_http_server(port, host, self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return Shown(server.server_port, stop)

    # By event.

    def _ended(self, event: Event) -> None:
        status = _ENDS[event.type]
        self._runs.labels(status).inc()
        run = event.data.get("run") or {}
        self._run_seconds.labels(status).observe(_since(run.get("created_at"), event.ts))
        for part in run.get("degraded", ()):
            self._degraded.labels(self._agent(part["agent"])).inc()
        for place in [place for place in self._begun if place[0] == event.run_id]:
            del self._begun[place]

    def _started(self, event: Event) -> None:
        self._queue_seconds.observe(max((event.ts - _made_at(event.run_id)).total_seconds(), 0.0))

    def _agent_started(self, event: Event) -> None:
        self._begun[event.run_id, event.round, event.path or ""] = event.ts
        if len(self._begun) > MAX_UNDER_WAY:
            self._begun.popitem(last=False)

    def _agent_ended(self, event: Event) -> None:
        agent = self._agent(event.agent)
        self._work.labels(agent, event.type.removeprefix("agent.")).inc()
        begun = self._begun.pop((event.run_id, event.round, event.path or ""), None)
        if begun:
            self._work_seconds.labels(agent).observe((event.ts - begun).total_seconds())

    def _retried(self, event: Event) -> None:
        self._retries.labels(self._agent(event.agent)).inc()

    def _tool_ended(self, event: Event) -> None:
        tool = self._tool(event.data.get("tool"))
        self._tool_calls.labels(tool, event.type.removeprefix("tool.")).inc()
        took = event.data.get("duration_ms")
        if took is not None and event.type == "tool.completed":
            self._tool_seconds.labels(tool).observe(took / 1000)

    def _hit(self, event: Event) -> None:
        self._reused.labels(event.data["kind"]).inc()

    def _decided(self, event: Event) -> None:
        approval = event.data["approval"]
        decision = approval.get("decision") or {}
        self._approvals.labels(approval["type"], decision.get("type", "expired")).inc()
        if decision:
            waited = _since(approval["created_at"], event.ts)
            self._approval_seconds.labels(approval["type"]).observe(waited)

    def _in_doubt(self, event: Event) -> None:
        self._doubts.labels(self._tool(event.data["action"]["tool"])).inc()

    def _reached(self, _event: Event) -> None:
        self._budgets.inc()

    def _checked(self, event: Event) -> None:
        self._verdicts.labels(event.data["verdict"]).inc()

    def _agent(self, name: str | None) -> str:
        return name if name in self._agents else OTHER

    def _tool(self, name: object) -> str:
        return str(name) if name in self._tools else OTHER


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})


def _since(time: str | None, until: datetime) -> float:
    return max((until - datetime.fromisoformat(time)).total_seconds(), 0.0) if time else 0.0


def _made_at(run_id: str) -> datetime:
    """Return when a run was made: its id is a UUIDv7, which begins with the time in milliseconds."""
    milliseconds = int(run_id.removeprefix("run_")[:12], 16)
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
