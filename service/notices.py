"""What a reader of a run's stream receives, encoded once for all readers."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import orjson

from domain.events import Delta, Event
from domain.run import Run

RETRY_FRAME: Final = b"retry: 2000\n\n"

_NO_PIECE: Final = Delta(agent="", message_id="", offset=0, text="")
"""What a notice is about that is neither an event nor part of a message."""


class Notice:
    """One thing to tell every reader of a run: a stored event, or a piece of a message."""

    def __init__(
        self, what: Event | Delta, *, snapshot: bool = False, run: Run | None = None
    ) -> None:
        self.what: Final = what
        self.run: Final = run
        """The run as the terminal event left it, where this process wrote it."""
        self.snapshot: Final = snapshot
        self.final: Final = isinstance(what, Event) and what.terminal

    @property
    def seq(self) -> int | None:
        """Return the event's number; `None` for what is not stored."""
        return self.what.seq if isinstance(self.what, Event) else None

    @property
    def type(self) -> str:
        """Return the event type a client filters by."""
        if isinstance(self.what, Event):
            return self.what.type
        return "message.snapshot" if self.snapshot else "message.delta"

    @property
    def message_id(self) -> str | None:
        """Return the message this notice belongs to, if any."""
        if isinstance(self.what, Delta):
            return self.what.message_id
        return self.what.data.get("message_id") if self.what.type == "message.completed" else None

    @cached_property
    def frame(self) -> bytes:
        """Return the SSE frame."""
        if isinstance(self.what, Event):
            return event_frame(self.what.type, self.what.envelope(), seq=self.what.seq)
        delta = self.what
        data: dict[str, Any] = {"message_id": delta.message_id, "text": delta.text}
        if not self.snapshot:
            data["offset"] = delta.offset
        return event_frame(self.type, {"type": self.type, "agent": delta.agent, "data": data})


class Gap(Notice):
    """Tells one reader that events it asked for are kept no longer."""

    def __init__(self, run_id: str, *, requested: int, earliest: int, latest: int) -> None:
        super().__init__(_NO_PIECE)
        self._run_id = run_id
        self._data = {"requested": requested, "earliest": earliest, "latest": latest}

    @property
    def type(self) -> str:
        """Return the event type a client filters by."""
        return "stream.gap"

    @cached_property
    def frame(self) -> bytes:
        """Return the SSE frame."""
        payload = {"type": self.type, "run_id": self._run_id, "data": self._data}
        return event_frame(self.type, payload)


def event_frame(type_: str, payload: dict[str, Any], *, seq: int | None = None) -> bytes:
    """Return one SSE frame; only a stored event has an `id`."""
    head = f"id: {seq}\n" if seq is not None else ""
    return f"{head}event: {type_}\ndata: ".encode() + orjson.dumps(payload) + b"\n\n"
