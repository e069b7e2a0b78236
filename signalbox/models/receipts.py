"""What a run was executed with, and everything about it as one document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from signalbox.models.approvals import ActionRecord, Approval
from signalbox.models.base import Model, Money
from signalbox.models.runs import Artifact, Degraded, Feedback, Note, Reused, Run
from signalbox.models.usage import Usage


class Product(Model):
    """The version of the server."""

    version: str
    revision: str | None


class ChangedSettings(Model):
    """The settings that change what runs do."""

    digest: str
    changed: dict[str, Any]


class Configuration(Model):
    """What a run was executed with under some of its attempts."""

    digest: str
    attempts: list[int]
    product: Product
    graph_version: str
    engine: str
    prompts: dict[str, str]
    tools: dict[str, str]
    models: dict[str, list[str]]
    settings: ChangedSettings


class InputFile(Model):
    """A file that came with a task."""

    name: str
    size: int
    sha256: str | None = None


class ArtifactDigest(Model):
    """A file that a run has produced, without where it is."""

    name: str
    media_type: str
    size: int
    sha256: str
    agent: str


class BudgetChange(Model):
    """A change of a run's limits."""

    at: datetime
    by: str
    how: str
    before: dict[str, Any]
    after: dict[str, Any]


class ReceiptBudget(Model):
    """What a run might spend."""

    limits: dict[str, Any]
    changes: list[BudgetChange]


class Receipt(Model):
    """Who asked, what the run was executed with, what was approved by whom and done, and what it cost."""

    object: str
    run_id: str
    thread_id: str
    status: str
    stop_reason: str | None
    created_by: str
    caller_kind: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempt: int
    rounds: int
    task_digest: str
    files: list[InputFile]
    engine: str
    graph_version: str
    agents: list[str] | None
    approvals_mode: str
    validation: str
    output_schema_digest: str | None
    output_digest: str | None
    artifacts: list[ArtifactDigest]
    cache: Reused | None
    configurations: list[Configuration]
    prompts: dict[str, str]
    approvals: list[Approval]
    actions: list[ActionRecord]
    degraded: list[Degraded]
    budget: ReceiptBudget
    usage: Usage
    digest: str


class Source(Model):
    """A text that a run rests on."""

    sha256: str
    size: int
    url: str


class ModelCall(Model):
    """A model call as it was booked."""

    key: str
    at: datetime
    agent: str
    model: str
    tier: str
    round: int
    status: str
    metered: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: Money | None
    saved_cost_usd: Money | None


class Export(Model):
    """Everything about a run."""

    object: str
    schema_version: int
    exported_at: datetime
    run: Run
    files: list[InputFile]
    notes: list[Note]
    receipt: Receipt
    artifacts: list[Artifact]
    sources: list[Source]
    calls: list[ModelCall]
    feedback: list[Feedback]
    events: list[dict[str, Any]]
