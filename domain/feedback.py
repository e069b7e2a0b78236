"""What somebody thinks of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.run import UtcTime


class Feedback(BaseModel):
    """One judgement of a run. Fields marked internal never leave the service."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["feedback"] = "feedback"
    run_id: str
    key: str
    """What is judged, such as `helpful`."""
    score: float | bool | None = None
    comment: str | None = None
    by: str
    """Which key has sent it."""
    created_at: UtcTime

    tenant_id: str = Field(exclude=True)
