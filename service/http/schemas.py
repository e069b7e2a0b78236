"""What clients send and get, beyond the resources of the domain."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from domain.approval import MAX_MESSAGE_CHARS, ActionRecord, Approval, Decision, ToolAction, Verb
from domain.gates import GateRule
from domain.run import ApprovalMode, MultitaskStrategy, Run, RunStatus
from domain.tool import Effect
from domain.usage import Usage

TASK_CHARS: Final = 32_000
SAFE_INTEGER: Final = 2**53
DEEPEST: Final = 50
"""How deep the arguments of an edited call may be nested."""

STRATEGIES: Final = (
    "What to do while the thread is busy, that is while a run of it has not ended. "
    "`enqueue`: the run waits until the runs before it have ended. "
    "`reject`: the request is refused with 409 `thread-busy`. "
    "`interrupt`: the runs that have not ended are cancelled, keeping what they have produced, and "
    "the run takes their place. "
    "Without `thread_id` there is nothing to wait for."
)
"""What OpenAPI says of `multitask_strategy`."""

Task = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=TASK_CHARS)]


def _says_something(text: str) -> str:
    if not text.strip():
        msg = "must not be blank"
        raise ValueError(msg)
    return _can_be_kept(text)


def _can_be_kept(text: str) -> str:
    if "\x00" in text:
        msg = "must not contain NUL characters"
        raise ValueError(msg)
    try:
        # Pydantic refuses lone surrogates, but not where the string is one of several alternatives.
        text.encode()
    except UnicodeEncodeError:
        msg = "must not contain half of a surrogate pair"
        raise ValueError(msg) from None
    return text


def _fits_in_json(value: object) -> object:
    if isinstance(value, int) and abs(value) > SAFE_INTEGER:
        msg = "must be at most 2**53, so that every JSON reader keeps it"
        raise ValueError(msg)
    if isinstance(value, str):
        if len(value) > 512:  # noqa: PLR2004 - the documented bound of a metadata value
            msg = "must have at most 512 characters"
            raise ValueError(msg)
        return _can_be_kept(value)
    return value


def _storable(value: object, depth: int = 0) -> None:
    """Refuse what a database cannot keep in a document."""
    if depth > DEEPEST:
        msg = f"must not be nested deeper than {DEEPEST}"
        raise ValueError(msg)
    if isinstance(value, str):
        _can_be_kept(value)
    elif isinstance(value, int) and abs(value) > SAFE_INTEGER:
        msg = "must have no integer beyond 2**53"
        raise ValueError(msg)
    elif isinstance(value, dict):
        for name, each in value.items():
            _can_be_kept(str(name))
            _storable(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _storable(each, depth + 1)


Said = Annotated[Task, AfterValidator(_says_something)]
Name = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")
]
FiniteFloat = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Reason = Annotated[
    str, StringConstraints(strict=True, max_length=2_000), AfterValidator(_can_be_kept)
]
Message = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_MESSAGE_CHARS),
    AfterValidator(_says_something),
]
Scalar = Annotated[
    StrictStr | StrictBool | StrictInt | FiniteFloat | None, AfterValidator(_fits_in_json)
]


class Strict(BaseModel):
    """A body in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AgentBudgetIn(Strict):
    """Limits of one agent."""

    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    max_tokens: StrictInt | None = Field(default=None, gt=0)


class BudgetIn(Strict):
    """Limits of a run."""

    max_rounds: StrictInt | None = Field(default=None, ge=1, le=50)
    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    max_tokens: StrictInt | None = Field(default=None, gt=0)
    max_seconds: FiniteFloat | None = Field(default=None, gt=0)
    per_agent: dict[Name, AgentBudgetIn] | None = None


class ApprovalsIn(Strict):
    """When a person is asked."""

    mode: ApprovalMode = Field(
        default="policy",
        description="`policy`: where the server's gates say so · `always`: before every call that "
        "changes something · `never`: not at all, but for gates that the server makes mandatory.",
    )


class WebhookIn(Strict):
    """Where to report to."""

    url: HttpUrl
    events: list[Name] | None = Field(default=None, max_length=20)


class FileIn(Strict):
    """A file for the run's workspace."""

    name: Name
    content_base64: StrictStr


class CacheIn(Strict):
    """How old a reused answer may be."""

    max_age: StrictInt = Field(ge=0)


class RunCreate(Strict):
    """The body that creates a run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "task": "Compute the mean, growth and trend of 120, 135, 150, 149, 171.",
                    "agents": ["analyst"],
                    "budget": {"max_rounds": 3},
                    "tags": ["demo"],
                }
            ]
        }
    )

    task: Said
    thread_id: Name | None = None
    agents: list[Name] | None = Field(default=None, min_length=1, max_length=50)
    output_schema: dict[str, Any] | None = None
    budget: BudgetIn | None = None
    approvals: ApprovalsIn | None = None
    multitask_strategy: MultitaskStrategy = Field(default="enqueue", description=STRATEGIES)
    webhook: WebhookIn | None = None
    cache: StrictBool | CacheIn | None = None
    files: list[FileIn] | None = Field(default=None, max_length=50)
    metadata: dict[Name, Scalar] = Field(default={}, max_length=50)
    tags: list[Name] = Field(default=[], max_length=20)

    def not_built(self) -> list[str]:
        """Return the pointers of fields that are valid but not available in this version."""
        fields = ("output_schema", "webhook", "files")
        found = [f"/{name}" for name in fields if getattr(self, name) is not None]
        limits = ("max_cost_usd", "max_tokens", "max_seconds", "per_agent")
        found += [
            f"/budget/{name}"
            for name in limits
            if self.budget is not None and getattr(self.budget, name) is not None
        ]
        return found


class TaskIn(Strict):
    """The body of the short form."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"task": "What is 17% of 80?"}]})

    task: Said


