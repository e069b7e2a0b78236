"""What a caller says to a run under way: read before each decision, and looked for once more before the end.

A note counts as the task does. The supervisor reads those that have come until it decides; when the answer is
about to be made the run stops taking any, unless one has come meanwhile that can still be followed: then the
supervisor decides once more. So none is accepted that nobody reads, and one that came when nothing could be
done about it any more is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from langgraph.types import Command, Overwrite

from agents._kit.models import ModelGateway
from agents._kit.prompts import fair_limit, head_and_tail
from domain.events import SUPERVISOR
from domain.notes import NOTE_CHARS, Note, NoteReader, NoteRecord
from domain.ports import RunRef
from domain.routing import RouteRecord
from domain.run import RunContext, StopReason
from graph.state import Missing, State, rounds_of

NOTES_CHARS: Final = 16_000
"""How much of all notes together a prompt holds."""

ABOUT: Final = """
- The caller has sent notes since the task was given. They count as the task does, a later one more than an
  earlier one and than the task; what is new has come since your last decision.
"""
"""What is said to the supervisor of a run that has notes."""

OFFLINE: Final = "the offline planner cannot follow notes"

STOPPED: Final = "it was stopped for want of progress"

_WHY: Final[dict[StopReason, str]] = {
    "budget": "the budget is reached",
    "deadline": "its time was over",
    "max_rounds": "all its rounds are used up",
}


class Heard(NamedTuple):
    """The notes of a run at a decision."""

    new: tuple[NoteRecord, ...]
    """Those that no decision has read before."""
    total: int
    """How many there are with those that one has."""


class Steering:
    """Reads the notes of runs."""

    def __init__(self, notes: NoteReader, gateway: ModelGateway) -> None:
        self._notes = notes
        self._gateway = gateway

    async def hear(self, state: State, context: RunContext) -> Heard:
        """Return what has come until now."""
        found = await self._notes.read(_ref(context), context.attempt)
        follows = self._gateway.engine == "model"
        new = tuple(
            NoteRecord(
                run_id=context.run_id,
                id=note.id,
                number=note.number,
                text=note.text,
                followed=follows,
            )
            for note in _unread(state, found)
        )
        return Heard(new, len(state.get("notes", [])) + len(new))

    async def end(self, state: State, context: RunContext) -> Command[Any] | list[Missing]:
        """Have the run take no more notes; return the way back to the supervisor where one has come that can
        be followed still, else what is to be said of those that cannot be."""
        seen = sum(note["run_id"] == context.run_id for note in state.get("notes", []))
        why = _why_not(state, context)
        if not why and not await self._notes.close(_ref(context), context.attempt, seen=seen):
            return _decide_again(state)
        if not why:
            return []
        await self._notes.close(_ref(context), context.attempt, seen=None)
        late = _unread(state, await self._notes.of_run(_ref(context)))
        return [
            Missing(agent=SUPERVISOR, reason=f"the note {note.id} was not followed: {why}")
            for note in late
        ]


def _ref(context: RunContext) -> RunRef:
    return RunRef(context.tenant_id, context.run_id)


def _unread(state: State, found: Sequence[Note]) -> list[Note]:
    read = {note["id"] for note in state.get("notes", [])}
    return [note for note in found if note.id not in read]


def _why_not(state: State, context: RunContext) -> str:
    """Return why a note that came just now could not be followed; empty where it could."""
    stop = state.get("stop_reason", "done")
    if stop in _WHY:
        return _WHY[stop]
    if state.get("failure") or state.get("unsteered"):
        return "the supervisor could not decide any more"
    if rounds_of(state) >= context.max_rounds:
        return _WHY["max_rounds"]
    return ""


def _decide_again(state: State) -> Command[Any]:
    """Return the way back to the supervisor, as if the end had not been decided."""
    update: dict[str, Any] = {"stop_reason": "done", "replanned": 0}
    missing = state.get("missing", [])
    kept = [part for part in missing if not part["reason"].startswith(STOPPED)]
    if len(kept) < len(missing):
        update["missing"] = Overwrite(kept)
    return Command(goto="supervisor", update=update)


def heard_in(route: RouteRecord, heard: Heard) -> RouteRecord:
    """Return a decision with the notes that it was made with."""
    if not heard.total:
        return route
    made: RouteRecord = {**route, "notes": heard.total}
    if heard.new:
        made["read"] = [note["id"] for note in heard.new]
        if not all(note["followed"] for note in heard.new):
            made["reason"] = f"{route['reason']} ({_named(heard.new)}: {OFFLINE}.)"
    return made


def not_followed(heard: Heard) -> list[Missing]:
    """Return what is missing of an answer whose notes were read by one who cannot follow them."""
    passed = [note for note in heard.new if not note["followed"]]
    return [Missing(agent=SUPERVISOR, reason=f"{_named(passed)}: {OFFLINE}")] if passed else []


def _named(notes: Sequence[NoteRecord]) -> str:
    return ", ".join(note["id"] for note in notes)


def asked(state: State, new: Sequence[NoteRecord] = ()) -> str:
    """Return what a run is asked: its task, and the notes that came to it and were read."""
    told = write_notes(state, new)
    return f"{state['task']}\n\n{told}" if told else state["task"]


def write_notes(state: State, new: Sequence[NoteRecord] = ()) -> str:
    """Return the notes as they stand in a prompt, those that are new marked; nothing where there are none."""
    notes = [note for note in (*state.get("notes", []), *new) if note["followed"]]
    if not notes:
        return ""
    fresh = {note["id"] for note in new}
    limit = fair_limit([len(note["text"]) for note in notes], NOTE_CHARS, NOTES_CHARS)
    lines = [
        f'<note number="{note["number"]}"{" new" if note["id"] in fresh else ""}>\n'
        f"{head_and_tail(note['text'], limit)}\n</note>"
        for note in notes
    ]
    return "\n".join(["<notes>", *lines, "</notes>"])
