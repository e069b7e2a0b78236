"""Read server-sent events from bytes, however they are cut."""

from __future__ import annotations

import codecs
from typing import Final, NamedTuple

from signalbox.errors import UnexpectedAnswerError

LONGEST: Final = 64 * 1024 * 1024
"""Characters that one frame may have: the last one has the whole run in it."""


MOST_DIGITS: Final = 18


class Frame(NamedTuple):
    """One event of a stream."""

    id: str | None
    type: str
    data: str


def number_in(text: str) -> int | None:
    """Return a number of ASCII digits; `None` for what is none, or larger than any that a server means."""
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
        return int(text)
    return None


class FrameReader:
    """Takes bytes and returns the frames that are complete by then.

    Lines end as the specification says: with CR, LF or both, and with nothing else that Unicode calls an end.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self.retry_seconds: float | None = None
        """How long the server wants a client to wait before it comes back."""
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest: list[str] = []
        self._after_cr = False
        self._fields: dict[str, str] = {}
        self._data: list[str] = []
        self._size = 0
        """Characters of the data, each line with its end: a line may be empty, and still takes room."""

    def feed(self, piece: bytes) -> list[Frame]:
        """Return the frames that end in this piece."""
        text = self._decoder.decode(piece)
        if self._after_cr and text:
            text = text.removeprefix("\n")  # the second half of CR LF
            self._after_cr = False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        frames = []
        for line in lines:
            self._rest.append(line)
            frame = self._take("".join(self._rest))
            self._rest.clear()
            if frame:
                frames.append(frame)
        self._keep(rest)
        return frames

    def _keep(self, rest: str) -> None:
        if rest:
            self._rest.append(rest)
        if sum(map(len, self._rest)) + self._size > self._longest:
            msg = f"An event is longer than {self._longest} characters. That is no stream of Signalbox."
            raise UnexpectedAnswerError(msg)

    def _take(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == "retry" and (milliseconds := number_in(value)) is not None:
            self.retry_seconds = milliseconds / 1000
        elif name in {"id", "event"}:
            self._fields[name] = value
        return None

    def _dispatch(self) -> Frame | None:
        fields, data = self._fields, self._data
        self._fields, self._data, self._size = {}, [], 0
        if not data:
            return None
        return Frame(fields.get("id"), fields.get("event", "message"), "\n".join(data))
