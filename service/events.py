"""The event log: appended by the one segment that owns a run, replayed and followed by any reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from domain.events import Delta, Event, EventDraft, MessageOpened
from domain.ports import Clock, RunRef, RunStore
from domain.usage import ModelCall, Usage, book_call
from service.frames import Notice

Item = EventDraft | Delta | ModelCall | MessageOpened

QUEUE_ITEMS: Final = 2_000
"""Items a segment may be ahead of the store before it waits."""

READER_ITEMS: Final = 5_000
"""Notices a slow reader may be behind before it is sent back to the stored events."""

BURST_SECONDS: Final = 0.02
"""How long the first event of a burst waits for the others before all are stored and sent."""

PAGE: Final = 500
"""Stored events read at once during a replay."""


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
        if notices and notices[-1].final and not topic.readers:
            del self._topics[run_id]

    def forget_messages(self, run_id: str) -> None:
        """Drop half-written messages: the segment that wrote them is gone."""
        topic = self._topics.get(run_id)
        if topic:
            topic.open.clear()

    @contextmanager
    def reading(self, run_id: str) -> Iterator[Reader]:
        """Subscribe to a run for as long as the context lasts."""
        topic = self._topics.setdefault(run_id, _Topic())
        reader = Reader(topic)
        topic.readers.append(reader)
        if self._closed:
            reader.close()
        try:
            yield reader
        finally:
            topic.readers.remove(reader)
            if not topic.readers and (topic.ended or not topic.open):
                self._topics.pop(run_id, None)


@dataclass
class _Topic:
    """One run's readers, and the messages of which only a part was sent."""

    readers: list[Reader] = field(default_factory=list)
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


async def follow(
    store: RunStore, hub: EventHub, ref: RunRef, *, after: int
) -> AsyncIterator[list[Notice]]:
    """Yield a run's events from `after` on: the stored ones, then live, without gap or repetition.

    Ends after the terminal event, or when the process stops.
    """
    last = after
    with hub.reading(ref.run_id) as reader:
        while True:
            # Taken before the replay: what is published from here on waits in the reader.
            snapshots = reader.restart()
            finished: set[str] = set()
            async for page in _replay(store, ref, last):
                last = page[-1].seq or last
                finished.update(n.message_id for n in page if n.message_id)
                yield page
                if page[-1].final:
                    return
            yield [notice for notice in snapshots if notice.message_id not in finished]
            async for fresh in _live(reader, last, finished):
                last = max([last, *(n.seq for n in fresh if n.seq)])
                yield fresh
                if fresh[-1].final:
                    return
            if reader.closed:
                return


async def _replay(store: RunStore, ref: RunRef, after: int) -> AsyncIterator[list[Notice]]:
    while events := await store.events(ref, after=after, limit=PAGE):
        after = events[-1].seq
        yield [Notice(event) for event in events]


async def _live(reader: Reader, last: int, finished: set[str]) -> AsyncIterator[list[Notice]]:
    """Yield live notices until the reader falls behind; leave out what the replay has shown."""
    while not reader.behind and not reader.closed:
        fresh = []
        for notice in await reader.take():
            if notice.seq is None:
                if notice.message_id not in finished:
                    fresh.append(notice)
            elif notice.seq > last:
                last = notice.seq
                fresh.append(notice)
        if fresh:
            yield fresh


class SegmentLog:
    """Writes what one segment produces: one transaction for all that waits, then to the readers."""

    def __init__(
        self,
        store: RunStore,
        hub: EventHub,
        clock: Clock,
        *,
        ref: RunRef,
        attempt: int,
        keys: frozenset[str],
        usage: Usage,
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._ref = ref
        self._attempt = attempt
        self._keys = set(keys)
        self._usage = usage
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(maxsize=QUEUE_ITEMS)

    def is_known(self, draft: EventDraft) -> bool:
        """Return whether the run has that event already."""
        return draft.key in self._keys

    async def put(self, item: Item) -> None:
        """Hand over an item; waits while the store is far behind."""
        await self._queue.put(item)

    async def close(self) -> None:
        """Say that nothing more comes: `run` returns once all is written."""
        await self._queue.put(None)

    async def run(self) -> None:
        """Write until closed. Raises `OwnershipLostError` when the run is no longer this segment's."""
        closed = False
        while not closed:
            batch = [await self._queue.get()]
            self._drain(batch)
            if None not in batch and any(isinstance(i, (EventDraft, ModelCall)) for i in batch):
                # Events come in bursts; one transaction for a burst costs a fifth of one for each.
                await self._more(batch)
            closed = None in batch
            await self._write([item for item in batch if item is not None])

    def _drain(self, batch: list[Item | None]) -> None:
        while not self._queue.empty():
            batch.append(self._queue.get_nowait())

    async def _more(self, batch: list[Item | None]) -> None:
        """Gather what comes within the pause; the end of the segment ends it."""
        try:
            async with asyncio.timeout(BURST_SECONDS):
                while None not in batch:
                    batch.append(await self._queue.get())
                    self._drain(batch)
        except TimeoutError:
            return

    async def _write(self, batch: list[Item]) -> None:
        drafts: list[EventDraft] = []
        calls: list[ModelCall] = []
        order: list[EventDraft | Delta] = []
        for item in batch:
            if isinstance(item, ModelCall):
                calls.append(item)
                self._usage = book_call(self._usage, item)
            elif isinstance(item, EventDraft):
                fresh = self._fresh(item)
                drafts += fresh
                order += fresh
            elif isinstance(item, Delta):
                order.append(item)
        stored: dict[str, Event] = {}
        if drafts or calls:
            events = await self._store.append(
                self._ref, attempt=self._attempt, drafts=drafts, calls=calls, now=self._clock.now()
            )
            stored = {event.key: event for event in events}
        notices = [Notice(stored[i.key] if isinstance(i, EventDraft) else i) for i in order]
        self._hub.publish(self._ref.run_id, notices)

    def _fresh(self, draft: EventDraft) -> list[EventDraft]:
        """Return the draft and what goes with it, unless the run has it already."""
        if draft.key in self._keys:
            return []
        self._keys.add(draft.key)
        if draft.type not in {"agent.completed", "agent.failed"}:
            return [draft]
        usage = EventDraft(
            type="usage.updated",
            agent=draft.agent,
            path=draft.path,
            round=draft.round,
            data={"usage": self._usage.model_dump(mode="json")},
        )
        self._keys.add(usage.key)
        return [draft, usage]
