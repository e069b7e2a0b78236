"""A run: its states, the transitions between them, and the resource that clients see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    computed_field,
)

from domain.agent import Citation, Tier
from domain.artifact import Artifact, InputFile
from domain.limits import RunBudget
from domain.problems import Problem
from domain.tracing import trace_id_of
from domain.usage import Usage
from domain.validation import CheckSummary, Validation
from domain.webhook import Webhook

RunStatus = Literal[
    "queued", "running", "requires_action", "completed", "failed", "cancelled", "incomplete"
]
"""Where a run stands: `queued` accepted and waiting for a slot · `running` a segment executes ·
`requires_action` a person is asked · `completed` done · `failed` ended without a usable result ·
`cancelled` stopped by a caller · `incomplete` ended early with a usable partial result."""

StopReason = Literal[
    "done", "max_rounds", "no_progress", "deadline", "budget", "cancelled", "error"
]

MultitaskStrategy = Literal["enqueue", "reject", "interrupt"]
"""What a new run does while its thread is busy, that is while a run of it has not ended, one that asks
a person included: `enqueue` waits for its turn · `reject` is refused · `interrupt` cancels the others
and takes their place."""

ApprovalMode = Literal["policy", "always", "never"]
"""When a person is asked before a tool call: `policy` where the server's gates say so · `always` before
whatever changes something · `never`, but for gates that the server's policy makes mandatory."""

Engine = Literal["model", "offline"]
"""`offline`: no language model was configured and the deterministic planner did the work."""

TRANSITIONS: Final[dict[RunStatus, frozenset[RunStatus]]] = {
    "queued": frozenset({"running", "cancelled"}),
    "running": frozenset(
        {"running", "requires_action", "completed", "failed", "cancelled", "incomplete"}
    ),
    "requires_action": frozenset({"queued", "cancelled", "failed"}),
    "completed": frozenset(),
    "failed": frozenset({"queued"}),
    "cancelled": frozenset(),
    "incomplete": frozenset({"queued"}),
}
"""The only status changes there are. `running` to `running` is a new claim after a crash; what has ended
is `queued` only by a retry."""

TERMINAL: Final[frozenset[RunStatus]] = frozenset(
    {"completed", "failed", "cancelled", "incomplete"}
)
"""The statuses of a run that has ended; a retry may bring some of them back."""

RETRYABLE: Final[frozenset[RunStatus]] = frozenset(s for s in TERMINAL if TRANSITIONS[s])
ACTIVE: Final[frozenset[RunStatus]] = frozenset(TRANSITIONS) - TERMINAL


def sources_of(target: RunStatus) -> frozenset[RunStatus]:
    """Return the statuses from which `target` may be reached."""
    return frozenset(status for status, after in TRANSITIONS.items() if target in after)


