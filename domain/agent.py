"""What an agent is, what it is asked to do, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NotRequired

from typing_extensions import TypedDict

from domain.artifact import Artifact

Tier = Literal["fast", "standard", "deep"]
"""How much model an agent needs: `fast` for routing, `standard` for most work, `deep` for hard reasoning."""

TIERS: Final[tuple[Tier, ...]] = ("fast", "standard", "deep")

MAX_TOOLS: Final = 5
"""A model that is offered more tools than this starts to pick the wrong one; start-up refuses more."""


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """Describe one agent; a module in `agents/` exports exactly one as `AGENT`."""

    name: str
    """Lower-case identifier, unique in the team; also the name of the graph node."""
    description: str
    """One sentence for the supervisor: what to give this agent and what it hands back."""
    prompt: str = ""
    """The agent's system prompt. Unused when `graph` is given."""
    tier: Tier = "standard"
    tools: tuple[str, ...] = ()
    """Names of the tools it may call, at most `MAX_TOOLS` beside `ask_user`. Unused when `graph` is given."""
    hints: tuple[str, ...] = ()
    """Regular expressions (case-insensitive) that suggest this agent when no model is there to decide:
    the offline planner and the supervisor's deterministic fallback read them."""
    routable: bool = True
    """Whether the supervisor may assign work to it."""
    graph: Any = None
    """A compiled LangGraph graph that takes and returns `{"messages": [...]}`; it replaces the built-in loop.
    `Any` because this layer knows no framework; the registry checks it."""
    max_turns: int = 8
    """Model calls allowed for one assignment."""
    timeout_seconds: float = 300.0
    """Wall-clock time allowed for one assignment."""
    budget: float = 0.5
    """The part of a run's budget that this agent may use, from above 0 to 1; `budget.per_agent` of the run
    says otherwise, and a run with this agent alone does not share."""
    max_assignments: int = 50
    """Assignments it may get in one run: one a round, for as many rounds as a run can have."""


class Assignment(TypedDict):
    """One piece of work given to one agent in one round. JSON, because it lives in the graph's state."""

    agent: str
    task: str
    path: str
    """`coder` for an agent's first assignment of a round, `coder#2` for its second: unique within the round."""
    round: int
    tier: NotRequired[Tier]
    """A tier above the agent's own that the supervisor has raised this assignment to."""


class Citation(TypedDict):
    """A source an agent really read."""

    number: int
    title: str
    source: str
    """A URL, or a path below the knowledge folder."""
    snippet: str
    date: NotRequired[str]
    """When it was written, as the source says it; not there where it does not."""
    sha256: NotRequired[str]
    """Of the text that the agent read of it, as it is kept for the run; not there where it could not be."""


class EvidenceRef(TypedDict):
    """A text that a result rests on."""

    kind: Literal["output", "program"]
    """`output` what a tool answered · `program` what it ran."""
    sha256: str
    """Under which the run keeps it; empty where it could not be kept."""


class Whence(TypedDict):
    """For which run a piece of work was done, and how many seconds ago."""

    run_id: str
    age: int


class ToolCallRecord(TypedDict):
    """One tool call an agent made, in the shape the events `tool.*` carry."""

    call_id: str
    tool: str
    args: dict[str, Any]
    status: Literal["completed", "failed"]
    summary: str
    duration_ms: int | None
    doubt: NotRequired[dict[str, Any]]
    """What the event says where nobody knows whether the call took effect."""
    artifacts: NotRequired[list[Artifact]]
    """The files that it left; not there where it left none."""
    reused: NotRequired[Whence]
    """From whose work its answer is; not there where it worked."""


class TurnRecord(TypedDict):
    """One model message of an agent and the tool calls it asked for, in order."""

    message_id: str
    text: str
    finish_reason: str
    calls: list[ToolCallRecord]


class TokenCount(TypedDict):
    """Tokens of one or more model calls."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    calls: int
    model: str
    tier: NotRequired[Tier]


class OutcomeError(TypedDict):
    """Why an agent failed: a stable code and a sentence without secrets."""

    code: str
    detail: str


class AgentOutcome(TypedDict):
    """What an assignment came to. JSON: it is checkpointed and projected into events."""

    agent: str
    path: str
    round: int
    task: str
    status: Literal["completed", "failed"]
    output: str
    error: OutcomeError | None
    citations: list[Citation]
    turns: list[TurnRecord]
    usage: TokenCount
    model: str
    tier: Tier
    evidence: NotRequired[list[EvidenceRef]]
    """What its tools answered; not there in results of older versions."""
    opaque: NotRequired[bool]
    """It is of a graph from outside that shows no tool calls: nobody can tell what it rests on."""
    fleeting: NotRequired[bool]
    """It is another run's result, and rests on the web."""
    reused: NotRequired[Whence]
    """Whose result it is; not there where it is the run's own."""
