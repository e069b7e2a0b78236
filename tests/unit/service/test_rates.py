"""Counting requests: who is forgotten when there are too many callers."""

from __future__ import annotations

import pytest

from service import rates
from service.rates import Rates


async def test_of_too_many_callers_the_one_that_was_silent_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever makes names without end frees nobody who goes on asking, and not itself."""
    monkeypatch.setattr(rates, "MAX_CALLERS", 3)
    counted = Rates()
    assert (await counted.take("busy", 1)).allowed
    assert (await counted.take("silent", 1)).allowed
    for number in range(10):
        assert (await counted.take(f"made up {number}", 1)).allowed
        assert not (await counted.take("busy", 1)).allowed
    assert (await counted.take("silent", 1)).allowed
