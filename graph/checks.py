"""What checks mean for a run: which results stand, what is still to be mended, and by whom."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from agents._kit.prompts import head_and_tail
from domain.agent import AgentOutcome, AgentSpec
from domain.routing import Route, RouteAssignment
from domain.validation import (
    VALIDATOR,
    CheckRecord,
    CheckSummary,
    Disagreement,
    PlacedFault,
    Validation,
)
from graph.state import Missing, State, rounds_of

MAX_REVISIONS: Final = 2
"""How often results are sent back; what does not hold then is named in the answer."""

FAULT_CHARS: Final = 600
STATEMENT_CHARS: Final = 600
TASK_CHARS: Final = 3_000
"""How much of its first assignment an agent reads again."""

_ASKS: Final = re.compile(
    r"\b(?:double-?check|fact-?check|cross-?check|verify|validate|proof-?read)\b", re.IGNORECASE
)
_SCAN_CHARS: Final = 4_000


class Place(NamedTuple):
    """Which assignment of a run."""

    round: int
    path: str


def place_of(outcome: AgentOutcome | PlacedFault) -> Place:
    """Return where an outcome was made, or a fault found."""
    return Place(outcome["round"], outcome["path"])


def wants_check(mode: Validation, task: str, outcomes: Iterable[AgentOutcome]) -> bool:
    """Return whether the results of a run are to be checked."""
    agents = {o["agent"] for o in outcomes if o["status"] == "completed"}
    if mode == "off" or not agents:
        return False
    return mode == "on" or len(agents) > 1 or _ASKS.search(task[:_SCAN_CHARS]) is not None


def standing(outcomes: Sequence[AgentOutcome], checks: Sequence[CheckRecord]) -> list[AgentOutcome]:
    """Return the outcomes without those that were outvoted, or sent back and made anew since."""
    outvoted = {place_of(lost) for check in checks for lost in check["outvoted"]}
    gone = outvoted | _made_anew(outcomes, sent_back(checks))
    return [outcome for outcome in outcomes if place_of(outcome) not in gone]


def sent_back(checks: Iterable[CheckRecord]) -> set[Place]:
    """Return which assignments' results a check has found fault with."""
    return {place_of(fault) for check in checks for fault in check["faults"]}


def material(state: State, agent: str) -> list[AgentOutcome]:
    """Return the results that an agent reads: none that was sent back, but for its own, which it mends."""
    checks = state.get("checks", [])
    faulty = sent_back(checks)
    return [
        outcome
        for outcome in standing(state.get("outcomes", []), checks)
        if place_of(outcome) not in faulty or outcome["agent"] == agent
    ]


def _made_anew(outcomes: Sequence[AgentOutcome], faulty: Collection[Place]) -> set[Place]:
    """Return which of the faulty results their agents have replaced: each later result takes one's place."""
    replaced: set[Place] = set()
    for later in sorted(outcomes, key=lambda o: o["round"]):
        before = [
            place_of(outcome)
            for outcome in outcomes
            if outcome["agent"] == later["agent"]
            and outcome["round"] < later["round"]
            and place_of(outcome) in faulty
            and place_of(outcome) not in replaced
        ]
        if before and later["status"] == "completed":
            replaced.add(before[0])
    return replaced


def owed(checks: Sequence[CheckRecord], round_: int) -> CheckRecord | None:
    """Return the check whose demands nobody has worked on, where the last round was the one it saw."""
    last = checks[-1] if checks else None
    return last if last and last["verdict"] == "revise" and last["round"] == round_ else None


def to_mend(state: State) -> CheckRecord | None:
    """Return the check that the next decision is to know of: one whose demands nobody has worked on, or with
    which a run has ended that was retried."""
    checks = state.get("checks", [])
    if not (checks and state.get("begun")) or rounds_of(state) > 0:
        return owed(checks, state.get("round", 0))
    return None if checks[-1]["verdict"] == "accept" or state.get("settled") else checks[-1]


