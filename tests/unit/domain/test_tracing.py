"""What a `traceparent` may be, as the W3C's Trace Context says it, and the ids that follow from a run's."""

from __future__ import annotations

import pytest

from domain.tracing import TraceParent, read_traceparent, span_id_of, trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
RUN = "run_01a227e822e67287921a7d53420a5856"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-adds", True),
    ],
)
def test_a_traceparent_is_read(text: str, *, sampled: bool) -> None:
    """Also of a later version, as far as it is known."""
    found = read_traceparent(text)
    assert found == TraceParent(TRACE, SPAN, sampled)
    assert found.header == f"00-{TRACE}-{SPAN}-{'01' if sampled else '00'}"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_a_malformed_traceparent_is_none(text: str | None) -> None:
    """It is ignored, and the run begins a trace of its own."""
    assert read_traceparent(text) is None
    assert trace_id_of(RUN, text) == "01a227e822e67287921a7d53420a5856"


def test_ids_follow_from_what_they_are_of() -> None:
    """The same part has the same id wherever it is asked; other parts and runs have others."""
    assert trace_id_of(RUN, f"00-{TRACE}-{SPAN}-00") == TRACE
    first = span_id_of(RUN, 0, "run")
    assert first == span_id_of(RUN, 0, "run")
    assert len(first) == 16
    assert int(first, 16)
    others = {span_id_of(RUN, 1, "run"), span_id_of(f"{RUN}0", 0, "run"), span_id_of(RUN, "0run")}
    assert first not in others
    assert len(others) == 3
