"""Passes a run's notices to its readers in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from domain.events import Delta
from service.notices import Notice

READER_ITEMS: Final = 5_000
"""Notices a slow reader may be behind before it is sent back to the stored events."""


class Writer(Protocol):
    """Writes a run's events."""

    def hurry(self) -> None:
        """Write now what waits."""
        ...

    async def catch_up(self) -> None:
        """Return when what waits is written; bounded."""
        ...


class EventHub:
    """Passes notices to the readers in this process. What is not stored lives only here."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._closed = False

    def close(self) -> None:
        """End every reader, now and later: the process stops, clients come back with their cursor."""
        self._closed = True
        for topic in self._topics.values():
            for reader in topic.readers:
                reader.close()

    def publish(self, run_id: str, notices: Sequence[Notice]) -> None:
        """Give notices to every reader of a run and keep track of half-written messages."""
        topic = self._topics.get(run_id)
        if topic is None:
            topic = self._topics[run_id] = _Topic()
        for notice in notices:
            extra = topic.note(notice)
            for reader in topic.readers:
                reader.give([notice, *extra])
        self._tidy(run_id, topic)

    def forget_messages(self, run_id: str) -> None:
        """Drop half-written messages: the segment that wrote them is gone."""
        topic = self._topics.get(run_id)
        if topic:
            topic.open.clear()

    @contextmanager
    def writing(self, run_id: str, writer: Writer) -> Iterator[None]:
        """Name whoever writes the run's events, for as long as the context lasts."""
        topic = self._topics.setdefault(run_id, _Topic())
        topic.writer = writer
        try:
            yield
        finally:
            topic.writer = None
            self._tidy(run_id, topic)

    async def catch_up(self, run_id: str) -> None:
        """Return when what the run's segment has produced so far is stored, or soon after."""
        topic = self._topics.get(run_id)
        if topic and topic.writer:
            await topic.writer.catch_up()

    def followed(self, run_id: str) -> bool:
        """Return whether anybody wants to see the run's events as they come."""
        topic = self._topics.get(run_id)
        return topic is not None and topic.followers > 0

    @contextmanager
    def reading(self, run_id: str, *, only_end: bool = False) -> Iterator[Reader]:
        """Subscribe to a run for as long as the context lasts.

        `only_end`: the reader waits for the run's end, so its events need not hurry.
        """
        topic = self._topics.setdefault(run_id, _Topic())
        reader = Reader(topic)
        topic.readers.append(reader)
        topic.followers += not only_end
        if topic.writer and not only_end:
            topic.writer.hurry()
        if self._closed:
            reader.close()
        try:
            yield reader
        finally:
            topic.readers.remove(reader)
            topic.followers -= not only_end
            self._tidy(run_id, topic)

    def _tidy(self, run_id: str, topic: _Topic) -> None:
        unused = not topic.readers and topic.writer is None
        if unused and (topic.ended or not topic.open) and self._topics.get(run_id) is topic:
            del self._topics[run_id]


@dataclass
class _Topic:
    """One run's readers, and the messages of which only a part was sent."""

    readers: list[Reader] = field(default_factory=list)
    followers: int = 0
    """Readers that want every event as it comes."""
    writer: Writer | None = None
    """Told of every new follower: it hurries then."""
    open: dict[str, _Partial] = field(default_factory=dict)
    ended: bool = False

    def note(self, notice: Notice) -> list[Notice]:
        """Keep `open` true; return what readers need beside the notice."""
        what = notice.what
        if isinstance(what, Delta):
            partial = self.open.setdefault(what.message_id, _Partial(what.agent))
            if what.offset == 0:
                partial.pieces.clear()
            partial.pieces.append(what.text)
            return []
        if what.type == "message.completed":
            self.open.pop(what.data["message_id"], None)
        elif what.type in {"agent.completed", "agent.failed"}:
            self._drop(f"msg_{what.round}.{what.path}.")
        elif what.type == "run.resumed":
            self.open.clear()
        elif what.type == "agent.retrying":
            # Clients drop every half-written message now: the others' are given to them again.
            self._drop(f"msg_{what.round}.{what.path}.")
            return self.snapshots()
        self.ended = self.ended or what.terminal
        return []

    def snapshots(self) -> list[Notice]:
        return [
            Notice(Delta(agent=p.agent, message_id=m, offset=0, text=p.text), snapshot=True)
            for m, p in self.open.items()
        ]

    def _drop(self, prefix: str) -> None:
        for message_id in [m for m in self.open if m.startswith(prefix)]:
            del self.open[message_id]


@dataclass
class _Partial:
    agent: str
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Reader:
    """One subscriber. Bounded: one that falls too far behind starts again from the stored events."""

    def __init__(self, topic: _Topic) -> None:
        self._topic = topic
        self._waiting: deque[Notice] = deque()
        self._wake = asyncio.Event()
        self.behind = False
        self.closed = False

    def close(self) -> None:
        """End the subscription from the other side."""
        self.closed = True
        self._wake.set()

    def give(self, notices: Sequence[Notice]) -> None:
        """Queue notices."""
        if len(self._waiting) >= READER_ITEMS:
            self._waiting.clear()
            self.behind = True
        if not self.behind:
            self._waiting.extend(notices)
        self._wake.set()

    def restart(self) -> list[Notice]:
        """Start afresh: forget what waits; return the half-written messages as of now."""
        self._waiting.clear()
        self.behind = False
        return self._topic.snapshots()

    async def take(self) -> list[Notice]:
        """Wait for notices and return all that are there; empty when the reader fell behind."""
        while not self._waiting and not self.behind and not self.closed:
            self._wake.clear()
            await self._wake.wait()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken
