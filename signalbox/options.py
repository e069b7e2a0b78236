"""What a user passes: the options of a run, its limits, a decision."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict

from signalbox.errors import ConfigurationError

Amount = Decimal | int | float | str
"""US dollars; write them as a string or a `Decimal` where every digit counts."""

Scalar = str | int | float | bool | None
ApprovalMode = Literal["policy", "always", "never"]
Validation = Literal["off", "on", "auto"]
Strategy = Literal["enqueue", "reject", "interrupt"]
Files = Mapping[str, bytes | str | Path]
"""Files for the run's workspace by their names there: their bytes, their text, or where they lie on this machine."""


class AgentBudget(TypedDict, total=False):
    """What one agent may spend."""

    max_cost_usd: Amount | None
    max_tokens: int | None


class Budget(TypedDict, total=False):
    """Limits of a run: the first two ask a person when they are reached, the next two end the run. What is not
    given stays as it is, `None` lifts a limit."""

    max_cost_usd: Amount | None
    max_tokens: int | None
    max_seconds: float | None
    max_rounds: int | None
    per_agent: Mapping[str, AgentBudget]
    max_tier: Literal["fast", "standard", "deep"] | None
    unknown_prices: Literal["ask", "allow", "deny"] | None


class WebhookTarget(TypedDict, total=False):
    """Where a run reports to, and of what."""

    url: str
    events: Sequence[str]


class CacheAge(TypedDict):
    """How old a reused answer may be, one that rests on the web too."""

    max_age: int


class RunOptions(TypedDict, total=False):
    """The options of a new run; what is not given is as the server is set to."""

    thread_id: str | None
    """The thread that it goes on with."""
    agents: Sequence[str] | None
    """Those it may use."""
    output_schema: Mapping[str, Any] | None
    """A JSON Schema that `result.structured` is to fit."""
    budget: Budget | None
    approvals: ApprovalMode | None
    """When a person is asked."""
    validation: Validation | None
    """Whether results are checked before they become an answer."""
    multitask_strategy: Strategy | None
    """What to do while the thread is busy."""
    webhook: str | WebhookTarget | None
    cache: bool | CacheAge | None
    """Whether an answer to the same task may be given again."""
    files: Files | None
    metadata: Mapping[str, Scalar] | None
    tags: Sequence[str] | None
    idempotency_key: str | None
    """One of your own, where the same run must not be made twice even by two calls."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a person says to an approval."""

    type: Literal["approve", "edit", "reject", "respond"]
    edited_action: Mapping[str, Any] | None = None
    message: str | None = None
    comment: str | None = None
    """A note for the record."""
    remember: Literal["run"] | None = None
    """Do not ask about this tool again in this run."""
    args_digest: str | None = None
    """The digest of the call that was looked at; refused where it is another by now."""

    @classmethod
    def approve(cls, *, comment: str | None = None, remember: bool = False) -> Decision:
        """Let the call run as it stands."""
        return cls(type="approve", comment=comment, remember="run" if remember else None)

    @classmethod
    def edit(
        cls,
        name: str,
        args: Mapping[str, Any],
        *,
        comment: str | None = None,
        remember: bool = False,
    ) -> Decision:
        """Let the call run with other arguments."""
        action = {"name": name, "args": dict(args)}
        kept: Literal["run"] | None = "run" if remember else None
        return cls(type="edit", edited_action=action, comment=comment, remember=kept)

    @classmethod
    def reject(cls, message: str | None = None, *, comment: str | None = None) -> Decision:
        """Do not let the call run; the agent reads why. Of a budget: finish with what there is."""
        return cls(type="reject", message=message, comment=comment)

    @classmethod
    def respond(cls, message: str, *, comment: str | None = None) -> Decision:
        """Answer the question; of a call, give its result instead of running it."""
        return cls(type="respond", message=message, comment=comment)

    @classmethod
    def raise_budget(cls, budget: Budget, *, comment: str | None = None) -> Decision:
        """Allow the run more."""
        return cls.edit("raise_budget", budget_body(budget), comment=comment)

    def body(self) -> dict[str, Any]:
        """Return it as the API reads it."""
        names = ("edited_action", "message", "comment", "remember", "args_digest")
        given = {name: getattr(self, name) for name in names}
        return {"type": self.type, **{k: v for k, v in given.items() if v is not None}}


def budget_body(budget: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits as the API reads them: money as a string, `None` as null."""
    body: dict[str, Any] = {}
    for name, value in budget.items():
        if isinstance(value, Mapping):
            body[name] = budget_body(value)
        elif name == "max_cost_usd" and isinstance(value, int | float | Decimal):
            body[name] = format(Decimal(str(value)), "f")  # never as 1e-07
        else:
            body[name] = value
    return body


def run_body(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that creates a run, but for its files."""
    unknown = set(options) - RunOptions.__annotations__.keys()
    if unknown:
        msg = f"A run has no option {min(unknown)!r}. There are: {', '.join(RunOptions.__annotations__)}."
        raise ConfigurationError(msg)
    body = {
        k: v for k, v in options.items() if v is not None and k not in {"files", "idempotency_key"}
    }
    if "budget" in body:
        body["budget"] = budget_body(body["budget"])
    if "approvals" in body:
        body["approvals"] = {"mode": body["approvals"]}
    if isinstance(body.get("webhook"), str):
        body["webhook"] = {"url": body["webhook"]}
    for name in {"agents", "tags"} & body.keys():
        body[name] = list(body[name])
    return {"task": task, **body}


def read_files(files: Files) -> list[dict[str, str]]:
    """Return files as the API takes them; reads those that lie on this machine, and so may block."""
    return [
        {"name": name, "content_base64": base64.b64encode(_bytes_of(name, content)).decode("ascii")}
        for name, content in files.items()
    ]


def _bytes_of(name: str, content: bytes | str | Path) -> bytes:
    if isinstance(content, Path):
        try:
            return content.read_bytes()
        except OSError as error:
            msg = f"The file {name!r} cannot be read from {content}: {error.strerror}."
            raise ConfigurationError(msg) from error
    return content.encode() if isinstance(content, str) else content
