"""What a check of a run's results came to."""

from __future__ import annotations

from typing import Final, Literal

from typing_extensions import TypedDict

VALIDATOR: Final = "validator"
"""The name under which checks, their calls and their questions appear."""

Validation = Literal["off", "on", "auto"]
"""Which answers are checked: `off` none · `on` every one · `auto` those that more than one agent worked on,
and where the task asks for it."""

Verdict = Literal["accept", "revise", "reject"]
"""`accept` the results hold · `revise` they do not yet, and what to mend is said · `reject` they do not."""


class Fault(TypedDict):
    """One thing in a result that does not hold."""

    agent: str
    kind: Literal["number", "quote", "citation", "url", "rubric"]
    text: str
    """The words in question, as they stand in the result."""
    reason: str
    """Why it does not hold and what to do, in a sentence for the agent."""


class PlacedFault(Fault):
    """A fault, and the assignment whose result has it."""

    round: int
    path: str


class Disagreement(TypedDict):
    """Two agents who say different things about the same."""

    agents: list[str]
    about: str
    statements: list[str]
    """What each of them says, in the order of `agents`."""


class CheckRecord(TypedDict):
    """One check of the results of a run. JSON: it is checkpointed and projected into an event."""

    number: int
    """Which check of the run it was, from 1 on."""
    round: int
    """The round whose results were the last it saw."""
    verdict: Verdict
    reasons: list[str]
    faults: list[PlacedFault]
    outvoted: list[PlacedFault]
    """Results that the others contradict, which agree with each other: they are left out of the answer."""
    disagreements: list[Disagreement]
    """Those that nothing has settled."""
    by: Literal["rules", "model"]
    """`rules` no model had a part in the verdict."""


class CheckSummary(TypedDict):
    """What the checks of a run came to, as its result has it."""

    verdict: Verdict
    """Of the last check."""
    reasons: list[str]
    by: Literal["rules", "model"]
    checks: int
    """How many there were."""
    disagreements: list[Disagreement]
    """Those that nothing has settled."""
