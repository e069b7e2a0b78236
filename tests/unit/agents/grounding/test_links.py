"""Which addresses and marks of an answer lead to something that was read."""

from __future__ import annotations

import pytest

from agents._kit.grounding.check import Evidence, find_faults
from domain.agent import Citation

SOURCES = [
    Citation(number=1, title="One", source="https://one.example/a", snippet="first"),
    Citation(number=2, title="Two", source="https://two.example/b", snippet="second"),
]


def faults(answer: str, *outputs: str, **more) -> list[tuple[str, str]]:
    found = find_faults("researcher", answer, Evidence(outputs=outputs, **more))
    return [(fault["kind"], fault["text"]) for fault in found]


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("https://Example.COM/a", "https://example.com/a/"),
        ("https://example.com:443/a#top", "https://example.com/a"),
        ("http://example.com:80", "http://example.com/"),
        ("see (https://example.com/x_(y)).", "[it](https://example.com/x_(y))"),
        ("https:\\/\\/example.com\\/a", "<https://example.com/a>"),
        ("https://example.com/?a=1&amp;b=2", "https://example.com/?a=1&b=2"),
        ("https://example.com/%C3%A9t%C3%A9", "https://example.com/été"),
        ("www.example.com/a", "https://www.example.com/a"),
        ("nothing", "http://localhost:8000/docs"),
    ],
)
def test_an_address_that_was_read_may_be_written(read, written):
    assert not faults(f"See {written}.", read)


@pytest.mark.parametrize(
    "written",
    [
        "https://example.com/a-2",
        "https://example.com.evil.example/a",
        "https://example.com/a?secret=1",
        "https://example.com:8443/a",
        "http://example.com/a",
        "https://ехample.com/a",
        "[fine](https://example.org/a)",
    ],
)
def test_an_address_that_nobody_read_is_a_fault(written):
    [(kind, text)] = faults(f"See {written}.", "https://example.com/a")
    assert (kind, text) == ("url", written.removeprefix("[fine](").removesuffix(")"))


def test_an_address_may_come_from_the_task_a_result_or_a_source():
    answer = "https://one.example/a https://task.example https://other.example/"
    assert not faults(
        answer, given="https://task.example/", results="https://other.example", citations=SOURCES
    )


@pytest.mark.parametrize(
    "answer",
    [
        "It holds [1]. So does this[2].",
        "Both [1][2], and [1, 2] and [1-2].",
        "`x[7]` is code, values[0] is a place in a list, [text](https://one.example/a).",
        "```\ny = x[7]\n```",
        "A note[^9] is none.",
        "The list is [4, 5, 6].",
        "[1] One — https://one.example/a\n[2]: https://two.example/b/",
    ],
)
def test_marks_of_sources_and_what_only_looks_like_one_hold(answer):
    assert not faults(answer, "4 5 6", citations=SOURCES)


def test_a_mark_without_a_source_is_a_fault():
    assert faults("It holds [3].", citations=SOURCES) == [("citation", "[3]")]
    assert faults("So it is[7].", citations=SOURCES) == [("citation", "[7]")]
    assert faults("So it is [1, 9].", citations=SOURCES) == [("citation", "[1, 9]")]
    assert faults("So it is [1][4].", citations=SOURCES) == [("citation", "[4]")]
    assert faults("It holds [3].", "No local document answers this query.") == [("citation", "[3]")]


def test_a_mark_may_be_repeated_from_what_the_agent_was_told():
    assert not faults("It holds [3].", results="It holds [3].")


def test_a_source_list_that_mixes_two_up_is_a_fault():
    [fault] = find_faults(
        "researcher",
        "As said [1].\n\n[1] One — https://two.example/b",
        Evidence(outputs=[], citations=SOURCES),
    )
    assert fault["kind"] == "citation"
    assert fault["reason"] == (
        "The source of [1] is 'https://one.example/a'; what stands behind it is that of [2]. "
        "Put the two together as the search numbered them."
    )
