"""The event log: appended by the one segment that owns a run, replayed and followed by any reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from domain.events import SUPERVISOR, Delta, Event, EventDraft
from domain.ports import Claim, Clock, RunRef, RunStore
from domain.usage import ModelCall, book_call
from service.frames import Notice

WAITING_ITEMS: Final = 2_000
"""Items a segment may be ahead of the store before it waits."""

READER_ITEMS: Final = 5_000
"""Notices a slow reader may be behind before it is sent back to the stored events."""

BURST_SECONDS: Final = 0.02
"""How long the first event of a burst waits for the others before all are stored and sent."""

PIECES_SECONDS: Final = 0.01
"""The shortest time between two sendings of pieces of messages."""

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


@dataclass(slots=True)
class _Pieces:
    """A piece of a message that grows while it waits."""

    agent: str
    message_id: str
    offset: int
    end: int
    texts: list[str]

    def join(self) -> Delta:
        text = "".join(self.texts)
        return Delta(agent=self.agent, message_id=self.message_id, offset=self.offset, text=text)


@dataclass
class Batch:
    """What is written together, and the order in which readers get it."""

    order: list[EventDraft | Delta] = field(default_factory=list)
    calls: list[ModelCall] = field(default_factory=list)

    @property
    def drafts(self) -> list[EventDraft]:
        """Return the events to store."""
        return [item for item in self.order if isinstance(item, EventDraft)]

    def notices(self, events: Sequence[Event]) -> list[Notice]:
        """Return what readers get, now that the events are stored."""
        stored = {event.key: event for event in events}
        return [Notice(stored[i.key] if isinstance(i, EventDraft) else i) for i in self.order]


class SegmentLog:
    """Writes what one segment produces: one transaction for all that waits, then to the readers."""

    def __init__(
        self,
        store: RunStore,
        hub: EventHub,
        clock: Clock,
        *,
        claim: Claim,
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._run = claim.run
        self._keys = set(claim.keys)
        self._usage = claim.run.usage
        self._waiting: list[EventDraft | _Pieces | ModelCall] = []
        self._sent: dict[str, list[str]] = {}
        """What was sent of each message that has not ended."""
        self._closed = False
        self._written_at = 0.0
        self._wake = asyncio.Event()
        self._end = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, item: EventDraft | ModelCall) -> None:
        """Hand over an item; waits while the store is far behind."""
        await self._room.wait()
        self._waiting.append(item)
        if len(self._waiting) >= WAITING_ITEMS:
            self._room.clear()
        self._wake.set()

    def take(self, agent: str, message_id: str, offset: int, text: str) -> None:
        """Hand over a piece of a message; pieces that wait are joined, so they need no bound."""
        last = self._waiting[-1] if self._waiting else None
        if type(last) is _Pieces and last.message_id == message_id and last.end == offset:
            last.texts.append(text)
            last.end += len(text)
        else:
            self._waiting.append(_Pieces(agent, message_id, offset, offset + len(text), [text]))
        self._wake.set()

    def close(self) -> None:
        """Say that nothing more comes: `run` returns once all is written."""
        self._closed = True
        self._wake.set()
        self._end.set()

    async def run(self) -> None:
        """Write until closed. Raises `OwnershipLostError` when the run is no longer this segment's.

        What waits at the end is left for `rest`: it goes into the transaction that ends the run.
        """
        while not self._closed:
            await self._gather()
            if not self._closed:
                await self._write()

    def rest(self) -> Batch:
        """Return what was not written."""
        waiting, self._waiting = self._waiting, []
        self._room.set()
        batch = Batch()
        for item in waiting:
            if isinstance(item, ModelCall):
                batch.calls.append(item)
                self._usage = book_call(self._usage, item)
            elif isinstance(item, EventDraft):
                batch.order += self._fresh(item)
            else:
                delta = item.join()
                self._note(delta)
                batch.order.append(delta)
        return batch

    async def _gather(self) -> None:
        """Wait for something to write, and a moment for what comes with it.

        Events come in bursts, and one transaction for a burst costs a fifth of one for each. Pieces
        of messages are sent at once, but then not sooner than `PIECES_SECONDS` after the last.
        """
        if not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        pause = BURST_SECONDS
        if all(type(item) is _Pieces for item in self._waiting):
            pause = self._written_at + PIECES_SECONDS - asyncio.get_running_loop().time()
        if pause > 0 and not self._closed:
            try:
                async with asyncio.timeout(pause):
                    await self._end.wait()
            except TimeoutError:
                return

    async def _write(self) -> None:
        batch = self.rest()
        self._written_at = asyncio.get_running_loop().time()
        events = await self._store_events(batch.drafts, batch.calls)
        self._hub.publish(self._run.id, batch.notices(events))

    async def _store_events(self, drafts: list[EventDraft], calls: list[ModelCall]) -> list[Event]:
        if not drafts and not calls:
            return []
        return await self._store.append(
            RunRef(self._run.tenant_id, self._run.id),
            attempt=self._run.attempt,
            drafts=drafts,
            calls=calls,
            now=self._clock.now(),
        )

    def _note(self, delta: Delta) -> None:
        pieces = self._sent.setdefault(delta.message_id, [])
        if delta.offset == 0:
            pieces.clear()
        pieces.append(delta.text)

    def _fresh(self, draft: EventDraft) -> list[EventDraft | Delta]:
        """Return the draft and what goes with it, unless the run has it already."""
        if draft.key in self._keys:
            return []
        self._keys.add(draft.key)
        if draft.type == "message.completed":
            return [*self._rest(draft), draft]
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

    def _rest(self, draft: EventDraft) -> list[Delta]:
        """Return the part of a message that was not streamed, so that its deltas make up its text."""
        message_id, text = draft.data["message_id"], draft.data["text"]
        sent = "".join(self._sent.pop(message_id, []))
        start = len(sent) if text.startswith(sent) else 0
        if start == len(text):
            return []
        agent = draft.agent or SUPERVISOR
        return [Delta(agent=agent, message_id=message_id, offset=start, text=text[start:])]
