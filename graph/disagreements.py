"""What becomes of a disagreement: a third result decides, or a person, or both sides are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from agents._kit.grounding.disagreement import MAX_STATEMENT_CHARS, find_disagreements
from agents._kit.prompts import head_and_tail
from agents._kit.verdict import Judgement
from domain.agent import AgentOutcome
from domain.approval import Ask, ask_id
from domain.validation import VALIDATOR, Disagreement, PlacedFault
from tools.decisions import answer_schema

SHOWN_CHARS: Final = 1_500
"""How much of each result a person reads in the question."""

ABOUT_CHARS: Final = 200
"""How much is kept of what a model says a disagreement is about."""

MAX_SHOWN: Final = 4
"""Results that are put side by side."""

CALL: Final = "disagreement"
"""What the question is called among those of the run."""


class Settled(NamedTuple):
    """Which disagreements stay open, and the results that have lost one."""

    open: list[Disagreement]
    outvoted: list[PlacedFault]


def settle(outcomes: Sequence[AgentOutcome]) -> Settled:
    """Return which results disagree by their figures.

    Where two agree against a third, the third has lost. An agent that says otherwise later has changed its
    mind: about that, what it said before does not count.
    """
    by_key = {f"{o['round']}|{o['path']}": o for o in outcomes}
    said = find_disagreements([(key, o["output"]) for key, o in by_key.items()])
    overruled = {
        (key, pair["about"])
        for pair in said
        for key in pair["agents"]
        if _of_one_agent(pair, by_key)
        and by_key[key]["round"] < max(by_key[each]["round"] for each in pair["agents"])
    }
    found = [
        pair
        for pair in said
        if not _of_one_agent(pair, by_key)
        and not any((key, pair["about"]) in overruled for key in pair["agents"])
    ]
    open_: list[Disagreement] = []
    outvoted: list[PlacedFault] = []
    for about in dict.fromkeys(each["about"] for each in found):
        pairs = [each for each in found if each["about"] == about]
        odd = set(pairs[0]["agents"]).intersection(*(pair["agents"] for pair in pairs))
        if pairs[1:] and len(odd) == 1:
            outvoted.append(_lost(by_key[odd.pop()], about))
        else:
            open_ += [_by_agent(pair, by_key) for pair in pairs]
    return Settled(open_, outvoted)


def judged(judgement: Judgement, outcomes: Sequence[AgentOutcome]) -> list[Disagreement]:
    """Return the disagreements that a model names, as far as they are between results."""
    agents = {outcome["agent"] for outcome in outcomes}
    return [
        Disagreement(
            agents=each.agents,
            about=each.about[:ABOUT_CHARS],
            statements=[said[:MAX_STATEMENT_CHARS] for said in each.statements],
        )
        for each in judgement.disagreements
        if len(each.agents) > 1
        and len(set(each.agents)) == len(each.agents)
        and agents.issuperset(each.agents)
        and len(each.agents) == len(each.statements)
    ]


def ask_about(
    found: Sequence[Disagreement],
    outcomes: Sequence[AgentOutcome],
    *,
    looked: bool,
    run_id: str,
    round_: int,
) -> Ask:
    """Return the question to a person, with the results side by side; `looked`: a third look was taken."""
    about = "; ".join(dict.fromkeys(each["about"] for each in found))
    concerned = {name for each in found for name in each["agents"]}
    shown = [outcome for outcome in outcomes if outcome["agent"] in concerned]
    results = "\n\n".join(
        f"--- {_heading(outcome, shown)} ---\n{head_and_tail(outcome['output'], SHOWN_CHARS)}"
        for outcome in shown[:MAX_SHOWN]
    )
    more = ", and a further look has not settled it" if looked else ""
    return Ask(
        id=ask_id(run_id, round_, VALIDATOR, CALL),
        type="input",
        agent=VALIDATOR,
        path=VALIDATOR,
        round=round_,
        call=CALL,
        tool=None,
        args={},
        description=(
            f"The results contradict each other about {about}{more}. Which one holds? Answer in your own "
            f"words; your answer decides.\n\n{results}"
        ),
        response_schema=answer_schema(),
        by="any",
        # Whoever does not answer gets both results: what was found is not thrown away.
        on_expiry="reject",
    )


def _heading(outcome: AgentOutcome, shown: Sequence[AgentOutcome]) -> str:
    """Return how a result is called: by its agent, and by its round where that has several."""
    if sum(other["agent"] == outcome["agent"] for other in shown) == 1:
        return outcome["agent"]
    return f"{outcome['path']} in round {outcome['round']}"


def _of_one_agent(pair: Disagreement, by_key: Mapping[str, AgentOutcome]) -> bool:
    return len({by_key[key]["agent"] for key in pair["agents"]}) == 1


def _by_agent(pair: Disagreement, by_key: Mapping[str, AgentOutcome]) -> Disagreement:
    """Return a disagreement of two results as one of their agents, who are not the same."""
    agents = [by_key[key]["agent"] for key in pair["agents"]]
    return Disagreement(agents=agents, about=pair["about"], statements=pair["statements"])


def _lost(outcome: AgentOutcome, about: str) -> PlacedFault:
    return PlacedFault(
        agent=outcome["agent"],
        kind="number",
        text="",
        reason=f"Two other results agree on {about}, and this one says otherwise.",
        round=outcome["round"],
        path=outcome["path"],
    )
