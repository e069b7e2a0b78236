"""What somebody thinks of a run."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from domain.run import UtcTime

MOST_OF_A_RUN: Final = 1_000
"""Pieces of feedback that a run may have."""

FEEDBACK_PREFIX: Final = "fbk"

Score = StrictBool | StrictInt | StrictFloat


class Feedback(BaseModel):
    """One judgement of a run. Fields marked internal never leave the service."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["feedback"] = "feedback"
    run_id: str
    key: str
    """What is judged, such as `helpful`."""
    score: Score | None = None
    comment: str | None = None
    by: str
    """Which key has sent it."""
    created_at: UtcTime

    tenant_id: str = Field(exclude=True)


class Given(NamedTuple):
    """Feedback that is kept; `replayed`: an earlier request with the same key had sent it."""

    feedback: Feedback
    replayed: bool
