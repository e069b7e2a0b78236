"""When two agents contradict each other, and when they only seem to."""

from __future__ import annotations

import pytest

from agents._kit.grounding.disagreement import find_disagreements


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The mean revenue is 12.4 euros.", "Mean revenue: 13.4 euros"),
        ("- **Average revenue:** 12.4", "The mean revenue was 14."),
        ("The population of Lindmere was 12,400.", "The population of Lindmere is 14,200."),
        (
            "| Region | Sales |\n|---|---|\n| north | 12 |",
            "| Region | Sales |\n|--|--|\n| North | 21 |",
        ),
        ("The growth rate is 4.5 %.", "Growth rate: 5.4%"),
        ("The net change is -4.5.", "Net change = 4.5"),
        ("Revenue was $5 million in 2023.", "Revenue was $6 million in 2023."),
    ],
)
def test_different_figures_for_the_same_thing_are_a_disagreement(one, other):
    [found] = find_disagreements([("analyst", one), ("coder", other)])
    assert found["agents"] == ["analyst", "coder"]
    assert found["about"]
    assert len(found["statements"]) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The mean revenue is 12.4.", "The mean revenue is 12.40."),
        ("The mean revenue is 12.4.", "The mean revenue is 12.38."),
        ("The mean revenue is about 12,000.", "The mean revenue is 12,345."),
        ("The mean revenue is 12.4.", "The median revenue is 13.4."),
        ("The mean revenue is 12.4 euros.", "The mean revenue is 13.4 dollars."),
        ("The mean revenue is 12.4.", "The mean revenue is 13.4 %."),
        ("Revenue was 5 million in 2023.", "Revenue was 6 million in 2024."),
        ("Revenue was 5 million in 2023.", "Revenue was 6 million."),
        ("Revenue 2023: 5", "Revenue 2024: 6"),
        ("The mean is 5 without outliers.", "The mean is 6."),
        ("The forecast revenue is 5.", "The forecast revenue is 6."),
        ("## North\nMean revenue: 5", "## South\nMean revenue: 6"),
        ("Mean revenue: 5\nMean revenue: 7", "Mean revenue: 6"),
        ("The result is 5.", "The result is 6."),
        ("It is 5.", "It is 6."),
        ("Step 1: 5", "Step 1: 6"),
        ("```\nmean revenue: 5\n```", "Mean revenue: 6"),
        (
            "| Region | Sales |\n|---|---|\n| north | 12 |",
            "| Region | Costs |\n|--|--|\n| north | 21 |",
        ),
        ("The speed is 90 km/h.", "The speed is 25 m/s."),
    ],
)
def test_what_may_be_about_something_else_is_none(one, other):
    assert not find_disagreements([("analyst", one), ("coder", other)])


def test_an_agent_that_corrects_itself_disagrees_with_nobody():
    assert not find_disagreements([("coder", "Mean revenue: 5"), ("coder", "Mean revenue: 6")])


def test_a_disagreement_names_both_and_shows_what_they_say():
    said = [
        ("analyst", "So:\n\n- **Mean revenue:** 5 euros"),
        ("coder", "The mean revenue is 6 euros."),
    ]
    assert find_disagreements(said) == [
        {
            "agents": ["analyst", "coder"],
            "about": "Mean revenue",
            "statements": ["Mean revenue: 5 euros", "The mean revenue is 6 euros."],
        }
    ]
