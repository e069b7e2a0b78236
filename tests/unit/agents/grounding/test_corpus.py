"""The check over hundreds of grounded answers: it lets them pass, and catches what is changed in them."""

from __future__ import annotations

from tests.unit.agents.grounding.corpus import make_corpus
from tests.unit.agents.grounding.held_out import make_held_out
from tests.unit.agents.grounding.mutations import weigh

LEAST_CASES = 200
CAUGHT = 0.95
REJECTED = 0.02


def test_grounded_answers_pass_and_what_is_changed_in_them_is_caught():
    tally = weigh(make_corpus())
    assert tally.originals >= LEAST_CASES
    assert len(tally.rejected) <= REJECTED * tally.originals, str(tally)
    for kind in ("number", "quote", "link"):
        assert tally.share(kind) >= CAUGHT, str(tally)


def test_a_second_set_of_answers_fares_as_well_as_the_first():
    tally = weigh(make_held_out())
    assert tally.originals >= LEAST_CASES // 2
    assert len(tally.rejected) <= REJECTED * tally.originals, str(tally)
    for kind in ("number", "quote", "link"):
        assert tally.share(kind) >= CAUGHT, str(tally)
