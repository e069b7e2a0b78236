"""Which trace a run belongs to, and how its parts are named in it: the same in every process.

Trace and span ids are hexadecimal, of 32 and 16 digits, as in the W3C's Trace Context."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
_SAMPLED: Final = 1


class TraceParent(NamedTuple):
    """A span that others may be made below, wherever it is."""

    trace_id: str
    span_id: str
    sampled: bool
    """Whether the trace is recorded."""

    @property
    def header(self) -> str:
        """Return it as the value of a `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def read_traceparent(text: str | None) -> TraceParent | None:
    """Return what a `traceparent` names; `None` where there is none, or one that is to be ignored."""
    found = _TRACEPARENT.fullmatch(text or "")
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) * int(span_id, 16):
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def trace_id_of(run_id: str, traceparent: str | None) -> str:
    """Return the trace that a run belongs to: its caller's, else its own."""
    parent = read_traceparent(traceparent)
    return parent.trace_id if parent else own_trace_id(run_id)


def own_trace_id(run_id: str) -> str:
    """Return the trace of a run whose caller had none: it has the digits of the run's id, which is a UUID."""
    return run_id.rpartition("_")[2]


def span_id_of(run_id: str, *place: object) -> str:
    """Return the id of the span of one part of a run: whoever names the same part names the same span."""
    text = "\n".join((run_id, *map(str, place)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
