"""The statements by which a run that was retried asks again what its end had closed undecided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, null, update

from domain.events import EventDraft
from domain.ports import RunRef
from service.store import actions, events
from service.store.naming import named
from service.store.tables import actions as rows
from service.store.waiting import approval_draft

_OF_RUN: Final = (
    rows.c.run_id == bindparam("run"),
    rows.c.tenant_id == bindparam("tenant"),
)
# A lapse that ended the run is no answer: closed like this the question is asked again under its id.
_CLOSE_LAPSED: Final = (
    update(rows)
    .where(*_OF_RUN, rows.c.approval == "expired", rows.c.on_expiry == "fail")
    .values(approval="cancelled")
)
# A person has approved what the end kept from being begun: that decision stands.
_APPROVE_AGAIN: Final = (
    update(rows)
    .where(
        *_OF_RUN,
        rows.c.approval == "resolved",
        rows.c.status == "failed",
        rows.c.result == actions.NOT_MADE,
        rows.c.started_at.is_(None),
    )
    .values(status="decided", result=null(), ended_at=null())
)


def prepare(connection: Connection, ref: RunRef) -> None:
    """Undo what a run's end did to its questions and approved calls, so that it can go on."""
    values = named(ref)
    connection.execute(_CLOSE_LAPSED, values)
    connection.execute(_APPROVE_AGAIN, values)
    actions.show(connection, ref)


def reopen(
    connection: Connection, ref: RunRef, approval_ids: Sequence[str], now: datetime, attempt: int
) -> list[EventDraft]:
    """Ask again those of the questions that an end has closed; return the events that tell so.

    In a run that has not ended no question is closed but by the end before its retry."""
    drafts = []
    for row in actions.by_ids(connection, ref.tenant_id, approval_ids).values():
        if row["approval"] != "cancelled":
            continue
        lapses = row["expires_at"] and now + (row["expires_at"] - row["created_at"])
        values: dict[str, Any] = {"approval": "pending", "created_at": now, "expires_at": lapses}
        if row["status"] is not None:
            values["status"] = "pending"
        changed = update(rows).where(rows.c.id == row["id"], rows.c.tenant_id == ref.tenant_id)
        connection.execute(changed.values(**values, result=null(), ended_at=null()))
        approval = actions.approval_from({**row, **values})
        drafts.append(approval_draft("approval.requested", approval))
    return told_anew(connection, ref, drafts, attempt)


def told_anew(
    connection: Connection, ref: RunRef, drafts: Sequence[EventDraft], attempt: int
) -> list[EventDraft]:
    """Return the events with keys that the run has not yet: of a question that was asked twice each is told."""
    known = events.keys(connection, ref) if drafts else frozenset()
    return [
        replace(draft, call=f"{draft.call}~{attempt}") if draft.key in known else draft
        for draft in drafts
    ]
