"""A question to a person, and what was decided."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from signalbox.models.base import Model


class ToolAction(Model):
    """A call of a tool."""

    name: str
    args: dict[str, Any]


class DecisionMade(Model):
    """What was decided, by whom and when."""

    type: str
    edited_action: ToolAction | None = None
    message: str | None = None
    comment: str | None = None
    remember: str | None = None
    by: str
    at: datetime
    diff: list[dict[str, Any]] | None = None


class Approval(Model):
    """A question to a person."""

    id: str
    type: str
    """`action` (may this call run), `budget` (may more be spent) or `input` (a question of an agent)."""
    run_id: str
    thread_id: str
    agent: str
    tool: str | None
    status: str
    """`pending`, `resolved`, `expired` or `cancelled`."""
    action: ToolAction | None
    args_digest: str | None
    description: str
    allowed_decisions: list[str]
    response_schema: dict[str, Any]
    expires_at: datetime | None
    on_expiry: str
    decision: DecisionMade | None = None
    created_at: datetime


class ActionRecord(Model):
    """A gated call of a tool, from its question to its end."""

    id: str
    approval_id: str | None
    tool: str
    args: dict[str, Any]
    agent: str
    path: str
    round: int
    status: str
    args_digest: str
    attempt: int | None
    started_at: datetime | None
    ended_at: datetime | None
    result: str | None
    settled_by: str | None
