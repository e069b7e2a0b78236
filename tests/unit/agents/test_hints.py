"""Which agent a text suggests."""

from __future__ import annotations

import pytest

from agents._kit.hints import names_agent, pick_agent, rank_agents
from agents.analyst import AGENT as ANALYST
from agents.coder import AGENT as CODER
from agents.researcher import AGENT as RESEARCHER
from domain.agent import AgentSpec

TEAM = (ANALYST, CODER, RESEARCHER)
TRANSLATOR = AgentSpec(name="translator", description="Translates text between languages.")
LAWYER = AgentSpec(name="contract_reader", description="Checks clauses of leases and licences.")


@pytest.mark.parametrize(
    "text",
    [
        "Ask the translator to find out the mean of 1, 2, 3.",
        "use translator: compute 3 * 4 and write a function",
        "Let the translator search the docs.",
        "@translator what is Python?",
        "Translator: look up the weather",
    ],
)
def test_an_agent_that_is_named_wins_over_every_hint(text: str) -> None:
    assert pick_agent(text, (*TEAM, TRANSLATOR)) is TRANSLATOR


def test_of_two_named_agents_the_first_one_comes_first() -> None:
    ranked = rank_agents("Ask the coder, then ask the analyst.", TEAM)
    assert [spec.name for spec in ranked[:2]] == ["coder", "analyst"]


def test_an_agent_that_is_refused_is_not_picked() -> None:
    text = "Don't use the coder: write a function for 3 * 4."
    assert pick_agent(text, TEAM) is not CODER
    assert not names_agent(text, CODER)


def test_an_underscore_in_a_name_may_be_spoken_as_a_space() -> None:
    assert pick_agent("Have the contract reader search it.", (*TEAM, LAWYER)) is LAWYER


def test_an_agent_without_hints_is_found_by_its_name_or_its_description() -> None:
    team = (*TEAM, TRANSLATOR, LAWYER)
    assert pick_agent("Translate this into French: good morning", team) is TRANSLATOR
    assert pick_agent("Look at the clauses of my leases", team) is LAWYER


def test_a_word_that_merely_resembles_an_agent_s_trade_does_not_outweigh_hints() -> None:
    assert pick_agent("What does a data analyst earn, and who says so?", TEAM) is RESEARCHER


def test_where_nothing_matches_an_agent_that_can_search_is_asked() -> None:
    assert pick_agent("Hmm.", TEAM) is RESEARCHER
    assert pick_agent("Hmm.", (ANALYST, CODER)) is ANALYST
    assert pick_agent("", TEAM) is RESEARCHER


def test_the_order_of_equals_is_the_order_given() -> None:
    twins = tuple(AgentSpec(name=name, description="Does things.") for name in ("b", "a", "c"))
    assert rank_agents("anything", twins) == list(twins)


def test_the_offered_agents_are_all_ranked_exactly_once() -> None:
    ranked = rank_agents("compute the mean", TEAM)
    assert sorted(spec.name for spec in ranked) == ["analyst", "coder", "researcher"]
    assert ranked[0] is ANALYST