class CancelIn(Strict):
    """The body of a cancellation."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "No longer needed."}]})

    reason: Reason | None = None


class DecisionIn(Strict):
    """The body of a decision."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "approve", "comment": "Checked with accounting."},
                {
                    "type": "edit",
                    "edited_action": {
                        "name": "http_request",
                        "args": {
                            "method": "POST",
                            "url": "http://127.0.0.1:9000/orders",
                            "body": '{"amount": 10}',
                        },
                    },
                },
                {"type": "reject", "message": "Not before Monday."},
                {"type": "respond", "message": "Use the account 4711."},
            ]
        }
    )

    type: Verb = Field(
        description="`approve` the call runs as it stands · `edit` it runs with other arguments · "
        "`reject` it does not run, and the agent reads why · `respond` the message is its result."
    )
    edited_action: ToolAction | None = None
    message: Message | None = None
    comment: Reason | None = Field(default=None, description="A note for the record.")
    remember: Literal["run"] | None = Field(
        default=None, description="Do not ask about this tool again in this run."
    )
    args_digest: StrictStr | None = Field(
        default=None,
        max_length=100,
        description="The digest of the call you looked at; refused where it is another by now.",
    )

    @model_validator(mode="after")
    def _is_a_decision(self) -> DecisionIn:
        self.decision()
        return self

    @field_validator("edited_action")
    @classmethod
    def _can_be_stored(cls, action: ToolAction | None) -> ToolAction | None:
        if action is not None:
            _storable(action.args)
        return action

    def decision(self) -> Decision:
        """Return what was decided, without what goes with it."""
        try:
            return Decision(type=self.type, edited_action=self.edited_action, message=self.message)
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None


class RunDecisionIn(DecisionIn):
    """One of several decisions."""

    approval_id: Name


class DecisionsIn(Strict):
    """The body of several decisions about one run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "decisions": [
                        {"approval_id": "apr_0193f2c4a1b27c3d8e4f5a6b7c8d9e0f", "type": "approve"}
                    ]
                }
            ]
        }
    )

    decisions: list[RunDecisionIn] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _each_once(self) -> DecisionsIn:
        ids = [each.approval_id for each in self.decisions]
        if len(set(ids)) < len(ids):
            msg = "an approval stands twice; decide about each once"
            raise ValueError(msg)
        return self


class ResolutionIn(Strict):
    """The body that settles an action in doubt."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"outcome": "done", "result": "The order 77 is there."}]}
    )

    outcome: Literal["done", "not_done"] = Field(
        description="`done`: it took effect · `not_done`: it did not."
    )
    result: Reason | None = Field(default=None, description="What was found out.")


class ApprovalPage(BaseModel):
    """A page of approvals, newest first; or those that were decided, in the order sent."""

    data: list[Approval]
    next_cursor: str | None
    has_more: bool


class Receipt(BaseModel):
    """Who was asked and decided what, what was done, with which prompts, at what cost."""

    object: Literal["receipt"]
    run_id: str
    thread_id: str
    status: RunStatus
    created_by: str
    created_at: str
    ended_at: str | None
    task_digest: str
    engine: Literal["model", "offline"]
    graph_version: str
    approvals_mode: ApprovalMode
    prompts: dict[str, str]
    """The SHA-256 of each agent's prompt as this server has it now."""
    approvals: list[Approval]
    actions: list[ActionRecord]
    usage: Usage
    digest: str
    """The SHA-256 of all the rest, as JSON with sorted keys."""


class ToolOut(BaseModel):
    """A tool and its gate."""

    name: str
    description: str
    effect: Effect
    gate: Literal["auto", "ask", "deny", "rules"]
    """`rules`: it depends on the call; the rules say how."""
    rules: list[GateRule]
    off_reason: str | None
    args_schema: dict[str, Any]


class ToolList(BaseModel):
    """The tools with their gates."""

    data: list[ToolOut]
    next_cursor: str | None = None
    has_more: bool = False


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


class Health(BaseModel):
    """Whether the service, or each part it needs, works."""

    status: Literal["ok", "down"]
    checks: dict[str, str] = {}


class Info(BaseModel):
    """What this server is."""

    name: str
    version: str
    engine: Literal["model", "offline"]
    graph_version: str
    environment: str
    models: dict[str, str]
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
    code: str
    retryable: bool
    instance: str | None = None
    run_id: str | None = None
    request_id: str | None = None
    errors: list[PointerOut] | None = None
    run: Run | None = None
