"""Answers and evidence made to confuse the check, or to keep it busy."""

from __future__ import annotations

import pytest

from agents._kit.grounding.check import MAX_FAULTS, Evidence, find_faults
from agents._kit.grounding.disagreement import find_disagreements

LONG = 100_000

SHAPES = [
    "1", "1 ", "12,", "1.", "1,234", "-", "(", "[", "[1]", "[1](", '"', "“", "‘", "«", "'", "`", "```\n", "> ", "|1|\n",
    "#", "1:", "1/", "2024-", "5 May ", "a-1", "http://", "https://a.b/(", "www.", "e1", "1e9", "½", "ab12", "**", "…",
    "1.a", "- 1. ", "\n\n", "over 1", "fell 1 ", "‘a b c d", '"a b c d" ', "\u202e1", "٣", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=ascii)
def test_any_shape_repeated_without_end_is_checked_to_the_end(shape):
    text = (shape * LONG)[:LONG]
    faults = find_faults("a", text, Evidence(outputs=[text[: LONG // 2]], given="x"))
    assert len(faults) <= MAX_FAULTS


@pytest.mark.parametrize(
    "shape", ["1: ", "a: 1\n", "|a|1|\n", "is is 1 ", "a is ", "- "], ids=ascii
)
def test_any_shape_repeated_without_end_is_no_disagreement(shape):
    text = (shape * LONG)[: LONG // 2]
    assert not find_disagreements([("a", text), ("b", text)])


@pytest.mark.parametrize(
    "answer", ["It is 4\u200b8.", "It is ４８.", "It is \u202e48\u202c.", "It is ٤٨."]
)
def test_a_number_in_disguise_is_read_as_people_see_it(answer):
    assert find_faults("a", answer, Evidence(outputs=["it is 47"]))
    assert not find_faults("a", answer, Evidence(outputs=["it is 48"]))


def test_a_long_run_of_digits_is_compared_digit_by_digit():
    number = "7" * 300
    assert not find_faults("a", f"It is {number}.", Evidence(outputs=[number]))
    assert find_faults("a", f"It is {number[:-1]}8.", Evidence(outputs=[number]))


def test_faults_are_bounded_and_none_is_told_twice():
    many = " ".join(f"{n}," for n in range(1000, 1400))
    assert len(find_faults("a", many, Evidence(outputs=["x"]))) == MAX_FAULTS
    assert len(find_faults("a", "77 and 77 and 77", Evidence(outputs=["x"]))) == 1
