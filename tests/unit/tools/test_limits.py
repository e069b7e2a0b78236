from __future__ import annotations

import pytest

from domain.tool import MAX_RESULT_CHARS
from tools.limits import cut_result


def test_a_text_within_the_limit_is_unchanged() -> None:
    assert cut_result("x" * MAX_RESULT_CHARS) == "x" * MAX_RESULT_CHARS


@pytest.mark.parametrize("limit", [40, 99, 1000])
def test_a_longer_text_is_cut_to_the_limit_and_says_how_much_is_missing(limit: int) -> None:
    cut = cut_result("x" * 12_345, limit)
    kept = cut.count("x")
    assert len(cut) <= limit
    assert cut.endswith(f"[{12_345 - kept} characters left out]")
