"""Server-sent events are read from bytes, however those are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox import UnexpectedAnswerError
from signalbox.sse import Frame, FrameReader

STREAM = (
    "\ufeffretry: 2000\n\n: ping\r\n\r\nid: 1\r\nevent: run.created\r\ndata: {}\r\n\r\n"
    "id: 2\revent: message.delta\rdata: ä 🚦\u2028x\r\r"
    "data:first\ndata: second\n\nevent: nothing\n\nid: 3\ndata: last\n\nid: 4\ndata: cut off"
).encode()
FRAMES = [
    Frame("1", "run.created", "{}"),
    Frame("2", "message.delta", "ä 🚦\u2028x"),
    Frame(None, "message", "first\nsecond"),
    Frame("3", "message", "last"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_frames_are_the_same_wherever_bytes_are_cut(cuts: list[int]) -> None:
    reader = FrameReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(edges)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == FRAMES
    assert reader.retry_seconds == 2.0


def test_every_byte_may_come_alone() -> None:
    reader = FrameReader()
    assert [f for byte in STREAM for f in reader.feed(bytes([byte]))] == FRAMES


def test_a_frame_without_end_is_given_up() -> None:
    reader = FrameReader(longest=1_000)
    for _ in range(10):
        assert reader.feed(b"x" * 100) == []
    with pytest.raises(UnexpectedAnswerError, match="longer than 1000"):
        reader.feed(b"x")


def test_lines_without_text_have_a_bound_too() -> None:
    """They take room all the same."""
    reader = FrameReader(longest=100)
    assert reader.feed(b"data:\n" * 100) == []
    with pytest.raises(UnexpectedAnswerError, match="longer than 100"):
        reader.feed(b"data:\n")


@pytest.mark.parametrize("number", ["²", "9" * 5_000, "-1", "1.5"])
def test_what_is_no_number_is_none(number: str) -> None:
    reader = FrameReader()
    assert reader.feed(f"retry: {number}\ndata: x\n\n".encode()) == [Frame(None, "message", "x")]
    assert reader.retry_seconds is None
