"""Immutable facts about a run, ordered by `seq`, and the token deltas that travel beside them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from domain.approval import Approval

EventType = Literal[
    "run.created",
    "run.started",
    "run.resumed",
    "run.requires_action",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "run.incomplete",
    "supervisor.decision",
    "agent.started",
    "agent.completed",
    "agent.failed",
    "agent.retrying",
    "message.completed",
    "tool.started",
    "tool.completed",
    "tool.failed",
    "approval.requested",
    "approval.resolved",
    "approval.expired",
    "action.in_doubt",
    "artifact.created",
    "validation.completed",
    "usage.updated",
    "budget.warning",
    "budget.reached",
    "cache.hit",
    "note.added",
]
"""The stored event types there are today; `message.delta` and `message.snapshot` are not stored."""

TERMINAL_TYPES: Final[dict[str, EventType]] = {
    "completed": "run.completed",
    "failed": "run.failed",
    "cancelled": "run.cancelled",
    "incomplete": "run.incomplete",
}
"""The event that ends a run, by the status it ends with."""

TERMINAL_EVENTS: Final[frozenset[str]] = frozenset(TERMINAL_TYPES.values())

SUPERVISOR: Final = "supervisor"
"""The name under which the supervisor's decisions, calls and the final answer appear."""


@dataclass(frozen=True, kw_only=True)
class EventDraft:
    """An event before it has a `seq`. Its key makes a repeated append harmless."""

    type: EventType
    data: dict[str, Any]
    agent: str | None = None
    path: str | None = None
    """Which assignment of the round: `coder`, `coder#2`; the agent's name where nothing else is needed."""
    round: int = 0
    call: str = ""
    """Which message, tool call or try of the assignment."""
    at: datetime | None = None
    """When it happened; where it is not given, when it is stored."""
    approval: Approval | None = None
    """With `approval.requested`: the row that is stored with the event."""

    @property
    def key(self) -> str:
        """Return the key that is unique within the run: round, path, call and type."""
        return f"{self.round}|{self.path or ''}|{self.call}|{self.type}"


@dataclass(frozen=True, kw_only=True)
class Event:
    """A stored event, as clients see it."""

    seq: int
    type: str
    run_id: str
    ts: datetime
    agent: str | None
    path: str | None
    round: int
    attempt: int
    data: dict[str, Any]
    key: str

    @property
    def terminal(self) -> bool:
        """Return whether it has ended the run; others follow it only where the run was retried."""
        return self.type in TERMINAL_EVENTS

    def envelope(self) -> dict[str, Any]:
        """Return the JSON object that SSE and the events page carry."""
        return {
            "seq": self.seq,
            "type": self.type,
            "run_id": self.run_id,
            "ts": self.ts.isoformat().replace("+00:00", "Z"),
            "agent": self.agent,
            "path": self.path,
            "round": self.round,
            "attempt": self.attempt,
            "data": self.data,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """A piece of a message that is still being written; never stored."""

    agent: str
    message_id: str
    offset: int
    """Characters of the message before this piece."""
    text: str