UtcTime = Annotated[
    datetime,
    PlainSerializer(
        lambda t: t.isoformat().replace("+00:00", "Z"), return_type=str, when_used="json"
    ),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A timezone-aware UTC time; RFC 3339 with `Z` in JSON."""


class AgentResult(BaseModel):
    """What one agent contributed to a run, over all its assignments."""

    model_config = ConfigDict(frozen=True)

    status: Literal["completed", "failed"]
    output: str
    error: str | None = None


class RunResult(BaseModel):
    """What a run came to."""

    model_config = ConfigDict(frozen=True)

    output: str
    format: Literal["markdown", "json"] = "markdown"
    structured: Any = None
    citations: list[Citation] = []
    artifacts: list[Artifact] = []
    validation: CheckSummary | None = None
    agents: dict[str, AgentResult] = {}


class Degraded(BaseModel):
    """A named part of the answer that is missing."""

    model_config = ConfigDict(frozen=True)

    agent: str
    reason: str


class RequiredAction(BaseModel):
    """What a run waits for a person to do."""

    model_config = ConfigDict(frozen=True)

    type: Literal["approval", "budget", "input"]
    approval_ids: list[str]


class RunAction(BaseModel):
    """What became of one call that a person was asked about, or that changes the world."""

    model_config = ConfigDict(frozen=True)

    id: str
    tool: str
    status: Literal["pending", "decided", "started", "done", "in_doubt", "failed"]


class Reused(BaseModel):
    """From which run a run has its answer."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    age: int
    """Seconds between that run's end and this one's."""


class ForkedFrom(BaseModel):
    """From where a run goes on that was forked from another."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    checkpoint_id: str


class Run(BaseModel):
    """The run resource. Fields marked internal never leave the service."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["run"] = "run"
    thread_id: str
    status: RunStatus
    stop_reason: StopReason | None = None
    task: str
    result: RunResult | None = None
    required_action: RequiredAction | None = None
    error: Problem | None = None
    degraded: list[Degraded] = []
    actions: list[RunAction] = []
    cache: Reused | None = None
    forked_from: ForkedFrom | None = None
    usage: Usage = Usage()
    budget: RunBudget
    last_seq: int = 0
    trace_url: str | None = None
    graph_version: str
    rounds: int = 0
    attempt: int = 0
    engine: Engine
    created_at: UtcTime
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    metadata: dict[str, str | int | float | bool | None] = {}
    tags: list[str] = []
    links: dict[str, str] = {}

    tenant_id: str = Field(exclude=True)
    agents: tuple[str, ...] | None = Field(default=None, exclude=True)
    """Internal: the agents this run may use; `None` means every routable one."""
    caller_id: str = Field(default="default", exclude=True)
    """Internal: which key created the run."""
    caller_places: int | None = Field(default=None, exclude=True)
    """Internal: how many runs of that key may execute at the same time; `None` leaves it to the server."""
    approval_mode: ApprovalMode = Field(default="policy", exclude=True)
    """Internal: when a person is asked before a tool call."""
    validation: Validation = Field(default="off", exclude=True)
    """Internal: whether the results are checked before they become an answer."""
    output_schema: dict[str, Any] | None = Field(default=None, exclude=True)
    """Internal: what `result.structured` is to fit, closed in itself; `None` where none is wanted."""
    files: tuple[InputFile, ...] = Field(default=(), exclude=True)
    """Internal: what came with the task; it lies in the run's workspace."""
    cache_key: str | None = Field(default=None, exclude=True)
    """Internal: what two runs have in common that may share an answer; `None` for one that shares nothing."""
    cache_seconds: int | None = Field(default=None, exclude=True)
    """Internal: how old what it reuses may be; `None` where it reuses nothing."""
    cache_web: bool = Field(default=False, exclude=True)
    """Internal: whether that holds for what rests on the web too."""
    retried_after: int = Field(default=0, exclude=True)
    """Internal: the attempt whose end the last retry goes on from; 0 where there was no retry."""
    leader_id: str | None = Field(default=None, exclude=True)
    """Internal: the run under way whose answer it waits for."""
    webhook: Webhook | None = Field(default=None, exclude=True)
    """Internal: where it reports to."""
    traceparent: str | None = Field(default=None, exclude=True)
    """Internal: the span that it was created in, its caller's or the request's."""

    @computed_field(  # type: ignore[prop-decorator]  # pydantic's own way to write it
        description="The trace that the run belongs to: that of the `traceparent` which its request came with, "
        "else one of its own. It is there whether or not traces are sent."
    )
    @property
    def trace_id(self) -> str:
        """Return the trace that the run belongs to, whether or not anybody records it."""
        return trace_id_of(self.id, self.traceparent)

    @property
    def terminal(self) -> bool:
        """Return whether the run has ended."""
        return self.status in TERMINAL

    @property
    def begins_thread(self) -> bool:
        """Return whether the thread was made for this run: such a thread is named after it."""
        return self.thread_id.partition("_")[2] == self.id.partition("_")[2]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended: everything the finishing write changes."""

    status: RunStatus
    stop_reason: StopReason
    result: RunResult | None = None
    error: Problem | None = None
    degraded: tuple[Degraded, ...] = ()
    rounds: int = 0
    fleeting: bool = False
    """Whether its result rests on the web, or on what nobody can tell: it is old sooner than others."""
    in_vain: bool = False
    """Whether the last calls of an agent have failed: nobody else is to have such a result."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Values of one run that nodes and tools read; rebuilt for every segment, never checkpointed."""

    run_id: str = "local"
    tenant_id: str = "local"
    thread_id: str = "local"
    attempt: int = 1
    max_rounds: int = 10
    max_tier: Tier = "deep"
    """The highest tier that the supervisor may raise an assignment to."""
    workspace: Path = Path(gettempdir()) / "signalbox" / "workspace"
    """A folder of this run alone; the file tools and code runs see nothing else."""
    shelf: Path = Path(gettempdir()) / "signalbox" / "artifacts"
    """The folder in which this run's artifacts are kept, each under its hash."""
    sources: Path = Path(gettempdir()) / "signalbox" / "sources"
    """The folder in which what this run's tools have answered is kept, each text under its hash."""
    task: str = ""
    """What the run was asked to do."""
    files: tuple[InputFile, ...] = ()
    """What came with the task; it lies in the workspace."""
    agents: tuple[str, ...] | None = None
    """The agents this run may use; `None` means every routable one."""
    earlier: str = ""
    """What was asked and answered before on the same thread, bounded."""
    approval_mode: ApprovalMode = "policy"
    """When a person is asked before a tool call."""
    validation: Validation = "auto"
    """Whether the results are checked before they become an answer."""
    output_schema: Mapping[str, Any] | None = None
    """What the answer is to be had as beside its text; see `graph/filling.py`."""
    remembered: frozenset[str] = frozenset()
    """Tools that a person has approved for the rest of this run."""
    made_before: frozenset[str] = frozenset()
    """Digests of the calls that the run has made which it was forked from: none is made again unasked."""
    cache_seconds: int | None = None
    """How old what this run reuses of others' work may be; `None` where it reuses nothing."""
    cache_web: bool = False
    """Whether that holds for what rests on the web too."""
    action_id: str = ""
    """The action that a tool is carrying out, to be its idempotency key; empty outside of one."""
