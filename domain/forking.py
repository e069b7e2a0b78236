"""What a run begins with that was forked from another."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict


class SeedSend(BaseModel):
    """An assignment that is to be worked on."""

    model_config = ConfigDict(frozen=True)

    node: str
    arg: dict[str, Any]


class Seed(BaseModel):
    """Where a fork's graph begins: JSON, committed with the run."""

    model_config = ConfigDict(frozen=True)

    state: dict[str, Any] = {}
    """The state of the graph; empty for one that begins anew."""
    goto: str | None = None
    """The node that comes next, where `sends` are none."""
    sends: tuple[SeedSend, ...] = ()
    earlier: str = ""
    """What was said on the other run's thread before it."""
    made: tuple[str, ...] = ()
    """Digests of the calls that the other run has made, or may have: none of them is made again unasked."""


class MadeCall(NamedTuple):
    """A call that has changed the world, or may have."""

    tool: str
    args: dict[str, Any]
    """As they were asked for, or as a person has edited them: each stands for itself."""
