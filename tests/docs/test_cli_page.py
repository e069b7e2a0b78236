"""The page about the command line is the commands' own."""

from __future__ import annotations

from tests.docs.cli_page import PAGE, write


def test_the_page_has_every_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == write(page), "run `python -m tests.docs.cli_page`"
