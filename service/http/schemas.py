"""What clients send and get, beyond the resources of the domain."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator

from domain.approval import Approval
from domain.artifact import MAX_INPUT_FILES, Artifact
from domain.limits import AgentLimits, Limits, whole
from domain.problems import Code
from domain.run import ApprovalMode, MultitaskStrategy, Run
from domain.sandbox import Backend
from domain.validation import Validation
from domain.webhook import Webhook, WebhookEvent
from service.health import HealthStatus
from service.http.fields import (
    AgentName,
    Base64,
    FileName,
    JsonSchemaIn,
    Metadata,
    Name,
    Reason,
    Said,
    Strict,
    WebhookUrl,
)

STRATEGIES: Final = (
    "What to do while the thread is busy, that is while a run of it has not ended. "
    "`enqueue`: the run waits until the runs before it have ended. "
    "`reject`: the request is refused with 409 `thread-busy`. "
    "`interrupt`: the runs that have not ended are cancelled, keeping what they have produced, and "
    "the run takes their place. "
    "Without `thread_id` there is nothing to wait for."
)
"""What OpenAPI says of `multitask_strategy`."""


class BudgetIn(Limits):
    """Limits of a run: `max_cost_usd` and `max_tokens` ask a person when they are reached, of the run or
    `per_agent`; `max_seconds` of running and `max_rounds` end the run with the best there is. `max_tier` is the
    dearest tier that an assignment may be raised to, `unknown_prices` says what becomes of calls without a
    known price under a limit in money. Null lifts a limit, unless the server has a highest one."""

    max_rounds: StrictInt | None = Field(
        default=None, ge=1, le=50, description="The server may allow fewer."
    )
    per_agent: dict[AgentName, AgentLimits] = Field(default={}, max_length=50)

    _rounds_are_whole = field_validator("max_rounds", mode="before")(whole)

    def limits(self) -> Limits:
        """Return what is said of them, but for the rounds."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"max_rounds"}}
        return Limits.model_construct(_fields_set=set(given), **given)


class ApprovalsIn(Strict):
    """When a person is asked."""

    mode: ApprovalMode = Field(
        default="policy",
        description="`policy`: where the server's gates say so · `always`: before every call that "
        "changes something · `never`: not at all, but for gates that the server makes mandatory, and for "
        "a request to an unknown host once text from outside was read.",
    )


class WebhookIn(Strict):
    """Where to report to."""

    url: WebhookUrl = Field(
        description="https; in development http too, to this machine. The first answer that names a "
        "receiver has the secret of its signatures in the header `Signalbox-Webhook-Secret`."
    )
    events: list[WebhookEvent] | None = Field(
        default=None, min_length=1, max_length=20, description="All of them where not given."
    )

    def webhook(self, *, decides: bool) -> Webhook:
        """Return it as the run keeps it; `decides`: whether who names it may decide."""
        events = None if self.events is None else tuple(dict.fromkeys(self.events))
        return Webhook(url=str(self.url), events=events, decides=decides)


class FileIn(Strict):
    """A file for the run's workspace."""

    name: FileName = Field(description="A path in the workspace, such as `data/sales.csv`.")
    content_base64: Base64 = Field(
        description="Its bytes in base64 with padding, without line ends; at most 5 MiB decoded, 10 MiB "
        "for all files together."
    )


class CacheIn(Strict):
    """How old a reused answer may be."""

    max_age: StrictInt = Field(
        ge=0,
        le=366 * 86_400,
        description="Seconds. What rests on the web is reused only with it. 0 works anew, for others to reuse.",
    )

    _age_is_whole = field_validator("max_age", mode="before")(whole)


