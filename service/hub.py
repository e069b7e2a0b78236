"""Passes a run's notices to its readers: here, and over the wire in other processes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from domain.budget import Tried
from domain.events import Delta, Event
from domain.ports import RunRef
from domain.run import Run
from domain.usage import ModelCall
from service.notices import Notice

READER_ITEMS: Final = 5_000
"""Notices a slow reader may be behind before it is sent back to the stored events."""


ELSEWHERE_RUNS: Final = 10_000
"""Runs followed in other processes that are remembered before the lapsed ones are forgotten."""


class Writer(Protocol):
    """Writes a run's events."""

    def hurry(self) -> None:
        """Write now what waits."""
        ...

    async def catch_up(self) -> None:
        """Return when what waits is written; bounded."""
        ...


class Wire(Protocol):
    """Carries notices to the readers of other processes."""

    def tell(self, run_id: str, notices: Sequence[Notice], *, tokens: bool) -> None:
        """Pass notices on; `tokens`: somebody elsewhere wants the pieces of messages too."""
        ...

    def follow(self, run_id: str) -> None:
        """Say that somebody here wants to see the run's events as they come."""
        ...


class Observer(Protocol):
    """Looks on at what this process writes."""

    def stored(self, events: Sequence[Event]) -> None:
        """Take note of events that were just stored."""
        ...

    def called(self, calls: Sequence[ModelCall]) -> None:
        """Take note of calls of models that are being booked."""
        ...

    def tried(self, tried: Tried) -> None:
        """Take note of one try of a model call that was sent, as it ended."""
        ...


