"""The event log: appended by the one segment that owns a run, replayed and followed by any reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from domain.events import SUPERVISOR, Delta, Event, EventDraft
from domain.ports import Claim, Clock, RunRef, RunStore
from domain.usage import ModelCall, book_call
from service.hub import EventHub, Reader
from service.notices import Gap, Notice

WAITING_ITEMS: Final = 2_000
"""Items a segment may be ahead of the store before it waits."""

BURST_SECONDS: Final = 0.02
"""How long the first event of a burst waits for the others before all are stored and sent."""

UNFOLLOWED_SECONDS: Final = 0.2
"""The same while nobody follows the run. Events that a crash loses are made again from the checkpoint;
the booking of a model call that ended within this time is not."""

PIECES_SECONDS: Final = 0.01
"""The shortest time between two sendings of pieces of messages."""

CATCH_UP_SECONDS: Final = 1.0
"""How long a cancellation waits for what the run's agents have produced to be stored."""

PAGE: Final = 500
"""Stored events read at once during a replay."""


async def follow(
    store: RunStore, hub: EventHub, ref: RunRef, *, after: int
) -> AsyncIterator[list[Notice]]:
    """Yield a run's events from `after` on: the stored ones, then live, without gap or repetition.

    Where the first of them are kept no longer, that is told before the others. Ends after the
    event that ends the run, or when the process stops; of a run that was retried, with its later end.
    """
    last = after
    with hub.reading(ref) as reader:
        while True:
            # Taken before the replay: what is published from here on waits in the reader.
            snapshots = reader.restart()
            finished: set[str] = set()
            reader.given = max(reader.given, last)
            async for page in _replay(store, ref, last):
                last = reader.given = page[-1].seq or last
                finished.update(n.message_id for n in page if n.message_id)
                yield page
                if page[-1].final and await _is_last(store, ref, last):
                    return
            yield [notice for notice in snapshots if notice.message_id not in finished]
            async for fresh in _live(reader, last, finished):
                last = max([last, *(n.seq for n in fresh if n.seq)])
                yield fresh
                if fresh[-1].final:
                    return
            if reader.closed:
                return


async def _is_last(store: RunStore, ref: RunRef, seq: int) -> bool:
    """Return whether the run has ended with this event, and was not retried since."""
    run = await store.get(ref)
    return run is None or (run.terminal and run.last_seq == seq)


async def _replay(store: RunStore, ref: RunRef, after: int) -> AsyncIterator[list[Notice]]:
    while events := await store.events(ref, after=after, limit=PAGE):
        notices = [Notice(event) for event in events]
        if events[0].seq > after + 1:  # numbers have no holes: what is missing is kept no longer
            notices.insert(0, await _gap_before(store, ref, events[0], after))
        after = events[-1].seq
        yield notices
        if len(events) < PAGE:
            return


