"""What a call may take: time, and bytes of an answer."""

from __future__ import annotations

import time
from typing import Final

import httpx

from signalbox.errors import UnexpectedAnswerError

CALL_SECONDS: Final = 300.0
"""How long one call may take altogether."""

ANSWER_BYTES: Final = 256 * 1024 * 1024
"""How large one answer may be: the export of a long run is the largest."""

_ENCODINGS: Final = frozenset({"", "identity", "gzip", "deflate"})


class Deadline:
    """The time that the user gives."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds: Final = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Return the seconds that are left; infinite where there is no end."""
        return float("inf") if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def over(self) -> bool:
        """Return whether there are none."""
        return self.left <= 0


class Content:
    """An answer's bytes as they come. Raises `UnexpectedAnswerError` where they are more than a client takes, and
    `httpx.ReadTimeout` where they take too long altogether, however steadily they come."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._deadline = Deadline(seconds)
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self._size += len(piece)
        if self._size > self._most:
            self._pieces.clear()
            msg = f"The answer has more than {self._most} bytes. answer_bytes= of the client says how many it takes."
            raise UnexpectedAnswerError(msg)
        self._pieces.append(piece)
        if self._deadline.over:
            raise too_slow()

    def value(self) -> bytes:
        """Return all of them."""
        return b"".join(self._pieces)


def too_slow() -> httpx.ReadTimeout:
    """Return what is raised where an answer is not whole in time."""
    return httpx.ReadTimeout(
        "its answer was not whole in time; call_seconds= says how long it may take"
    )


def check_encoding(headers: httpx.Headers) -> None:
    """Raise `UnexpectedAnswerError` where a few bytes may be packed that are billions when they are unpacked."""
    if headers.get("content-encoding", "").strip().lower() not in _ENCODINGS:
        msg = "The answer is packed in a way that was not asked for. Is it a Signalbox?"
        raise UnexpectedAnswerError(msg)
