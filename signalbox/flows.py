"""What the client does, apart from how it is carried out.

A flow is a generator: it yields the steps that touch the world, and is given what came of each. Two transports
carry the steps out, one that waits and one that awaits; everything else is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of the server."""

    method: str
    path: str
    """Percent-encoded, below the server's address."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    read_seconds: float | None = None
    """How long the server may be silent, where it is not as long as usual."""

    @property
    def repeatable(self) -> bool:
        """Return whether it may be sent again when nobody knows what became of it."""
        return self.method == "GET" or "idempotency-key" in self.headers


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server says; of one that is streamed, its beginning."""

    status: int
    headers: httpx.Headers
    content: bytes = b""

    @property
    def success(self) -> bool:
        """Return whether the server has done what was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own border


@dataclass(frozen=True)
class Send:
    """Send a request and read the whole answer: given an `Answer`, or `httpx.RequestError` raised."""

    request: Request
    seconds: float = float("inf")
    """How long it may take altogether."""


@dataclass(frozen=True)
class Open:
    """Send a request, to read the answer piece by piece: given an `Answer` without content."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read the next piece of what is open: given bytes, none at the end."""


@dataclass(frozen=True)
class Close:
    """Let go of what is open."""


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Ask:
    """Call what the user has given, which may be a coroutine function where the client is asynchronous."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Work:
    """Call what blocks, such as the reading of a file."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Give:
    """Give the user an item of what he iterates over."""

    item: Any


Step: TypeAlias = Send | Open | Read | Close | Pause | Ask | Work | Give
Flow: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True)
class Failure:
    """What a step failed with, for the flow to deal with."""

    error: Exception
    """An `httpx.RequestError`, or what work that blocks has raised of our own errors."""


class Course(Generic[T]):
    """A flow under way: its next step, or its value."""

    value: T

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow

    def advance(self, outcome: object = None) -> Step | None:
        """Tell the flow what came of its step; return the next, or `None` when `value` is there."""
        try:
            if isinstance(outcome, Failure):
                return self._flow.throw(outcome.error)
            return self._flow.send(outcome)
        except StopIteration as end:
            self.value = end.value
            return None

    def close(self) -> None:
        """Let the flow clean up."""
        self._flow.close()