async def _gap_before(store: RunStore, ref: RunRef, first: Event, after: int) -> Notice:
    run = await store.get(ref)
    latest = first.seq if run is None else run.last_seq
    return Gap(ref.run_id, requested=after, earliest=first.seq, latest=latest)


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
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._flush = flush
        self._hub = hub
        self._clock = clock
        self._run = claim.run
        self._keys = set(claim.keys)
        self._usage = claim.run.usage
        self._booked: set[str] = set()
        self._waiting: list[EventDraft | _Pieces | ModelCall] = []
        self._sent: dict[str, list[str]] = {}
        """What was sent of each message that has not ended."""
        self._closed = False
        self._written_at = 0.0
        self._wake = asyncio.Event()
        self._writing = False
        self._hurry = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, item: EventDraft | ModelCall) -> None:
        """Hand over an item; waits while the store is far behind."""
        await self._room.wait()
        if isinstance(item, EventDraft):
            item = replace(item, at=self._clock.now())
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

    def hurry(self) -> None:
        """Write now what waits: somebody wants to see it."""
        self._hurry.set()

    async def catch_up(self) -> None:
        """Return when what waits is written, at the latest after `CATCH_UP_SECONDS`."""
        if not self._waiting and not self._writing:
            return
        self._hurry.set()
        self._caught_up.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self._caught_up.wait()

    def close(self) -> None:
        """Say that nothing more comes: `run` returns and leaves what waits to `take_batch`."""
        self._closed = True
        self._wake.set()
        self._hurry.set()

    async def run(self) -> None:
        """Write until closed. Raises `OwnershipLostError` when the run is no longer this segment's.

        What waits at the end is left for `take_batch`: it goes into the transaction that ends the run.
        """
        with self._hub.writing(self._run.id, self):
            while not self._closed:
                await self._gather()
                if not self._closed:
                    await self._write()

    async def write_all(self) -> None:
        """Return when what waits is written, however long that takes."""
        while self._waiting or self._writing:
            self._hurry.set()
            self._caught_up.clear()
            await self._caught_up.wait()

    async def write_rest(self) -> None:
        """Write what waits when nothing more comes, and the run goes on elsewhere."""
        await self._write()

    def take_batch(self) -> Batch:
        """Take what waits, to write it now: its keys and calls count as written from here on."""
        waiting, self._waiting = self._waiting, []
        self._room.set()
        batch = Batch()
        for item in waiting:
            if isinstance(item, ModelCall):
                if item.key not in self._booked:
                    self._booked.add(item.key)
                    batch.calls.append(item)
                    self._usage = book_call(self._usage, item)
            elif isinstance(item, EventDraft):
                batch.order += self._fresh(item)
            else:
                delta = item.join()
                self._note(delta)
                batch.order.append(delta)
        if batch.calls:
            self._hub.booked(batch.calls)
        return batch

    async def _gather(self) -> None:
        """Wait for something to write, and a moment for what comes with it.

        Events come in bursts, and one transaction for a burst costs a fifth of one for each. Pieces
        of messages are sent at once, but then not sooner than `PIECES_SECONDS` after the last.
        """
        if not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        if self._closed:
            return
        pause = self._pause()
        if pause > 0:
            self._hurry.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._hurry.wait()
            except TimeoutError:
                return

    def _pause(self) -> float:
        if self._run.attempt > 1 and not self._written_at:
            return 0.0  # somebody has decided, or has waited out a crash, and wants to see it go on
        if not self._hub.followed(self._run.id):
            return UNFOLLOWED_SECONDS
        if all(type(item) is _Pieces for item in self._waiting):
            return self._written_at + PIECES_SECONDS - asyncio.get_running_loop().time()
        return BURST_SECONDS

    async def _write(self) -> None:
        self._writing = True
        try:
            await self._write_batch(self.take_batch())
        finally:
            self._writing = False
            self._caught_up.set()

    async def _write_batch(self, batch: Batch) -> None:
        self._written_at = asyncio.get_running_loop().time()
        events = await self._store_events(batch.drafts, batch.calls)
        self._hub.publish(self._run.id, batch.notices(events))

    async def _store_events(self, drafts: list[EventDraft], calls: list[ModelCall]) -> list[Event]:
        if not drafts and not calls:
            return []
        await self._flush()  # what the log tells has to be true after a crash too
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
            return [*self._unsent(draft), draft]
        if draft.type not in {"agent.completed", "agent.failed"}:
            return [draft]
        usage = EventDraft(
            type="usage.updated",
            agent=draft.agent,
            path=draft.path,
            round=draft.round,
            data={"usage": self._usage.model_dump(mode="json")},
        )
        if usage.key in self._keys:
            return [draft]
        self._keys.add(usage.key)
        return [draft, usage]

    def _unsent(self, draft: EventDraft) -> list[Delta]:
        """Return the part of a message that was not streamed, so that its deltas make up its text."""
        message_id, text = draft.data["message_id"], draft.data["text"]
        sent = "".join(self._sent.pop(message_id, []))
        start = len(sent) if text.startswith(sent) else 0
        if start == len(text):
            return []
        agent = draft.agent or SUPERVISOR
        return [Delta(agent=agent, message_id=message_id, offset=start, text=text[start:])]