class RunCreate(Strict):
    """The body that creates a run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "task": "Compute the mean, growth and trend of 120, 135, 150, 149, 171.",
                    "agents": ["analyst"],
                    "validation": "on",
                    "budget": {"max_rounds": 3},
                    "tags": ["demo"],
                },
                {
                    "task": "Summarise the sales by month.",
                    "approvals": {"mode": "always"},
                    "files": [
                        {
                            "name": "sales.csv",
                            "content_base64": "bW9udGgsc2FsZXMKSmFuLDEyMApGZWIsMTM1Cg==",
                        }
                    ],
                    "metadata": {"ticket": "A-17"},
                },
            ]
        }
    )

    task: Said
    thread_id: Name | None = None
    agents: list[AgentName] | None = Field(default=None, min_length=1, max_length=50)
    output_schema: JsonSchemaIn | None = Field(
        default=None,
        description="A JSON Schema (draft 2020-12) that `result.structured` is to fit, beside the answer in words. "
        "References within it are followed; `pattern` is not taken. Needs a language model.",
    )
    budget: BudgetIn | None = None
    approvals: ApprovalsIn | None = None
    validation: Validation | None = Field(
        default=None,
        description="Whether the results are checked before they become an answer: `on` · `off` · `auto` where "
        "more than one agent worked, or the task asks for it. The server's setting where not given.",
    )
    multitask_strategy: MultitaskStrategy = Field(default="enqueue", description=STRATEGIES)
    webhook: WebhookIn | None = None
    cache: StrictBool | CacheIn | None = Field(
        default=None,
        description="Whether an answer to the same task may be given again: `true`, or an age that it may "
        "have; `false` works anew, and keeps the answer to itself. Where not given, for as long as the server "
        "is set to: an hour, if nothing else is said. A run that follows others on its thread is always worked "
        "on anew.",
    )
    files: list[FileIn] | None = Field(default=None, max_length=MAX_INPUT_FILES)
    metadata: Metadata = Field(default={})
    tags: list[Name] = Field(default=[], max_length=20)


class RunPatchIn(Strict):
    """The body that changes a run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"budget": {"max_cost_usd": "2.50"}, "metadata": {"ticket": "A-17"}}]
        }
    )

    metadata: Metadata | None = Field(
        default=None, description="Takes the place of what was there."
    )
    budget: BudgetIn | None = Field(
        default=None,
        description="The limits to change; those that are not given stay, null lifts one. A run that waits "
        "for a higher budget goes on. `max_rounds` counts from the next time that the run goes on.",
    )


class TaskIn(Strict):
    """The body of the short form."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"task": "What is 17% of 80?"}]})

    task: Said


class CancelIn(Strict):
    """The body of a cancellation."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "No longer needed."}]})

    reason: Reason | None = None


class RunRetryIn(Strict):
    """The body that has a run go on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"budget": {"max_cost_usd": "2.50"}}]}
    )

    budget: BudgetIn | None = Field(
        default=None,
        description="The limits to change; those that are not given stay, null lifts one.",
    )


class RunPage(BaseModel):
    """A page of runs, newest first."""

    data: list[Run]
    next_cursor: str | None
    has_more: bool


class EventOut(BaseModel):
    """A stored event."""

    seq: int
    type: str
    run_id: str
    ts: str
    agent: str | None
    path: str | None
    round: int
    attempt: int
    data: dict[str, Any]


class EventPage(BaseModel):
    """A page of events, in order."""

    data: list[EventOut]
    next_cursor: str | None
    has_more: bool


class ArtifactList(BaseModel):
    """The files that a run has produced, by name."""

    data: list[Artifact]
    next_cursor: str | None = None
    has_more: bool = False


class AgentOut(BaseModel):
    """An agent of the team."""

    name: str
    description: str
    tier: str
    model: str
    tools: list[str]
    routable: bool
    outside_graph: bool


class AgentList(BaseModel):
    """The team as registered."""

    data: list[AgentOut]
    next_cursor: str | None = None
    has_more: bool = False


class SandboxOut(BaseModel):
    """What runs programs here, and why."""

    backend: Backend
    detail: str
    libraries: list[str]


class ComponentOut(BaseModel):
    """How one thing is that the service depends on."""

    status: HealthStatus
    detail: str | None
    seconds: float
    """That it took to see that; some are looked at every few seconds only."""


class Health(BaseModel):
    """Whether the service, or each part it needs, works."""

    status: HealthStatus
    """`degraded`: runs are accepted, and something of what they want does not work. `down`: none is."""
    checks: dict[str, str] = {}
    """`ok`, or what is wrong."""
    components: dict[str, ComponentOut] = {}
    """The same in more detail."""
    sandbox: SandboxOut | None = None
    """What runs programs; where nothing does, though it was wanted, that is among the checks."""


class Info(BaseModel):
    """What this server is."""

    name: str
    version: str
    revision: str | None
    """Of the source, where the operator has set it."""
    engine: Literal["model", "offline"]
    graph_version: str
    environment: str
    models: dict[str, str]
    protocols: dict[str, str]
    """What is spoken here, in which version."""
    features: list[str]


class PointerOut(BaseModel):
    """One fault of a body."""

    pointer: str
    detail: str


class ProblemOut(BaseModel):
    """An RFC 9457 problem."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:signalbox:error:not-found",
                    "title": "There is no such resource",
                    "status": 404,
                    "detail": "The run 'run_0' is not there.",
                    "instance": "/v1/runs/run_0",
                    "code": "not-found",
                    "retryable": False,
                    "request_id": "req_0199",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: Code
    retryable: bool
    instance: str | None = None
    run_id: str | None = None
    request_id: str | None = None
    errors: list[PointerOut] | None = None
    run: Run | None = None
    approval: Approval | None = None
    """With the codes `approval-…` and `forbidden`: the approval as it stands, with the decision that won."""
