"""The supervisor's structured decision."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import BaseModel, BeforeValidator, ConfigDict
from typing_extensions import TypedDict

from domain.agent import TIERS, Assignment, Tier


def _known_tier(said: object) -> Tier | None:
    """Return a tier as it is; a model that names one there is not has still made a decision."""
    return next((tier for tier in TIERS if tier == said), None)


def _said_so(said: object) -> bool:
    """Return whether a model has said yes; anything else it says there is a no."""
    return said is True


class RouteAssignment(BaseModel):
    """One agent and the instruction it gets."""

    model_config = ConfigDict(frozen=True)

    agent: str
    task: str
    tier: Annotated[Tier | None, BeforeValidator(_known_tier)] = None
    """A higher tier than the agent's own, for this assignment alone."""


class Route(BaseModel):
    """Who works next, in parallel; an empty list of assignments finishes the run."""

    model_config = ConfigDict(frozen=True)

    reason: str
    assignments: list[RouteAssignment]
    last: Annotated[bool, BeforeValidator(_said_so)] = False
    """Whether nothing is left to decide once all of it has a result."""


class RouteRecord(TypedDict):
    """A Route as it was carried out in one round: filtered, merged and with paths. JSON, checkpointed."""

    round: int
    reason: str
    assignments: list[Assignment]
    check: NotRequired[int]
    """The number of the check it was made after: a round that a check prolongs is decided about again."""
    last: NotRequired[bool]
    """It was to be the last one: where all of it succeeds, the run ends without another decision."""
    notes: NotRequired[int]
    """How many notes had been read when it was made; a decision to end is made again when one comes."""
    read: NotRequired[list[str]]
    """The notes that were new to it."""
