"""What a check of an answer came to."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

Validation = Literal["off", "on", "auto"]
"""Which answers are checked: `off` none · `on` every one · `auto` those that more than one agent worked on,
and where the task asks for it."""

Verdict = Literal["accept", "revise", "reject"]
"""`accept` the answer holds · `revise` it does not yet, and what to mend is said · `reject` it does not."""


class Fault(TypedDict):
    """One thing in a result that does not hold."""

    agent: str
    kind: Literal["number", "quote", "citation", "url", "rubric"]
    text: str
    """The words in question, as they stand in the result."""
    reason: str
    """Why it does not hold and what to do, in a sentence for the agent."""


class Disagreement(TypedDict):
    """Two agents' different figures for the same thing."""

    agents: list[str]
    """The two that say them."""
    about: str
    """What both name, in the words of the first."""
    statements: list[str]
    """What each of the two says, in the order of `agents`."""
