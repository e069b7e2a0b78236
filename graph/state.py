"""The graph's state: JSON only, small, and with reducers that bear repetition."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired

from langgraph.graph.state import CompiledStateGraph
from typing_extensions import TypedDict

from domain.agent import AgentOutcome, Assignment, Citation
from domain.approval import Ask, PausedWork
from domain.notes import NoteRecord
from domain.problems import Code
from domain.routing import RouteRecord
from domain.run import RunContext, RunStatus, StopReason
from domain.validation import CheckRecord, CheckSummary

STATE_FORMAT: Final = 1
"""Raised when what the state holds comes to mean something else, so that runs which other code began
cannot go on. A new channel is no reason: it has to bear being empty."""


class Missing(TypedDict):
    """A part of the answer that is missing, and why."""

    agent: str
    reason: str


class Failure(TypedDict):
    """Why a run has no answer."""

    code: Code
    detail: str


class SpendingQuestion(TypedDict):
    """What a node asks whose next model call does not fit the run's budget."""

    ask: Ask
    node: str
    """Which node: it is called again with the answer."""


class AgentShare(TypedDict):
    """What one agent contributed, over all its assignments."""

    status: Literal["completed", "failed"]
    output: str
    error: str | None


class FinalAnswer(TypedDict):
    """What the graph ended with."""

    status: RunStatus
    stop_reason: StopReason
    output: str
    citations: list[Citation]
    missing: list[Missing]
    failure: Failure | None
    agents: dict[str, AgentShare]
    rounds: int
    validation: NotRequired[CheckSummary | None]
    """What the checks came to; `None` where there was none."""
    attempt: NotRequired[int]
    """Under which claim of the run it was made; not there in ends of older versions."""
    structured: NotRequired[Any]
    """The answer by the run's `output_schema`; not there where none is wanted or none was to be had."""
    fleeting: NotRequired[bool]
    """Whether it rests on the web, or on what nobody can tell; not there in ends of older versions."""
    in_vain: NotRequired[bool]
    """Whether an agent's last calls have failed; not there in ends of older versions."""


def merge_outcomes(old: list[AgentOutcome], new: list[AgentOutcome]) -> list[AgentOutcome]:
    """Add outcomes; one that is there already (same round and path) is replaced, not doubled."""
    merged = {(o["round"], o["path"]): o for o in old}
    merged.update({(o["round"], o["path"]): o for o in new})
    return list(merged.values())


def merge_routes(old: list[RouteRecord], new: list[RouteRecord]) -> list[RouteRecord]:
    """Add routes; one of the same round, after the same check and notes, is replaced."""
    merged = {place_of_route(route): route for route in old}
    merged.update({place_of_route(route): route for route in new})
    return list(merged.values())


def place_of_route(route: RouteRecord) -> tuple[int, int, int]:
    """Return what tells a decision from the others of its run, in their order."""
    return route["round"], route.get("check", 0), route.get("notes", 0)


def merge_notes(old: list[NoteRecord], new: list[NoteRecord]) -> list[NoteRecord]:
    """Add notes; one that was read already is replaced."""
    return list({note["id"]: note for note in (*old, *new)}.values())


def merge_checks(old: list[CheckRecord], new: list[CheckRecord]) -> list[CheckRecord]:
    """Add checks; one of the same number is replaced."""
    merged = {check["number"]: check for check in old}
    merged.update({check["number"]: check for check in new})
    return list(merged.values())


def merge_missing(old: list[Missing], new: list[Missing]) -> list[Missing]:
    """Add what is missing, each once."""
    return old + [part for part in new if part not in old]


def merge_open(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Put entries in the place of those of the same name; `None` takes one out."""
    return {name: value for name, value in {**old, **new}.items() if value is not None}


class State(TypedDict, total=False):
    """A run's state."""

    task: str
    round: int
    begun: int
    """The round after which the run was retried last: rounds are counted from there."""
    routes: Annotated[list[RouteRecord], merge_routes]
    outcomes: Annotated[list[AgentOutcome], merge_outcomes]
    missing: Annotated[list[Missing], merge_missing]
    """What is missing besides failed agents: a supervisor that could not decide, say."""
    paused: Annotated[dict[str, PausedWork | None], merge_open]
    """The assignments of the round that wait for a person, by path."""
    decisions: Annotated[dict[str, dict[str, Any] | None], merge_open]
    """What was decided and has not reached its agent yet, by approval id."""
    notes: Annotated[list[NoteRecord], merge_notes]
    """What the caller has said since the task was given, as far as a decision has read it."""
    unsteered: bool
    """Whether the supervisor could not decide, so that whatever is said to it cannot be followed."""
    replanned: int
    """The round in which the supervisor was asked to plan anew; once since the run was begun or last retried."""
    stop_reason: StopReason
    failure: Failure | None
    checks: Annotated[list[CheckRecord], merge_checks]
    """What the validator has found, check by check."""
    question: Ask | None
    """What the validator asks a person about a disagreement that stays."""
    settled: str
    """What a person said to it; empty where nobody did."""
    final: FinalAnswer | None
    spending: SpendingQuestion | None
    """What is asked about the budget by a node that is no agent."""


def rounds_of(state: State) -> int:
    """Return how many rounds there were since the run was begun, or retried last."""
    return state.get("round", 0) - state.get("begun", 0)


class AgentInput(TypedDict):
    """What one agent node gets. Bounded: LangGraph keeps it in the checkpoint."""

    task: str
    results: str
    assignment: Assignment
    paused: NotRequired[PausedWork]
    """With an assignment that goes on: what it has waited with."""
    decisions: NotRequired[dict[str, dict[str, Any]]]


Workflow = CompiledStateGraph[State, RunContext, State, State]
"""The compiled workflow."""
