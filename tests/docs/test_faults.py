"""docs/faults.md says what each fault leads to, and it is true."""

from __future__ import annotations

import asyncio

import pytest

from tests.docs.fault_page import (
    AGENTS,
    OTHER,
    PAGE,
    Came,
    Case,
    measure,
    replace_table,
    write_table,
)

# A model that says nothing is waited for, case by case.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def came() -> dict[Case, Came]:
    """Return what each fault at each place came to."""
    return asyncio.run(measure())


@pytest.mark.slow
def test_the_page_says_what_each_fault_leads_to(came: dict[Case, Came]) -> None:
    """`python -m tests.docs.fault_page` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert replace_table(page, write_table(came)) == page


@pytest.mark.slow
def test_no_fault_passes_for_a_success(came: dict[Case, Came]) -> None:
    """Who fails for good is named, and so is why; who works beside it counts."""
    for case, (run, _) in came.items():
        named = {part["agent"] for part in run["degraded"]}
        if case.once:
            continue
        assert case.whose in named or run["status"] == "failed", case
        if case.whose in AGENTS:
            assert run["status"] in {"completed", "incomplete"}, case
            assert run["result"]["agents"][OTHER[case.whose]]["status"] == "completed", case
        if run["status"] == "failed":
            assert run["error"]["code"] == "model-error", case
