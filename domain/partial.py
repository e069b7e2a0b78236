"""What a run has come to before its end: the result that a cancellation leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from domain.events import TERMINAL_TYPES, Event, EventType
from domain.problems import Problem
from domain.run import AgentResult, Ending, RunResult, RunStatus, StopReason

PARTIAL_TYPES: Final[frozenset[EventType]] = frozenset(
    {"agent.completed", "agent.failed", "supervisor.decision", *TERMINAL_TYPES.values()}
)
"""The events that tell what a run has come to."""

MAX_EVENTS_OF_A_RUN: Final = 20_000
"""Bound on the events read to build a cancelled run's partial result."""


def cancelled_after(events: Iterable[Event]) -> Ending:
    """Return the end of a run that is cancelled now: what its agents have produced so far."""
    return ended_after(events, status="cancelled", stop_reason="cancelled")


def ended_after(
    events: Iterable[Event],
    *,
    status: RunStatus,
    stop_reason: StopReason,
    error: Problem | None = None,
) -> Ending:
    """Return the end of a run that goes no further: what its agents have produced so far."""
    agents: dict[str, AgentResult] = {}
    outputs: list[str] = []
    rounds: set[int] = set()
    for event in events:
        if event.terminal:
            # The run was retried since: it has its results still, and what had failed is forgotten.
            agents = {name: each for name, each in agents.items() if each.status == "completed"}
            rounds = set()
        if event.agent and event.type == "agent.completed":
            agents[event.agent] = AgentResult(status="completed", output=event.data["output"])
            outputs.append(event.data["output"])
        elif event.agent and event.type == "agent.failed":
            failed = AgentResult(status="failed", output="", error=event.data["detail"])
            agents.setdefault(event.agent, failed)
        if event.data.get("assignments"):
            rounds.add(event.round)
    result = RunResult(output="\n\n".join(outputs), agents=agents) if agents else None
    return Ending(
        status=status, stop_reason=stop_reason, result=result, error=error, rounds=len(rounds)
    )
