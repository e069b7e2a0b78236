"""A run and what it has produced."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import Field, PrivateAttr

from signalbox.models.base import Model
from signalbox.models.problem import Problem
from signalbox.models.usage import RunBudget, Usage

ENDED: Final = frozenset({"completed", "failed", "cancelled", "incomplete"})
"""The statuses that do not change any more, unless the run is retried."""


class Artifact(Model):
    """A file that a run has produced."""

    name: str
    media_type: str
    size: int
    sha256: str
    agent: str
    url: str


class Citation(Model):
    """What a part of the answer rests on."""

    number: int
    title: str
    source: str
    snippet: str
    date: str | None = None
    sha256: str | None = None


class Disagreement(Model):
    """Where results contradict each other."""

    agents: list[str]
    about: str
    statements: list[str]


class CheckSummary(Model):
    """What came of checking the results."""

    verdict: str
    """`accept`, `revise` or `reject`."""
    reasons: list[str]
    by: str
    checks: int
    disagreements: list[Disagreement]


class AgentResult(Model):
    """What one agent has contributed."""

    status: str
    output: str
    error: str | None = None


class RunResult(Model):
    """What a run has come to."""

    output: str
    format: str = "markdown"
    structured: Any = None
    """What fits the run's `output_schema`."""
    citations: list[Citation] = Field(default=[])
    artifacts: list[Artifact] = Field(default=[])
    validation: CheckSummary | None = None
    agents: dict[str, AgentResult] = Field(default={})


class RequiredAction(Model):
    """What a run waits for."""

    type: str
    """`approval`, `budget` or `input`."""
    approval_ids: list[str]


class Degraded(Model):
    """A part that is missing from the result."""

    agent: str
    reason: str


class RunAction(Model):
    """Where a gated call of a tool stands."""

    id: str
    tool: str
    status: str


class Reused(Model):
    """The run whose answer was given again."""

    run_id: str
    age: int


class ForkedFrom(Model):
    """Where a run begins."""

    run_id: str
    checkpoint_id: str


class Run(Model):
    """One execution of the team on a task."""

    id: str
    object: str = "run"
    thread_id: str
    status: str
    """`queued`, `running`, `requires_action`, `completed`, `failed`, `cancelled` or `incomplete`."""
    stop_reason: str | None = None
    task: str
    result: RunResult | None = None
    required_action: RequiredAction | None = None
    error: Problem | None = None
    degraded: list[Degraded] = Field(default=[])
    actions: list[RunAction] = Field(default=[])
    cache: Reused | None = None
    forked_from: ForkedFrom | None = None
    usage: Usage = Usage()
    budget: RunBudget
    last_seq: int = 0
    trace_url: str | None = None
    graph_version: str
    rounds: int = 0
    attempt: int = 0
    engine: str
    """`model` or `offline`."""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    metadata: dict[str, str | int | float | bool | None] = Field(default={})
    tags: list[str] = Field(default=[])
    links: dict[str, str] = Field(default={})
    trace_id: str

    _webhook_secret: str | None = PrivateAttr(default=None)

    @property
    def ended(self) -> bool:
        """Return whether it does not go on by itself."""
        return self.status in ENDED

    @property
    def output(self) -> str:
        """Return the answer; empty where there is none."""
        return self.result.output if self.result else ""

    @property
    def webhook_secret(self) -> str | None:
        """Return what messages to its webhook are signed with, where this answer was the one that tells it."""
        return self._webhook_secret


class Note(Model):
    """What a run was told while it was under way."""

    id: str
    text: str
    by: str
    at: datetime


class Feedback(Model):
    """What somebody thinks of a run."""

    id: str
    object: str = "feedback"
    run_id: str
    key: str
    score: bool | int | float | None = None
    comment: str | None = None
    by: str
    created_at: datetime


class Finished(Model):
    """An assignment that has ended."""

    agent: str
    path: str
    round: int
    status: str


class Checkpoint(Model):
    """Where a run has stood."""

    checkpoint_id: str
    parent_id: str | None
    created_at: datetime | None
    step: int
    round: int
    next: list[str]
    finished: list[Finished]
    results: int
    stop_reason: str | None
    approvals: list[str]
    final: bool
    forkable: bool
    refusal: str | None
    """Why no run can be forked from it."""


class Delivery(Model):
    """A message to a webhook."""

    id: str
    object: str = "delivery"
    run_id: str
    type: str
    url: str
    status: str
    """`pending`, `delivered`, `failed` or `disabled`."""
    attempts: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None
