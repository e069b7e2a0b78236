"""What a tool declares about itself besides its arguments."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Effect = Literal["none", "workspace", "external"]
"""`none`: reads only · `workspace`: changes only the run's own folder · `external`: changes the world."""

MAX_RESULT_CHARS: Final = 16_000
"""A longer tool result is cut, with a note that says how much was left out."""


class CallFacts(NamedTuple):
    """What a gate's rule may ask about one call; `None` where the call has no such thing."""

    method: str | None = None
    """The HTTP method, in capitals."""
    host: str | None = None
    """`host:port`, in lower case, the port always there."""
    path: str | None = None
    """The path of the URL, or of the file."""
    size: int | None = None
    """Bytes that are sent or written."""


class Pinned(NamedTuple):
    """What a call is about, found out before a person is asked about it."""

    value: str
    """Of the argument that nails it down, such as a file's hash."""
    about: str
    """What the person reads, such as `report.md (1200 bytes)`."""
