"""What a run tells while it is under way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from signalbox.models.approvals import Approval
from signalbox.models.base import Model
from signalbox.models.runs import Artifact, Run


class StoredEvent(Model):
    """An event as it is kept."""

    seq: int
    type: str
    run_id: str
    ts: str
    agent: str | None
    path: str | None
    round: int
    attempt: int
    data: dict[str, Any]


class Event(Model):
    """One event of a run's stream. A type that this version does not know is given like any other."""

    type: str
    data: dict[str, Any] = Field(default={})
    seq: int | None = None
    """Its number among the stored events; `None` for pieces of messages, which are not stored."""
    run_id: str | None = None
    ts: datetime | None = None
    agent: str | None = None
    path: str | None = None
    round: int | None = None
    attempt: int | None = None

    @property
    def ends(self) -> bool:
        """Return whether it is the end of the run."""
        return self.type in {"run.completed", "run.failed", "run.cancelled", "run.incomplete"}

    @property
    def text(self) -> str:
        """Return the piece of text of a `message.…` event; empty for others."""
        text = self.data.get("text", "")
        return text if isinstance(text, str) and self.type.startswith("message.") else ""

    @property
    def message_id(self) -> str | None:
        """Return the message that a `message.…` event belongs to."""
        found = self.data.get("message_id")
        return found if isinstance(found, str) else None

    @property
    def run(self) -> Run | None:
        """Return the run that has ended, of the event that says so."""
        return Run.model_validate(self.data["run"]) if self.data.get("run") else None

    @property
    def approval(self) -> Approval | None:
        """Return the question of an `approval.…` event; long arguments are cut in it."""
        found = self.data.get("approval")
        return Approval.model_validate(found) if found else None

    @property
    def artifact(self) -> Artifact | None:
        """Return the file of an `artifact.created` event."""
        found = self.data.get("artifact")
        return Artifact.model_validate(found) if found else None
