"""What is asked for when a run is created, and the log's line that it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from domain.limits import NO_LIMITS, Limits
from domain.run import ApprovalMode, MultitaskStrategy, Run
from domain.validation import Validation
from domain.webhook import Webhook
from service.reuse import NOTHING_ASKED, ReuseAsked
from service.workspaces import NewFile

_log = logging.getLogger("signalbox.runs")


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """What a caller asks for, parsed and bounded."""

    task: str
    thread_id: str | None = None
    agents: tuple[str, ...] | None = None
    max_rounds: int | None = None
    limits: Limits = NO_LIMITS
    strategy: MultitaskStrategy = "enqueue"
    approval_mode: ApprovalMode = "policy"
    validation: Validation | None = None
    output_schema: dict[str, Any] | None = None
    caller_id: str = "default"
    caller_places: int | None = None
    files: tuple[NewFile, ...] = ()
    reuse: ReuseAsked = NOTHING_ASKED
    webhook: Webhook | None = None
    own_hook: bool = False
    """Whether it may lead to this machine."""
    traceparent: str | None = None
    """The span that it is created in."""
    metadata: dict[str, Any]
    tags: list[str]


def log_accepted(run: Run, *, status: str, files: int, forked_from: str | None = None) -> None:
    """Log that a run is committed; the ids are those that it was asked for with."""
    ids = {"run_id": run.id, "thread_id": run.thread_id, "trace_id": run.trace_id}
    told: dict[str, object] = {"engine": run.engine, "status": status, "files": files}
    if forked_from:
        told["forked_from"] = forked_from
    _log.info("A run is accepted.", extra={"action": "run.created", **ids, **told})
