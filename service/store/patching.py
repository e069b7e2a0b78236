"""The statements by which a caller changes a run that is there: its metadata and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, update

from domain.approval import Decision, ToolAction
from domain.deciding import Verdict, Waiting
from domain.errors import CallerError
from domain.events import Event, EventDraft
from domain.limits import RAISE, Limits, raises
from domain.ports import Patched, RunPatch, RunRef
from domain.run import ACTIVE, RETRYABLE
from service.store import (
    actions,
    allowances,
    decisions,
    queries,
    receipts,
    reopening,
    reuse,
    threads,
    waiting,
)
from service.store.actions import Held, Row, hold
from service.store.naming import THE_RUN, named
from service.store.tables import runs
from service.store.threads import Turns
from service.store.waiting import go_on


def patch(
    connection: Connection,
    ref: RunRef,
    change: RunPatch,
    now: datetime,
    turns: Turns,
) -> Patched | None:
    """Change a run; what waits for nothing but a higher budget goes on."""
    tier = change.limits is not None and "max_tier" in change.limits.model_fields_set
    if tier:
        reuse.hold_runs(connection, ref.tenant_id, [ref.run_id])
    held = hold(connection, ref)
    if held is None:
        return None
    values: dict[str, Any] = {}
    if change.metadata is not None:
        values["metadata"] = change.metadata
    if change.max_rounds is not None:
        values["max_rounds"] = change.max_rounds
    told: Sequence[Event] = ()
    spends = change.limits is not None or change.max_rounds is not None
    if spends:
        _check_active(held)
    with receipts.noting_limits(connection, ref, by=change.by, how="patch", now=now):
        _write(connection, ref, values, change.limits)
    claimable: frozenset[RunRef] = frozenset()
    if change.limits is not None:
        if tier:
            # Other models may work on it now than on what it shares an answer with.
            claimable = reuse.leave(connection, ref)
            threads.enqueue(connection, claimable, turns)
        drafts = [
            _raise(connection, row, change.limits, change.by, now)
            for row in actions.of_run(connection, ref)
            if row["type"] == "budget"
            and row["approval"] == "pending"
            and raises(row["args"], change.limits)
        ]
        if drafts:
            _, told = go_on(connection, held, drafts, now, turns)
    run = queries.get(connection, ref)
    return None if run is None else Patched(run, tuple(told), claimable)


def _write(
    connection: Connection, ref: RunRef, values: dict[str, Any], limits: Limits | None
) -> None:
    if values:
        connection.execute(update(runs).where(*THE_RUN).values(**values), named(ref))
    if limits is not None:
        allowances.change_limits(connection, ref, limits)


def wait_for(
    connection: Connection,
    ref: RunRef,
    attempt: int,
    approval_ids: Sequence[str],
    since: str | None,
    now: datetime,
    turns: Turns,
) -> Waiting:
    """Make a run wait, unless everything it waits for has been decided, or was raised before it was asked."""
    reuse.hold_runs(connection, ref.tenant_id, [ref.run_id])
    threads.hold_caller(connection, ref, turns)
    actions.own(connection, ref, attempt)
    drafts = reopening.reopen(connection, ref, approval_ids, now, attempt)
    asked = actions.by_ids(connection, ref.tenant_id, approval_ids)
    limits, held = allowances.limits(connection, ref), hold(connection, ref)
    told: Sequence[Event] = ()
    if limits is not None and held is not None:
        drafts += [
            _raise(connection, row, limits, held.caller_id, now)
            for row in asked.values()
            if row["type"] == "budget"
            and row["approval"] == "pending"
            and raises(row["args"], limits)
        ]
        if drafts:
            _, told = waiting.change(connection, ref, drafts, now)
    found = waiting.wait_for(connection, ref, attempt, approval_ids, since, now, turns)
    return found._replace(events=(*told, *found.events))


def _raise(connection: Connection, row: Row, limits: Limits, by: str, now: datetime) -> EventDraft:
    """Answer the question about a budget by what the run may spend now."""
    args = limits.model_dump(
        mode="json",
        exclude_unset=True,
        include={"max_cost_usd", "max_tokens", "per_agent", "unknown_prices"},
    )
    decision = Decision(type="edit", edited_action=ToolAction(name=RAISE, args=args))
    verdict = Verdict(approval_id=row["id"], decision=decision)
    return decisions.record(connection, row, verdict, by, now)


def _check_active(held: Held) -> None:
    """Refuse to change the budget of a run that has ended."""
    if held.status in ACTIVE:
        return
    msg = f"The run has ended ({held.status}), so PATCH cannot change its budget."
    if held.status in RETRYABLE:
        msg += f" POST /v1/runs/{held.ref.run_id}/retry takes one."
    raise CallerError("run-terminal", msg, run_id=held.ref.run_id)
