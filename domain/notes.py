"""What a caller says to a run that is under way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from typing_extensions import TypedDict

from domain.events import Event
from domain.ports import IdempotencyKey, RunRef
from domain.run import Run

MAX_NOTES: Final = 50
"""How many notes one run takes."""

NOTE_CHARS: Final = 4_000


@dataclass(frozen=True, kw_only=True)
class Note:
    """A note as it was accepted."""

    id: str
    number: int
    """Its place among those of its run, from 1."""
    text: str
    by: str
    """The key that has sent it."""
    at: datetime


def note_json(note: Note) -> dict[str, str]:
    """Return a note as it is shown."""
    at = note.at.isoformat().replace("+00:00", "Z")
    return {"id": note.id, "text": note.text, "by": note.by, "at": at}


class NoteRecord(TypedDict):
    """A note that the supervisor has read. JSON, checkpointed."""

    run_id: str
    """The run that it was sent to: another may go on from where that stood."""
    id: str
    number: int
    text: str
    followed: bool
    """Whether whoever decides can do what it says: the offline planner cannot."""


class Noted(NamedTuple):
    """A note that is kept, and what that led to."""

    note: Note
    replayed: bool = False
    run: Run | None = None
    """The run, where the note is new."""
    events: tuple[Event, ...] = ()
    claimable: frozenset[RunRef] = frozenset()
    """Runs that wait for nobody's answer any more, since it does not share its own."""


class NoteReader(Protocol):
    """What the workflow needs of the notes of runs."""

    async def of_run(self, ref: RunRef) -> list[Note]:
        """Return a run's notes in order."""
        ...

    async def read(self, ref: RunRef, attempt: int) -> list[Note]:
        """Return a run's notes for a decision; while one is to come, the run takes notes."""
        ...

    async def close(self, ref: RunRef, attempt: int, *, seen: int | None) -> bool:
        """Have a run take no notes from now on, unless it has others than the `seen` first; `None`: whatever
        it has. Return whether that is so; raises `OwnershipLostError` where the attempt lost the run."""
        ...


class NoteStore(NoteReader, Protocol):
    """The notes of runs. Every method takes the tenant.

    A note is accepted or a run's last decision is taken, never both: each is one conditional write of the
    run's row, so of two at once the second sees the first.
    """

    async def add(
        self,
        ref: RunRef,
        note: Note,
        *,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
    ) -> Noted | None:
        """Keep a note of an active run with its event; `number` is given here. `None` where the run is not
        there.

        Raises `CallerError`: `run-terminal` where the run has ended or takes no notes any more,
        `validation-error` where it has had `MAX_NOTES`, `idempotency-key-reuse`.
        """
        ...


class _NoNotes:
    async def of_run(self, ref: RunRef) -> list[Note]:
        del ref
        return []

    async def read(self, ref: RunRef, attempt: int) -> list[Note]:
        del ref, attempt
        return []

    async def close(self, ref: RunRef, attempt: int, *, seen: int | None) -> bool:
        del ref, attempt, seen
        return True


NO_NOTES: Final[NoteReader] = _NoNotes()
"""Of a graph that is called by hand: nobody can send any."""
