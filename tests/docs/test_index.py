"""The documents are in four kinds, each listed once; what is written from the code is what the code says."""

from __future__ import annotations

from collections import Counter

import pytest
import pytest_asyncio

from monitoring.costs import PriceTable
from tests.conftest import ROOT
from tests.docs import llms, settings_page, team_page
from tests.docs.markdown import Document
from tests.docs.team_page import Divided, measure

INDEX = Document(ROOT / "docs" / "README.md")
KINDS = ["Tutorial", "How to", "Reference", "Explanation", "Asked often", "Examples"]


def test_every_page_is_listed_once() -> None:
    pages = {f"{path.name}" for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    # What is asked often leads to a place in a page.
    named = Counter(k for k in INDEX.links if not k.startswith("../") and "#" not in k)
    assert dict(named) == dict.fromkeys({*pages, "decisions/README.md"}, 1)


def test_the_index_has_the_four_kinds() -> None:
    assert [part.partition("\n")[0] for part in INDEX.text.split("\n## ")[1:]] == KINDS


def test_every_line_of_the_index_says_what_is_there() -> None:
    lines = [line for line in INDEX.text.splitlines() if line.startswith("- ")]
    assert [line for line in lines if not llms.ENTRY.match(line)] == []


def test_every_example_is_listed_once() -> None:
    listed = Counter(Document(ROOT / "examples" / "README.md").links)
    files = {p.relative_to(ROOT / "examples").as_posix() for p in (ROOT / "examples").rglob("*.py")}
    assert dict(listed) == dict.fromkeys(files, 1)


def test_llms_txt_is_made_from_the_index() -> None:
    """`python -m tests.docs.llms` writes it."""
    assert llms.PAGE.read_text(encoding="utf-8") == llms.render()


def test_the_settings_are_those_of_the_code() -> None:
    """`python -m tests.docs.settings_page` writes them."""
    page = settings_page.PAGE.read_text(encoding="utf-8")
    assert page == settings_page.write(page)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def divided(tmp_path_factory: pytest.TempPathFactory) -> list[Divided]:
    """Carry the same work out in each way, once."""
    return await measure(tmp_path_factory.mktemp("teams"))


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_the_page_says_what_dividing_work_costs(divided: list[Divided]) -> None:
    """`python -m tests.docs.team_page` writes it."""
    page = team_page.PAGE.read_text(encoding="utf-8")
    assert page == team_page.replace_table(page, team_page.write_table(divided))


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_at_once_is_fastest_and_one_alone_is_cheapest(divided: list[Divided]) -> None:
    alone, at_once, in_turn = divided
    assert at_once.in_a_row < alone.in_a_row < in_turn.in_a_row
    costs = [each.measured.cost(team_page.MODEL, PriceTable()) for each in divided]
    assert costs == sorted(costs)