def write_check(check: CheckRecord) -> str:
    """Return a check for the supervisor's prompt."""
    lines = [f"- {fault['agent']}: {brief(fault)}" for fault in check["faults"]]
    lines += [f"- {describe(found)}" for found in check["disagreements"]]
    lines += [] if lines else [f"- {reason}" for reason in check["reasons"]]
    return (
        '<check verdict="revise">\nThe results were checked and do not hold yet. Have these things mended, by '
        "the agent named or by another one; a disagreement needs a third, independent look.\n"
        + "\n".join(lines)
        + "\n</check>"
    )


def mend(check: CheckRecord, outcomes: Sequence[AgentOutcome], specs: Sequence[AgentSpec]) -> Route:
    """Return by rule who works on what a check demands: the agent at fault, and a third on a disagreement."""
    allowed = {spec.name for spec in specs}
    assignments = []
    for outcome in outcomes:
        own = [f for f in check["faults"] if place_of(f) == place_of(outcome)]
        if own and outcome["agent"] in allowed:
            told = "\n".join(f"- {brief(fault)}" for fault in own)
            task = (
                f"{head_and_tail(outcome['task'], TASK_CHARS)}\n\nYour earlier result was checked and does not "
                f"hold:\n{told}\nDo it again, and hand over the whole result."
            )
            assignments.append(RouteAssignment(agent=outcome["agent"], task=task))
    for found in check["disagreements"]:
        task = (
            f"{describe(found)} Find out independently what is right, from the sources or by computing it "
            "anew, and say how you know."
        )
        assignments.append(RouteAssignment(agent=_third(found, specs), task=task))
    return Route(reason="The check of the results asks for it.", assignments=assignments)


def _third(found: Disagreement, specs: Sequence[AgentSpec]) -> str:
    """Return who looks at a disagreement: somebody who has no part in it, if there is anybody."""
    names = [spec.name for spec in specs]
    return next((name for name in names if name not in found["agents"]), names[0])


def describe(found: Disagreement) -> str:
    """Return a disagreement in one sentence."""
    said = "; ".join(
        f"{agent} says: {statement[:STATEMENT_CHARS]}"
        for agent, statement in zip(found["agents"], found["statements"], strict=False)
    )
    return f"{' and '.join(found['agents'])} contradict each other about {found['about']}. {said}."


def brief(fault: PlacedFault) -> str:
    """Return a fault in a sentence, with the words it is about."""
    text = f"{fault['text']!r}: " if fault["text"] else ""
    return f"{text}{fault['reason']}"[:FAULT_CHARS]


def write_settled(said: str) -> str:
    """Return for a prompt what a person has decided about a disagreement."""
    return (
        f"<settled>\nA person was shown what contradicts each other, and says:\n{said}\n</settled>"
    )


def summarise_checks(state: State) -> tuple[CheckSummary | None, list[Missing]]:
    """Return what the checks of a run came to, and what does not hold in its answer for all that."""
    checks = state.get("checks", [])
    if not checks:
        return None, []
    last, settled = checks[-1], state.get("settled", "")
    flaws: list[Missing] = []
    if last["verdict"] != "accept":
        flaws = [Missing(agent=fault["agent"], reason=brief(fault)) for fault in last["faults"]]
        if not settled:
            flaws += [
                Missing(agent=VALIDATOR, reason=describe(found)) for found in last["disagreements"]
            ]
        elif not flaws:
            last = {
                **last,
                "verdict": "accept",
                "reasons": [*last["reasons"], f"A person has settled it: {settled}"],
            }
    if last["verdict"] == "reject" and not flaws:
        flaws = [Missing(agent=VALIDATOR, reason=reason) for reason in last["reasons"][:3]]
    summary = CheckSummary(
        verdict=last["verdict"],
        reasons=last["reasons"],
        by=last["by"],
        checks=len(checks),
        disagreements=last["disagreements"],
    )
    return summary, flaws
