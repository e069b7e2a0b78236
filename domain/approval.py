"""What a person is asked, what a person decides, and the action a decision is about."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, NotRequired, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from domain.agent import Assignment
from domain.gates import OnExpiry, WhoDecides
from domain.run import Run, UtcTime

ApprovalType = Literal["action", "budget", "input"]
"""What is asked: `action` may this call run · `budget` may more be spent · `input` a question."""

ApprovalStatus = Literal["pending", "resolved", "expired", "cancelled"]
"""`pending` nobody has decided · `resolved` somebody has · `expired` nobody did in time · `cancelled` the
run has ended before."""

ActionStatus = Literal["pending", "decided", "started", "done", "in_doubt", "failed"]
"""`pending` a person is asked · `decided` the person has spoken, or nobody has in time; a call that was not
let run stays so · `started` it is being carried out · `done` it has taken effect · `in_doubt` nobody knows
whether it has · `failed` it has taken none."""

Verb = Literal["approve", "edit", "reject", "respond"]

VERBS: Final[dict[ApprovalType, tuple[Verb, ...]]] = {
    "action": ("approve", "edit", "reject", "respond"),
    "budget": ("edit", "reject"),
    "input": ("respond",),
}
"""Which decisions answer which question."""

PREFIX: Final = "apr_"
ACTION_PREFIX: Final = "act_"

NOT_IN_TIME: Final = "Nobody decided about this call in time, so it was not made."
"""What an agent reads of a call whose approval has expired."""

MAX_MESSAGE_CHARS: Final = 16_000
"""How long an answer or a reason may be: the agent reads all of it."""


class ToolAction(BaseModel):
    """A call as it would run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    args: dict[str, Any]

    @property
    def digest(self) -> str:
        """Return what tells this call from any other: a hash of its name and arguments."""
        return digest_of(self.name, self.args)