class EventHub:
    """Passes notices to the readers in this process and, over the wire, in others.

    What is not stored lives only here."""

    def __init__(self, *observers: Observer) -> None:
        self._observers: Final = list(observers)
        self._topics: dict[str, _Topic] = {}
        self._followed_elsewhere: dict[str, float] = {}
        """Until when, by the loop's clock, each run is followed in another process."""
        self._closed = False
        self.wire: Wire | None = None
        """The way to other processes, where there are any."""
        self.on_reported: Callable[[], None] | None = None
        """Told when something of a run was published that its webhook may be sent."""

        self.on_ended: Callable[[Run], None] | None = None
        """Told of every run that this process has ended."""

    def close(self) -> None:
        """End every reader, now and later: the process stops, clients come back with their cursor."""
        self._closed = True
        for topic in self._topics.values():
            for reader in topic.readers:
                reader.close()

    def publish(self, run_id: str, notices: Sequence[Notice]) -> None:
        """Give notices to every reader of a run and keep track of half-written messages."""
        self._give(run_id, notices)
        events = [n.what for n in notices if isinstance(n.what, Event)]
        for observer in self._observers:
            observer.stored(events)
        for notice in notices:
            if notice.run is not None:
                final = isinstance(notice.what, Event) and notice.what.terminal
                (self.end if final else self.report)(notice.run)
        if self.wire:
            self.wire.tell(run_id, notices, tokens=self._is_followed_elsewhere(run_id))

    def show(self, observer: Observer) -> None:
        """Have one more look on."""
        self._observers.append(observer)

    def booked(self, calls: Sequence[ModelCall]) -> None:
        """Tell those who look on of calls of models that are being booked."""
        for observer in self._observers:
            observer.called(calls)

    def tried(self, tried: Tried) -> None:
        """Tell those who look on of one try of a model call, within its run."""
        for observer in self._observers:
            observer.tried(tried)

    def report(self, run: Run) -> None:
        """Say that there may be something in the outbox for the webhook of a run, which this process wrote."""
        if run.webhook is not None and self.on_reported:
            self.on_reported()

    def end(self, run: Run) -> None:
        """Say that this process has ended a run."""
        self.report(run)
        if self.on_ended:
            self.on_ended(run)

    def deliver(self, run_id: str, notices: Sequence[Notice]) -> None:
        """Give notices that came over the wire to the readers here."""
        topic = self._topics.get(run_id)
        if topic and topic.readers and topic.writer is None:
            self._give(run_id, [notice for notice in notices if topic.fits(notice)])

    def _give(self, run_id: str, notices: Sequence[Notice]) -> None:
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
            if topic.writer is writer:
                topic.writer = None
            self._forget_where_written_elsewhere(topic)
            self._tidy(run_id, topic)

    async def catch_up(self, run_id: str) -> None:
        """Return when what the run's segment has produced so far is stored, or soon after."""
        topic = self._topics.get(run_id)
        if topic and topic.writer:
            await topic.writer.catch_up()

    def followed(self, run_id: str) -> bool:
        """Return whether anybody wants to see the run's events as they come."""
        topic = self._topics.get(run_id)
        here = topic is not None and topic.followers > 0
        return here or self._is_followed_elsewhere(run_id)

    def _is_followed_elsewhere(self, run_id: str) -> bool:
        until = self._followed_elsewhere.get(run_id)
        return until is not None and until > asyncio.get_running_loop().time()

    def follow_from_elsewhere(self, run_id: str, *, seconds: float) -> list[Notice]:
        """Note that another process follows a run; return the half-written messages there are here.

        Also for a run that is not written here yet: it may be in a moment.
        """
        now = asyncio.get_running_loop().time()
        elsewhere = self._followed_elsewhere
        elsewhere[run_id] = now + seconds
        if len(elsewhere) > ELSEWHERE_RUNS:
            self._followed_elsewhere = {k: until for k, until in elsewhere.items() if until > now}
        topic = self._topics.get(run_id)
        if topic is None or topic.writer is None:
            return []
        topic.writer.hurry()
        return topic.snapshots()

    def positions(self) -> dict[str, int]:
        """Return the runs that are read here and written elsewhere, each with the number of the last
        stored event that all of its readers have been given."""
        return {
            run_id: min(reader.given for reader in topic.readers)
            for run_id, topic in self._topics.items()
            if topic.readers and topic.writer is None
        }

    def position(self, run_id: str) -> int:
        """Return the number of the stored event after which the readers have to be told."""
        topic = self._topics.get(run_id)
        if topic is None or not topic.readers:
            return 0
        return topic.seq or min(reader.given for reader in topic.readers)

    def tenant_of(self, run_id: str) -> str | None:
        """Return whose run it is, where it is read here and written elsewhere."""
        topic = self._topics.get(run_id)
        return topic.readers[0].tenant_id if topic and topic.readers and not topic.writer else None

    def followed_here(self) -> list[str]:
        """Return the runs that are followed here and written elsewhere."""
        return [k for k, t in self._topics.items() if t.followers and t.writer is None]

    def resync(self, run_id: str) -> None:
        """Send a run's readers back to the stored events: some were not told of."""
        topic = self._topics.get(run_id)
        if topic and topic.writer is None:
            topic.open.clear()
            for reader in topic.readers:
                reader.lose_track()

    @contextmanager
    def reading(self, ref: RunRef, *, only_end: bool = False) -> Iterator[Reader]:
        """Subscribe to a run for as long as the context lasts.

        `only_end`: the reader waits for the run's end, so its events need not hurry.
        """
        run_id = ref.run_id
        topic = self._topics.setdefault(run_id, _Topic())
        reader = Reader(topic, ref.tenant_id)
        topic.readers.append(reader)
        topic.followers += not only_end
        if topic.writer and not only_end:
            topic.writer.hurry()
        elif self.wire and topic.followers == 1 and not only_end:
            self.wire.follow(run_id)
        if self._closed:
            reader.close()
        try:
            yield reader
        finally:
            topic.readers.remove(reader)
            topic.followers -= not only_end
            if not topic.readers:
                self._forget_where_written_elsewhere(topic)
            self._tidy(run_id, topic)

    def _forget_where_written_elsewhere(self, topic: _Topic) -> None:
        """Drop half-written messages that would not grow here any more."""
        if self.wire and topic.writer is None:
            topic.open.clear()

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
    seq: int = 0
    """The number of the last stored event that the readers were given."""

    def fits(self, notice: Notice) -> bool:
        """Return whether what came from elsewhere follows on what the readers have."""
        what = notice.what
        if isinstance(what, Event):
            return what.seq > self.seq
        partial = self.open.get(what.message_id)
        if partial is None:
            return what.offset == 0
        return not notice.snapshot and what.offset == partial.length

    def note(self, notice: Notice) -> list[Notice]:
        """Keep `open` true; return what readers need beside the notice."""
        what = notice.what
        if isinstance(what, Delta):
            self.open.setdefault(what.message_id, _Partial(what.agent)).add(what)
            return []
        self.seq = max(self.seq, what.seq)
        if what.type == "message.completed":
            self.open.pop(what.data["message_id"], None)
        elif what.type in {"agent.completed", "agent.failed"}:
            self._drop(f"msg_{what.round}.{what.path}.")
        elif what.type == "run.resumed":
            self.open.clear()
            self.ended = False
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
    length: int = 0
    """Characters of all pieces."""

    def add(self, delta: Delta) -> None:
        if delta.offset == 0:
            self.pieces.clear()
            self.length = 0
        self.pieces.append(delta.text)
        self.length += len(delta.text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Reader:
    """One subscriber. Bounded: one that falls too far behind starts again from the stored events."""

    def __init__(self, topic: _Topic, tenant_id: str) -> None:
        self.tenant_id: Final = tenant_id
        self.given = 0
        """The number of the last stored event that the reader has, or has waiting."""
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
        first = next((notice.seq for notice in notices if notice.seq), 0)
        # A hole: whoever wrote the run before, elsewhere, did not come to tell of its last events.
        if len(self._waiting) >= READER_ITEMS or 0 < self.given < first - 1:
            self.lose_track()
        if not self.behind:
            self._waiting.extend(notices)
            self.given = max([self.given, *(notice.seq or 0 for notice in notices)])
        self._wake.set()

    def lose_track(self) -> None:
        """Send the reader back to the stored events: something was not told."""
        self._waiting.clear()
        self.behind = True
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
