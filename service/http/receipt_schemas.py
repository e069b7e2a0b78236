"""What a receipt looks like."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from domain.agent import Tier
from domain.approval import ActionRecord, Approval
from domain.artifact import InputFile
from domain.run import ApprovalMode, Degraded, Reused, RunStatus, StopReason, UtcTime
from domain.usage import Usage
from domain.validation import Validation
from service.receipts import CallerKind
from service.store.receipts import How


class ProductOut(BaseModel):
    """The product that executed a run."""

    version: str
    revision: str | None
    """Of its source, where the operator has set it."""


class SettingsOut(BaseModel):
    """The settings that change what runs do; no secrets, addresses or folders."""

    digest: str
    """The SHA-256 of all of them as they were in force."""
    changed: dict[str, Any]
    """Those that were not as they come, by their variable; of addresses and folders a SHA-256."""


class ConfigurationOut(BaseModel):
    """What a run was executed with under some of its attempts."""

    digest: str
    """The SHA-256 of all below `attempts`, as JSON with sorted keys."""
    attempts: list[int]
    product: ProductOut
    graph_version: str
    engine: Literal["model", "offline"]
    prompts: dict[str, str]
    """The SHA-256 of each agent's prompt, with those of `supervisor`, `answer` and `fill` (`output_schema`)."""
    tools: dict[str, str]
    """The SHA-256 of each tool as models were told of it."""
    models: dict[Tier, list[str]]
    """Of each tier, in the order in which they take each other's place."""
    settings: SettingsOut


class ArtifactDigest(BaseModel):
    """A file that a run has produced."""

    name: str
    media_type: str
    size: int
    sha256: str
    agent: str


class BudgetChangeOut(BaseModel):
    """A change of a run's limits."""

    at: UtcTime
    by: str
    how: How
    """`patch`: PATCH on the run · `retry`: with its retry · `decision`: of an approval that asked for it."""
    before: dict[str, Any]
    after: dict[str, Any]


class ReceiptBudget(BaseModel):
    """What a run might spend."""

    limits: dict[str, Any]
    changes: list[BudgetChangeOut]


class Receipt(BaseModel):
    """Who asked, what the run was executed with, what was approved by whom and done, and what it cost."""

    object: Literal["receipt"]
    run_id: str
    thread_id: str
    status: RunStatus
    stop_reason: StopReason | None
    created_by: str
    """The key's id, `iss|sub` of a token, or `default` for whoever sits at a server without keys."""
    caller_kind: CallerKind
    created_at: UtcTime
    started_at: UtcTime | None
    ended_at: UtcTime | None
    attempt: int
    rounds: int
    task_digest: str
    files: list[InputFile]
    """What came with the task. Older runs have it without `sha256`."""
    engine: Literal["model", "offline"]
    graph_version: str
    """Of the server that took it; each configuration has its own."""
    agents: list[str] | None
    """Those it might use, where not all."""
    approvals_mode: ApprovalMode
    validation: Validation
    output_schema_digest: str | None
    output_digest: str | None
    artifacts: list[ArtifactDigest]
    cache: Reused | None
    """The run it was taken from, where it was not executed: that one's receipt says how it came about."""
    configurations: list[ConfigurationOut]
    """What it was executed with: more than one where it went on under another version or other settings."""
    prompts: dict[str, str]
    """The SHA-256 of the prompts of its last configuration."""
    approvals: list[Approval]
    actions: list[ActionRecord]
    degraded: list[Degraded]
    budget: ReceiptBudget
    usage: Usage
    """What models were used, by agent and by model."""
    digest: str
    """The SHA-256 of all the rest, as JSON with sorted keys."""
