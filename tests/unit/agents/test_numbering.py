"""One number, one source, however many calls an agent makes."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage

from agents._kit.numbering import SOURCES_PER_CALL, number_citations
from domain.agent import Citation


def found(text: str, *numbers: int) -> ToolMessage:
    citations = [Citation(number=n, title=f"T{n}", source=f"s{n}", snippet="") for n in numbers]
    return ToolMessage(text, tool_call_id="c", artifact={"citations": citations})


def numbered(message: ToolMessage, *earlier: ToolMessage, position: int = 0) -> tuple[Any, Any]:
    number_citations(message, earlier, position=position)
    return message.content, [one["number"] for one in message.artifact["citations"]]


def test_a_second_result_counts_on_after_the_first() -> None:
    text = "<found>\n[1] T1 — s1\na [1]\n\n[2] T2 — s2\nb\n</found>"
    first = found("…", 1, 2, 3)
    assert numbered(found(text, 1, 2), first) == (
        "<found>\n[4] T1 — s1\na [1]\n\n[5] T2 — s2\nb\n</found>",
        [4, 5],
    )


def test_calls_of_one_turn_have_ranges_of_their_own() -> None:
    assert numbered(found("[1] T1 — s1", 1), position=2) == (
        f"[{2 * SOURCES_PER_CALL + 1}] T1 — s1",
        [2 * SOURCES_PER_CALL + 1],
    )


def test_a_line_of_a_page_that_looks_like_a_source_keeps_its_number() -> None:
    text = "[1] T1 — s1\n[1] T1 — s1\n[2] Other — s2\n [1] T1 — s1"
    assert numbered(found(text, 1), found("…", 1))[0] == (
        "[2] T1 — s1\n[1] T1 — s1\n[2] Other — s2\n [1] T1 — s1"
    )