def digest_of(name: str, args: dict[str, Any]) -> str:
    """Return the SHA-256 of a call as canonical JSON, as `sha256:` and 64 hex digits."""
    text = json.dumps([name, args], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def ask_id(run_id: str, round_: int, path: str, call: str) -> str:
    """Return the id of the approval of one call: the same however often it is asked for.

    From where the call stands, never from the provider's call id: those repeat.
    """
    key = f"{run_id}|{round_}|{path}|{call}"
    return f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def action_id(approval_id: str) -> str:
    """Return the id of the action that an approval is about; both have the same body."""
    return ACTION_PREFIX + approval_id.removeprefix(PREFIX)


def approval_id(action: str) -> str:
    """Return the id of the approval of an action."""
    return PREFIX + action.removeprefix(ACTION_PREFIX)


class Ask(TypedDict):
    """One question to a person. JSON, because it lives in the graph's state and is an interrupt's value."""

    id: str
    type: ApprovalType
    agent: str
    path: str
    round: int
    call: str
    """Turn and position of the call, or the interrupt of an outside graph."""
    tool: str | None
    args: dict[str, Any]
    description: str
    response_schema: dict[str, Any]
    by: WhoDecides
    expires_seconds: NotRequired[float | None]
    on_expiry: NotRequired[OnExpiry | None]


class PausedWork(TypedDict):
    """An assignment whose agent waits for decisions. JSON: it is checkpointed, and cleared when it goes on."""

    assignment: Assignment
    messages: list[dict[str, Any]]
    """The agent's conversation up to the message whose calls wait, that one last."""
    asks: list[Ask]
    unsaid: NotRequired[bool]
    """No message waits: the model has not been called, because that did not fit the budget."""


@dataclass(frozen=True, kw_only=True)
class AskRaised:
    """A question on its way out of the graph, to become an approval."""

    ask: Ask


class Decision(BaseModel):
    """What a person decides, in LangChain's vocabulary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Verb
    edited_action: ToolAction | None = None
    """With `edit`: the call that runs instead."""
    message: str | None = Field(default=None, max_length=MAX_MESSAGE_CHARS)
    """With `respond` the answer, which takes the place of the call's result; with `reject` why."""

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        fault = _fault(self)
        if fault:
            raise ValueError(fault)
        return self

    def same_as(self, other: Decision) -> bool:
        """Return whether two decisions say the same; comments do not count."""
        return (self.type, self.edited_action, self.message) == (
            other.type,
            other.edited_action,
            other.message,
        )

    def answer(self) -> dict[str, Any]:
        """Return what the graph is resumed with."""
        names = {"type", "edited_action", "message"}
        return self.model_dump(mode="json", include=names, exclude_none=True)


def _fault(decision: Decision) -> str:
    kind = decision.type
    if (decision.edited_action is not None) != (kind == "edit"):
        return "edited_action goes with type 'edit', and only with it"
    if kind == "respond" and not (decision.message or "").strip():
        return "type 'respond' needs a message"
    if kind in {"approve", "edit"} and decision.message is not None:
        return f"type {kind!r} has no message; a note for the record is the comment"
    return ""


class DecisionMade(Decision):
    """A decision as it is kept: with who made it, and when."""

    comment: str | None = None
    remember: Literal["run"] | None = None
    by: str
    at: UtcTime
    diff: list[dict[str, Any]] | None = None
    """With `edit`: each argument that was changed, with what it was and what it is."""


class Approval(BaseModel):
    """A question to a person, as clients see it. Fields marked internal never leave the service."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: ApprovalType
    run_id: str
    thread_id: str
    agent: str
    tool: str | None
    status: ApprovalStatus
    action: ToolAction | None
    """The call as it was asked for; an edit is in the decision."""
    args_digest: str | None
    """Of the call as it would run now, or did."""
    description: str
    allowed_decisions: list[Verb]
    response_schema: dict[str, Any]
    expires_at: UtcTime | None
    on_expiry: OnExpiry
    decision: DecisionMade | None = None
    created_at: UtcTime

    tenant_id: str = Field(exclude=True)
    decided_by: WhoDecides = Field(default="any", exclude=True)
    """Internal: who may decide."""
    round: int = Field(default=0, exclude=True)
    path: str = Field(default="", exclude=True)
    call: str = Field(default="", exclude=True)


def open_approval(
    ask: Ask, *, run: Run, now: datetime, seconds: float | None, on_expiry: OnExpiry
) -> Approval:
    """Return the approval that a question becomes; `seconds` and `on_expiry` hold where it has no own."""
    own = ask.get("expires_seconds")
    left = own if own is not None else seconds
    action = ToolAction(name=ask["tool"], args=ask["args"]) if ask["tool"] else None
    return Approval(
        id=ask["id"],
        type=ask["type"],
        run_id=run.id,
        thread_id=run.thread_id,
        agent=ask["agent"],
        tool=ask["tool"],
        status="pending",
        action=action,
        args_digest=action.digest if action else None,
        description=ask["description"],
        allowed_decisions=list(VERBS[ask["type"]]),
        response_schema=ask["response_schema"],
        expires_at=None if left is None else now + timedelta(seconds=left),
        on_expiry=ask.get("on_expiry") or on_expiry,
        created_at=now,
        tenant_id=run.tenant_id,
        decided_by=ask["by"],
        round=ask["round"],
        path=ask["path"],
        call=ask["call"],
    )


class ActionRecord(BaseModel):
    """A row of the ledger, as the receipt shows it."""

    model_config = ConfigDict(frozen=True)

    id: str
    approval_id: str | None
    """Under which it was asked about; `None` where nobody was."""
    tool: str
    args: dict[str, Any]
    """As they ran, or would have."""
    agent: str
    path: str
    """Which assignment of the round: `coder`, `coder#2`."""
    round: int
    status: ActionStatus
    args_digest: str
    attempt: int | None
    """The claim of the run under which it was started."""
    started_at: UtcTime | None
    ended_at: UtcTime | None
    result: str | None
    """What the tool answered, or what a person found out; its beginning."""
    settled_by: str | None
    """Who settled it, where it was in doubt."""


class Settled(NamedTuple):
    """The run of an action that is settled."""

    run: Run
    replayed: bool
    """An earlier request with the same key had settled it."""


def changed_arguments(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each argument that two calls do not share, with both values; `null` where it is not there."""
    return [
        {"argument": name, "before": before.get(name), "after": after.get(name)}
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name) or (name in before) != (name in after)
    ]
