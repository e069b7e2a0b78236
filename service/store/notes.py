"""The statements about notes to runs.

A note is accepted by a conditional write of the run's row, and so is the end of accepting any: of two at
once one waits for the other and then sees what it has done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, false, insert, select, true, update

from domain.errors import CallerError, OwnershipLostError
from domain.events import EventDraft
from domain.notes import MAX_NOTES, Note, Noted, note_json
from domain.ports import IdempotencyKey, RunRef
from domain.problems import Pointer
from domain.run import ACTIVE, Run
from service.store import events, keys, reuse, threads, usage
from service.store.database import Database
from service.store.naming import THE_RUN, named
from service.store.rows import run_from
from service.store.tables import notes as rows
from service.store.tables import runs
from service.store.threads import Turns

_OF_RUN: Final = (
    select(rows)
    .where(rows.c.run_id == bindparam("run"), rows.c.tenant_id == bindparam("tenant"))
    .order_by(rows.c.number)
)
_BY_REQUEST: Final = _OF_RUN.where(rows.c.request == bindparam("by_request"))
_STANDING: Final = select(runs.c.status, runs.c.notes, runs.c.notes_closed).where(*THE_RUN)
_TAKE: Final = (
    update(runs)
    .where(
        *THE_RUN,
        runs.c.status.in_(sorted(ACTIVE)),
        runs.c.notes < MAX_NOTES,
        runs.c.notes_closed == false(),
    )
    .values(notes=runs.c.notes + 1, last_seq=runs.c.last_seq + 1)
    .returning(*runs.c)
)
_OWNED: Final = (
    *THE_RUN,
    runs.c.attempt == bindparam("of_attempt"),
    runs.c.status == "running",
)
_OPEN: Final = update(runs).where(*_OWNED).values(notes_closed=false())
_CLOSE: Final = update(runs).where(*_OWNED).values(notes_closed=true())
_CLOSE_AFTER: Final = _CLOSE.where(runs.c.notes == bindparam("seen"))


class SqlNoteStore:
    """`domain.notes.NoteStore` over SQL."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns

    async def add(
        self,
        ref: RunRef,
        note: Note,
        *,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
    ) -> Noted | None:
        """Keep a note of an active run with its event."""
        return await self._database.write(_add, ref, note, now, self._turns, idempotency)

    async def of_run(self, ref: RunRef) -> list[Note]:
        """Return a run's notes in order."""
        return await self._database.read(_of_run, ref)

    async def read(self, ref: RunRef, attempt: int) -> list[Note]:
        """Return a run's notes for a decision."""
        found, closed = await self._database.read(_look, ref)
        if not closed:
            return found
        # A crash has taken back the decision that was to be the last one.
        return await self._database.write(_reopen, ref, attempt)

    async def close(self, ref: RunRef, attempt: int, *, seen: int | None) -> bool:
        """Have a run take no notes from now on."""
        return await self._database.write(_close, ref, attempt, seen)


def _add(
    connection: Connection,
    ref: RunRef,
    note: Note,
    now: datetime,
    turns: Turns,
    key: IdempotencyKey | None,
) -> Noted | None:
    if connection.execute(_STANDING, named(ref)).first() is None:
        return None
    # The key first, as for a new run: of two requests at once the second waits here.
    request = _digest(key) if key else None
    if key is not None and not keys.take(connection, ref, key, now):
        keys.check_key(connection, ref.tenant_id, key)
        values = {**named(ref), "by_request": request}
        return Noted(_note(connection.execute(_BY_REQUEST, values).mappings().one()), replayed=True)
    reuse.hold_runs(connection, ref.tenant_id, [ref.run_id])
    row = connection.execute(_TAKE, named(ref)).mappings().one_or_none()
    if row is None:
        raise _refusal(connection, ref)  # and the key is free again
    kept = replace(note, number=row["notes"], at=now)
    values = {"run_id": ref.run_id, "tenant_id": ref.tenant_id, "request": request}
    connection.execute(insert(rows), {**vars(kept), **values})
    # What it comes to now is for nobody else, who has not said the same.
    claimable = reuse.leave(connection, ref)
    threads.enqueue(connection, claimable, turns)
    run = run_from(row, usage.of_run(connection, ref))
    told = events.number(
        [_draft(kept, run)],
        run_id=ref.run_id,
        last_seq=run.last_seq,
        attempt=run.attempt,
        now=now,
    )
    events.tell(connection, run, told)
    return Noted(kept, run=run, events=tuple(told), claimable=claimable)


def _draft(note: Note, run: Run) -> EventDraft:
    return EventDraft(
        type="note.added", round=run.rounds, call=note.id, data={"note": note_json(note)}
    )


def _refusal(connection: Connection, ref: RunRef) -> CallerError:
    """Return why a run takes no note."""
    row = connection.execute(_STANDING, named(ref)).one()
    then = "Send a follow-up instead: a new run with this one's thread_id knows what was said."
    if row.status not in ACTIVE:
        msg = f"The run has ended ({row.status}), so it reads no notes. {then}"
        return CallerError("run-terminal", msg, run_id=ref.run_id)
    if row.notes_closed:
        msg = (
            f"The run has taken its last decision and is about to end, so it reads no notes. {then}"
        )
        return CallerError("run-terminal", msg, run_id=ref.run_id)
    detail = f"the run has had {MAX_NOTES} notes, and takes no more"
    msg = f"{detail[0].upper()}{detail[1:]}. {then}"
    errors = [Pointer(pointer="/text", detail=detail)]
    return CallerError("validation-error", msg, run_id=ref.run_id, errors=errors)


def _of_run(connection: Connection, ref: RunRef) -> list[Note]:
    return [_note(row) for row in connection.execute(_OF_RUN, named(ref)).mappings()]


def _look(connection: Connection, ref: RunRef) -> tuple[list[Note], bool]:
    row = connection.execute(_STANDING, named(ref)).one_or_none()
    if row is None or not (row.notes or row.notes_closed):
        return [], False
    return _of_run(connection, ref), row.notes_closed


def _reopen(connection: Connection, ref: RunRef, attempt: int) -> list[Note]:
    if not connection.execute(_OPEN, {**named(ref), "of_attempt": attempt}).rowcount:
        raise _lost(ref, attempt)
    return _of_run(connection, ref)


def _close(connection: Connection, ref: RunRef, attempt: int, seen: int | None) -> bool:
    values = {**named(ref), "of_attempt": attempt}
    if seen is None:
        closed = connection.execute(_CLOSE, values).rowcount
    else:
        closed = connection.execute(_CLOSE_AFTER, {**values, "seen": seen}).rowcount
    if closed:
        return True
    row = connection.execute(_STANDING, named(ref)).one_or_none()
    if row is None or seen is None or row.notes == seen:
        raise _lost(ref, attempt)
    return False


def _lost(ref: RunRef, attempt: int) -> OwnershipLostError:
    return OwnershipLostError(f"attempt {attempt} does not own run {ref.run_id!r} any more")


def _digest(key: IdempotencyKey) -> str:
    return hashlib.sha256(f"{key.scope} {key.key}".encode()).hexdigest()


def _note(row: Mapping[Any, Any]) -> Note:
    return Note(**{name: row[name] for name in ("id", "number", "text", "by", "at")})
