"""Takes notes to runs that are under way, and has the workflow read them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.dispatch import Dispatcher
from domain.errors import CallerError, StoreUnavailableError
from domain.notes import Note, Noted, NoteReader, NoteStore
from domain.ports import Clock, IdempotencyKey, Ids, RunRef
from service.hub import EventHub
from service.notices import Notice

T = TypeVar("T")


class NoteService:
    """Takes notes, for one tenant at a time."""

    def __init__(
        self,
        *,
        notes: NoteStore,
        hub: EventHub,
        dispatcher: Dispatcher,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._notes = notes
        self._hub = hub
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids

    async def add(
        self,
        ref: RunRef,
        text: str,
        *,
        by: str,
        idempotency: IdempotencyKey | None = None,
    ) -> Noted:
        """Keep a note: when this returns it is committed, and the run's next decision reads it.

        Raises `CallerError`: what `domain.notes.NoteStore.add` does, and `not-found`.
        """
        now = self._clock.now()
        note = Note(id=self._ids.new("nte"), number=0, text=text, by=by, at=now)
        done = await self._notes.add(ref, note, now=now, idempotency=idempotency)
        if done is None:
            msg = f"The run {ref.run_id[:80]!r} is not there. GET /v1/runs lists those that are."
            raise CallerError("not-found", msg)
        if done.run is not None:
            self._hub.publish(ref.run_id, [Notice(event, run=done.run) for event in done.events])
        for each in done.claimable:
            self._dispatcher.submit(each, alone=False)
        return done


class GuardedNotes:
    """`domain.notes.NoteReader`; a database that is away ends the segment and is no failure of the run."""

    def __init__(self, notes: NoteReader) -> None:
        self._notes = notes

    async def of_run(self, ref: RunRef) -> list[Note]:
        """Return a run's notes in order."""
        return await _guarded(self._notes.of_run(ref))

    async def read(self, ref: RunRef, attempt: int) -> list[Note]:
        """Return a run's notes for a decision."""
        return await _guarded(self._notes.read(ref, attempt))

    async def close(self, ref: RunRef, attempt: int, *, seen: int | None) -> bool:
        """Have a run take no notes from now on."""
        return await _guarded(self._notes.close(ref, attempt, seen=seen))


async def _guarded(step: Awaitable[T]) -> T:
    try:
        return await step
    except (DBAPIError, PoolTimeoutError) as error:
        msg = f"the notes of the run cannot be reached: {error}"
        raise StoreUnavailableError(msg) from error
