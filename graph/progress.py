"""Tells whether a decision can bring a run on, or only has done again what was done.

There is reason to give work again where it has failed once, or where others have found something since, but
not more than `MAX_TIMES`. A decision whose every assignment is given again without reason is a stall; one that
names anything else too is carried out as it is. No agent gets more than its spec allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from langchain_core.messages import BaseMessage

from domain.agent import AgentOutcome, AgentSpec, Assignment
from domain.routing import RouteRecord
from domain.validation import CheckRecord
from graph.checks import Place, owed, place_of, sent_back, standing
from graph.state import State

MAX_TIMES: Final = 3
"""How often there may be a reason for the same work. Results that only change their wording would else be
found new for ever, by two agents in turn."""

TOLD: Final = 4
"""Repeated assignments that are named; the rest is counted."""

TASK_CHARS: Final = 160
RESULT_CHARS: Final = 240

STALLED: Final = """\
That decision brings nothing new:
{why}
Decide otherwise: give other work, or a part that failed in another way or to another agent, or return no
assignments if the results are all there is. If the next decision brings nothing new either, the run ends
with what it has."""


class Proposal(NamedTuple):
    """What a model has decided, and whether it brings the run on."""

    messages: list[BaseMessage]
    """What was said up to it, its answer included."""
    route: RouteRecord | None
    """`None` where it cannot be carried out, and `fault` says why."""
    fault: str = ""
    stall: str = ""
    """Why it brings nothing new, for the model; empty where it may."""
    brief: str = ""
    """The same in a clause, for whoever reads the run."""


class Kept(NamedTuple):
    """What a decision may set to work of what it has named."""

    assignments: list[Assignment]
    left_out: str
    """Which agents got less than it wanted, and why; empty where none did."""


class _Work(NamedTuple):
    """A piece of work, whichever round it was given in."""

    agent: str
    task: str


def weigh(proposal: Proposal, state: State, specs: Sequence[AgentSpec], *, last: bool) -> Proposal:
    """Return a decision within what its agents may get, with why it brings nothing new where that is so.

    `last`: there is no round left for it. What a check demands is never for nothing, and bounded already.
    """
    wanted = proposal.route
    if last or wanted is None or not wanted["assignments"]:
        return proposal
    outcomes, checks = state.get("outcomes", []), state.get("checks", [])
    kept, left_out = keep_within(wanted["assignments"], outcomes, specs)
    reason = f"{wanted['reason']} (Left out: {left_out}.)" if left_out else wanted["reason"]
    route: RouteRecord = {**wanted, "reason": reason, "assignments": kept}
    if left_out:
        route.pop("last", None)  # some of what was to end the run is not done
    proposal = proposal._replace(route=route)
    if owed(checks, state.get("round", 0)):
        return proposal
    if not kept:
        return proposal._replace(stall=f"- {left_out}", brief=left_out)
    repeats = _find_repeats(kept, outcomes, checks)
    if not repeats:
        return proposal
    return proposal._replace(stall=_tell_repeats(repeats), brief=_name_repeats(repeats))


def keep_within(
    assignments: Sequence[Assignment],
    outcomes: Sequence[AgentOutcome],
    specs: Sequence[AgentSpec],
) -> Kept:
    """Return the assignments without those that are more than their agents may get in a run."""
    room = rooms(outcomes, specs)
    kept: list[Assignment] = []
    short: dict[str, int] = {}
    for assignment in assignments:
        agent = assignment["agent"]
        if room[agent] > 0:
            room[agent] -= 1
            kept.append(assignment)
        else:
            short[agent] = short.get(agent, 0) + 1
    most = {spec.name: spec.max_assignments for spec in specs}
    told = [f"{name} has had the {most[name]} assignments it may get in a run" for name in short]
    return Kept(kept, "; ".join(told))


def rooms(outcomes: Sequence[AgentOutcome], specs: Sequence[AgentSpec]) -> dict[str, int]:
    """Return how many more assignments each agent may get."""
    had = Counter(outcome["agent"] for outcome in outcomes)
    return {spec.name: max(spec.max_assignments - had[spec.name], 0) for spec in specs}


def _find_repeats(
    assignments: Sequence[Assignment],
    outcomes: Sequence[AgentOutcome],
    checks: Sequence[CheckRecord],
) -> list[AgentOutcome]:
    """Return what these assignments came to when they were given last, if all of them were and none has a
    reason to come to something else now; else nothing."""
    by_work: dict[_Work, list[AgentOutcome]] = {}
    for outcome in outcomes:
        by_work.setdefault(_work(outcome), []).append(outcome)
    given = [by_work.get(_work(assignment), []) for assignment in assignments]
    if not all(given):
        return []
    outvoted = {place_of(lost) for check in checks for lost in check["outvoted"]}
    void = sent_back(checks) | outvoted
    news = _last_news(outcomes, standing(outcomes, checks))
    if not all(_is_settled(before, void, news) for before in given):
        return []
    return [max(before, key=lambda o: o["round"]) for before in given]


def _last_news(outcomes: Sequence[AgentOutcome], stands: Sequence[AgentOutcome]) -> int:
    """Return the last round in which an agent said what it had not said before, among what stands."""
    first: dict[tuple[str, str], int] = {}
    for outcome in sorted(outcomes, key=lambda o: o["round"]):
        if outcome["status"] == "completed":
            first.setdefault((outcome["agent"], _plain(outcome["output"])), outcome["round"])
    return max(
        (o["round"] for o in stands if first.get((o["agent"], _plain(o["output"]))) == o["round"]),
        default=0,
    )


def _is_settled(before: Sequence[AgentOutcome], void: Collection[Place], news: int) -> bool:
    """Return whether work that came to this before would come to the same again; `news` is the round in
    which something was found last."""
    rounds = {o["round"] for o in before}
    good = {o["round"] for o in before if o["status"] == "completed" and place_of(o) not in void}
    if len(rounds) >= MAX_TIMES:
        return True
    if max(rounds) not in good and len(rounds - good) == 1:
        return False  # it has failed once: another try is worth it
    return news <= max(rounds)


def _tell_repeats(repeats: Sequence[AgentOutcome]) -> str:
    """Return what is repeated and what it came to, one line each."""
    lines = [
        f"- {o['agent']} has had {_short(o['task'], TASK_CHARS)!r} in round {o['round']}, and it "
        + (
            f"failed: {_short(o['error']['detail'], RESULT_CHARS)}"
            if o["error"]
            else f"has a result: {_short(o['output'], RESULT_CHARS)}"
        )
        for o in repeats[:TOLD]
    ]
    more = len(repeats) - TOLD
    return "\n".join([*lines, *([f"- and {more} more"] if more > 0 else [])])


def _name_repeats(repeats: Sequence[AgentOutcome]) -> str:
    """Return in one clause what is repeated."""
    named = [
        f"{o['agent']} was to do {_short(o['task'], TASK_CHARS)!r} again, which "
        f"{'failed' if o['error'] else 'has a result'} (round {o['round']})"
        for o in repeats[:TOLD]
    ]
    more = len(repeats) - TOLD
    return "; ".join([*named, *([f"and {more} more"] if more > 0 else [])])


def _work(of: Assignment | AgentOutcome) -> _Work:
    return _Work(of["agent"], _plain(of["task"]))


def _plain(text: str) -> str:
    """Return a text without what does not count: case, and how it is laid out."""
    return " ".join(text.split()).casefold()


def _short(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}…"
