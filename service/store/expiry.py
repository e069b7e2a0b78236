"""The statements that close what nobody decided in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from domain.deciding import Decided
from domain.errors import RunFailedError
from domain.events import Event, EventDraft
from domain.partial import MAX_EVENTS_OF_A_RUN, PARTIAL_TYPES, ended_after
from domain.ports import RunRef
from domain.problems import make_problem
from domain.run import Run
from service.store import actions, changes, events, reopening, threads
from service.store.actions import Held, hold
from service.store.tables import actions as rows
from service.store.threads import Turns
from service.store.waiting import approval_draft, go_on, undecided

_DUE: Final = (
    select(rows.c.tenant_id, rows.c.run_id)
    .where(
        rows.c.approval == "pending",
        rows.c.expires_at <= bindparam("now", type_=rows.c.expires_at.type),
    )
    .order_by(rows.c.expires_at)
    .limit(bindparam("most"))
)


def due(connection: Connection, now: datetime, limit: int) -> list[RunRef]:
    """Return the runs that have approvals whose time is over."""
    found = connection.execute(_DUE, {"now": now, "most": limit})
    return sorted({RunRef(*row) for row in found})


def expire(connection: Connection, ref: RunRef, now: datetime, turns: Turns) -> Decided | None:
    """Close the approvals of one run whose time is over; `None` where others have done so."""
    threads.hold_caller(connection, ref, turns)
    held = hold(connection, ref)
    lapsed = [
        row
        for row in actions.of_run(connection, ref)
        if row["approval"] == "pending"
        and row["expires_at"] is not None
        and row["expires_at"] <= now
    ]
    if held is None or not lapsed:
        return None
    drafts = []
    for row in lapsed:
        values = {"approval": "expired"}
        if row["status"] is not None:
            values["status"] = "decided" if row["on_expiry"] == "reject" else "failed"
        found = (rows.c.id == row["id"], rows.c.tenant_id == ref.tenant_id)
        connection.execute(update(rows).where(*found).values(**values))
        drafts.append(approval_draft("approval.expired", actions.approval_from({**row, **values})))
    drafts = reopening.told_anew(connection, ref, drafts, held.attempt)
    ids = [row["id"] for row in lapsed]
    ends = next((row for row in lapsed if row["on_expiry"] == "fail"), None)
    if ends is not None and held.status == "requires_action":
        run, told = _fail(connection, held, undecided(ends), drafts, now, turns)
    else:
        run, told = go_on(connection, held, drafts, now, turns)
    approvals = actions.approvals_of(connection, ref.tenant_id, ids)
    return Decided(approvals, replayed=False, events=tuple(told), run=run)


def _fail(
    connection: Connection,
    held: Held,
    error: RunFailedError,
    drafts: Sequence[EventDraft],
    now: datetime,
    turns: Turns,
) -> tuple[Run | None, list[Event]]:
    """End a waiting run that may not go on."""
    log = events.page(connection, held.ref, 0, MAX_EVENTS_OF_A_RUN, PARTIAL_TYPES)
    ending = ended_after(
        log,
        status="failed",
        stop_reason="error",
        error=make_problem(error.code, error.detail),
    )
    ended = changes.fail_waiting(connection, held.ref, ending, drafts, now, turns)
    return (None, []) if ended is None else (ended.run, ended.events)
