"""The page of threats says for each of them what stands against it, and which test shows that."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "security.md"
OWASP = [f"LLM{n:02}" for n in range(1, 11)] + [f"ASI{n:02}" for n in range(1, 11)]


def rows() -> list[list[str]]:
    """Return the cells of every line of its tables but the heads."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in {"Risk", "Threat"} and set(row[0]) != {"-"}]


def test_every_line_names_what_stands_against_it_and_the_test_that_shows_it() -> None:
    """That the tests exist, the tests of all documents look at."""
    for row in rows():
        risk, control, shown = row
        assert control, risk
        assert re.search(r"`tests/[\w/]+\.py", shown), risk


def test_every_risk_of_both_lists_has_its_line() -> None:
    named = [row[0].split()[0] for row in rows()]
    assert [risk for risk in named if risk in OWASP] == OWASP
