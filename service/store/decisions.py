"""The statements by which a run waits for people, and by which their decisions let it go on.

The run's row is held through each of them, so a decision either comes before the run waits, which then
does not wait for it, or after, and then puts the run into the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, null, select, update

from domain.approval import Approval, DecisionMade, action_id, changed_arguments
from domain.errors import CallerError, OwnershipLostError, RunFailedError
from domain.events import Event, EventDraft
from domain.partial import MAX_EVENTS_OF_A_RUN, PARTIAL_TYPES, ended_after
from domain.ports import Decided, IdempotencyKey, RunRef, Verdict, Waiting
from domain.problems import Code, make_problem
from domain.run import ACTIVE, RequiredAction, Run
from service.store import actions, changes, events, forgetting, queries, threads, usage
from service.store.actions import Row
from service.store.conflicts import take_key
from service.store.rows import run_from
from service.store.tables import actions as rows
from service.store.tables import runs
from service.store.threads import Turns

_WAITS: Final = (
    select(runs.c.status, runs.c.attempt, runs.c.caller_id)
    .where(runs.c.id == bindparam("run"), runs.c.tenant_id == bindparam("tenant"))
    .with_for_update(key_share=True)
)
_DUE: Final = (
    select(rows.c.tenant_id, rows.c.run_id)
    .where(
        rows.c.approval == "pending",
        rows.c.expires_at <= bindparam("now", type_=rows.c.expires_at.type),
    )
    .order_by(rows.c.expires_at)
    .limit(bindparam("most"))
)


class _Held(NamedTuple):
    """A run whose row is held until the transaction ends."""

    ref: RunRef
    status: str
    attempt: int
    caller_id: str


def _hold(connection: Connection, ref: RunRef) -> _Held | None:
    row = connection.execute(_WAITS, actions.name(ref)).one_or_none()
    return None if row is None else _Held(ref, row.status, row.attempt, row.caller_id)


# Waiting.


def wait_for(
    connection: Connection,
    ref: RunRef,
    attempt: int,
    approval_ids: Sequence[str],
    since: str | None,
    now: datetime,
    turns: Turns,
) -> Waiting:
    """Make a run wait, unless everything it waits for has been decided."""
    threads.hold_caller(connection, ref, turns)
    held = _hold(connection, ref)
    if held is None or (held.status, held.attempt) != ("running", attempt):
        msg = f"attempt {attempt} does not own run {ref.run_id!r} any more"
        raise OwnershipLostError(msg)
    asked = actions.by_ids(connection, ref.tenant_id, approval_ids)
    _refuse_missing(asked, approval_ids)
    lapsed = [row for row in asked.values() if row["approval"] == "expired"]
    if any(row["on_expiry"] == "fail" for row in lapsed):
        raise _undecided(lapsed[0])
    if not any(row["approval"] == "pending" for row in asked.values()):
        answers = {each: actions.answer_from(asked[each]) for each in approval_ids}
        return Waiting(answers, actions.remembered(connection, ref))
    open_ = actions.pending(connection, ref)
    required = required_action(open_)
    draft = EventDraft(
        type="run.requires_action",
        call=str(attempt),
        data={"required_action": required.model_dump(mode="json")},
    )
    run, told = _change(
        connection,
        ref,
        [draft],
        now,
        status="requires_action",
        required_action=required.model_dump(mode="json"),
    )
    forgetting.tidy_waiting(connection, ref, since)
    # The thread stays busy, but the caller's place is free for another run.
    threads.enqueue(connection, threads.next_of_caller(connection, run, turns), turns)
    return Waiting(None, run=run, events=tuple(told))


def _refuse_missing(asked: Mapping[str, object], wanted: Sequence[str]) -> None:
    missing = [each for each in wanted if each not in asked]
    if missing:
        msg = f"approvals {missing} were never stored"
        raise LookupError(msg)


def _undecided(row: Row) -> RunFailedError:
    what = f"about {row['tool']}" if row["tool"] else "the question"
    msg = f"Nobody decided {what} ({row['id']}) in time, and the run may not go on without."
    return RunFailedError(msg, code="deadline-exceeded")


def required_action(open_: Mapping[str, str]) -> RequiredAction:
    """Return what a run waits for: the type of the weightiest question, and all that are open."""
    kinds = set(open_.values())
    kind: Literal["approval", "budget", "input"] = "input"
    if "action" in kinds:
        kind = "approval"
    elif "budget" in kinds:
        kind = "budget"
    return RequiredAction(type=kind, approval_ids=list(open_))


def _change(
    connection: Connection,
    ref: RunRef,
    drafts: Sequence[EventDraft],
    now: datetime,
    **values: Any,
) -> tuple[Run, list[Event]]:
    """Change the row of a held run and append events to its log."""
    actions.show(connection, ref)
    changed = (
        update(runs)
        .where(runs.c.id == ref.run_id, runs.c.tenant_id == ref.tenant_id)
        .values(last_seq=runs.c.last_seq + len(drafts), **values)
        .returning(*runs.c)
    )
    row = connection.execute(changed).mappings().one()
    run = run_from(row, usage.of_run(connection, ref))
    new = events.number(
        drafts, run_id=ref.run_id, last_seq=run.last_seq, attempt=run.attempt, now=now
    )
    events.add(connection, ref.tenant_id, new)
    return run, new


# Deciding.


def decide(
    connection: Connection,
    tenant_id: str,
    verdicts: Sequence[Verdict],
    by: str,
    now: datetime,
    key: IdempotencyKey | None,
    turns: Turns,
) -> Decided:
    """Record decisions about approvals of one run, all or none."""
    ids = [verdict.approval_id for verdict in verdicts]
    found = actions.by_ids(connection, tenant_id, ids)
    refs = {RunRef(tenant_id, row["run_id"]) for row in found.values()}
    if len(found) < len(set(ids)) or len(refs) != 1:
        missing = next((each for each in ids if each not in found), ids[0])
        raise _not_there(missing, ids.index(missing) if len(ids) > 1 else None)
    ref = refs.pop()
    if key is not None and not _take(connection, ref, key, now):
        return Decided(_approvals(connection, tenant_id, ids), replayed=True)
    held = _hold(connection, ref)
    if held is None:
        raise _not_there(ids[0], None)
    # Read again: what others have decided until now is seen, and nobody decides from here on.
    found = actions.by_ids(connection, tenant_id, ids)
    new = [v for v in verdicts if not _is_replay(found[v.approval_id], v, held, by, now)]
    drafts = [_record(connection, found[v.approval_id], v, by, now) for v in new]
    if not new:
        return Decided(_approvals(connection, tenant_id, ids), replayed=True)
    run, told = _go_on(connection, held, drafts, now, turns)
    approvals = _approvals(connection, tenant_id, ids)
    return Decided(approvals, replayed=False, events=tuple(told), run=run)


def _take(connection: Connection, ref: RunRef, key: IdempotencyKey, now: datetime) -> bool:
    """Take an idempotency key; `False` where the same request took it before."""
    row = {
        "tenant_id": ref.tenant_id,
        "scope": key.scope,
        "key": key.key,
        "digest": key.digest,
        "run_id": ref.run_id,
        "created_at": now,
        "expired": now - changes.KEY_LIFE,
    }
    if take_key(connection, row):
        return True
    changes.check_key(connection, ref.tenant_id, key)
    return False


def _approvals(connection: Connection, tenant_id: str, ids: Sequence[str]) -> list[Approval]:
    found = actions.by_ids(connection, tenant_id, ids)
    return [actions.approval_from(found[each]) for each in ids]


def _not_there(approval_id: str, index: int | None) -> CallerError:
    detail = f"The approval {approval_id[:80]!r} is not there"
    if index is None:
        return CallerError("not-found", f"{detail}. GET /v1/approvals lists those that are.")
    pointer = f"/decisions/{index}/approval_id"
    errors = [{"pointer": pointer, "detail": "is no approval of this run"}]
    msg = f"{detail} in this run; nothing was decided."
    return CallerError("not-found", msg, errors=errors)  # type: ignore[arg-type]  # pointers


def _is_replay(row: Row, verdict: Verdict, held: _Held, by: str, now: datetime) -> bool:
    """Return whether the same was decided before; raises `CallerError` where this may not be decided."""
    what, status = verdict.approval_id, row["approval"]
    if status == "resolved":
        made = DecisionMade.model_validate(row["decision"])
        if made.same_as(verdict.decision):
            return True
        msg = (
            f"The approval {what} was decided already: {made.type!r} by {made.by} at "
            f"{made.at.isoformat()}. What was decided stands."
        )
        raise _refused("approval-already-decided", msg, row)
    if status == "cancelled":
        msg = f"The approval {what} was cancelled when its run ended. Nothing is left to decide."
        raise _refused("approval-cancelled", msg, row)
    if status == "expired" or (row["expires_at"] is not None and row["expires_at"] <= now):
        msg = f"The approval {what} was to be decided until {row['expires_at'].isoformat()}."
        raise _refused("approval-expired", msg, row)
    if verdict.args_digest is not None and verdict.args_digest != row["args_digest"]:
        msg = (
            f"The call of {what} has the digest {row['args_digest']}, and not the one you looked at. "
            "Get the approval and decide about what it shows now."
        )
        raise _refused("approval-args-changed", msg, row)
    if row["decided_by"] == "other" and by == held.caller_id:
        msg = f"The approval {what} is for somebody else than the one who created the run ({by})."
        raise _refused("forbidden", msg, row)
    return False


def _refused(code: Code, detail: str, row: Row) -> CallerError:
    shown = actions.approval_from(row).model_dump(mode="json")
    return CallerError(code, detail, run_id=row["run_id"], extra={"approval": shown})


def _record(
    connection: Connection, row: Row, verdict: Verdict, by: str, now: datetime
) -> EventDraft:
    """Write a decision down; return its event."""
    decision = verdict.decision
    edited = decision.edited_action
    made = DecisionMade(
        **decision.model_dump(),
        comment=verdict.comment,
        remember=verdict.remember,
        by=by,
        at=now,
        diff=changed_arguments(row["args"] or {}, edited.args) if edited else None,
    )
    values: dict[str, Any] = {"approval": "resolved", "decision": actions.decision_row(made)}
    if row["status"] is not None:
        values["status"] = "decided"
    if edited is not None:
        values["args_digest"] = edited.digest
    stored = {**row, **values}
    connection.execute(update(rows).where(rows.c.id == row["id"]).values(**values))
    return approval_draft("approval.resolved", actions.approval_from(stored))


def approval_draft(
    type_: Literal["approval.requested", "approval.resolved", "approval.expired"],
    approval: Approval,
) -> EventDraft:
    """Return an event about an approval."""
    return EventDraft(
        type=type_,
        agent=approval.agent,
        path=approval.path,
        round=approval.round,
        call=approval.call,
        data={"approval": approval.model_dump(mode="json")},
    )


def _go_on(
    connection: Connection,
    held: _Held,
    drafts: Sequence[EventDraft],
    now: datetime,
    turns: Turns,
) -> tuple[Run | None, list[Event]]:
    """Tell of what was decided; a run that waits for nothing more is put into the queue."""
    if held.status not in ACTIVE:
        return None, []
    open_ = actions.pending(connection, held.ref)
    values: dict[str, Any] = {}
    if held.status == "requires_action":
        values = (
            {"required_action": required_action(open_).model_dump(mode="json")}
            if open_
            else {"status": "queued", "required_action": null()}
        )
    run, told = _change(connection, held.ref, drafts, now, **values)
    if run.status == "queued" and held.status == "requires_action":
        threads.enqueue(connection, {held.ref}, turns)
        return run, told
    return None, told


# Settling what is in doubt.


def settle(
    connection: Connection,
    tenant_id: str,
    approval_id: str,
    outcome: Literal["done", "not_done"],
    result: str | None,
    by: str,
    now: datetime,
) -> Run:
    """Settle an action that is in doubt."""
    shown = action_id(approval_id)
    found = actions.by_ids(connection, tenant_id, [approval_id]).get(approval_id)
    if found is None or found["status"] is None:
        raise CallerError("not-found", f"The action {shown[:80]!r} is not there.")
    ref = RunRef(tenant_id, found["run_id"])
    _hold(connection, ref)
    row = actions.by_ids(connection, tenant_id, [approval_id])[approval_id]
    status = "done" if outcome == "done" else "failed"
    if row["status"] != "in_doubt":
        if row["settled_by"] is None or row["status"] != status:
            msg = f"The action {shown} is {row['status']!r}, so there is nothing to settle."
            raise CallerError("action-not-in-doubt", msg, run_id=ref.run_id)
    else:
        told = row["result"] if result is None else result
        connection.execute(
            update(rows)
            .where(rows.c.id == approval_id)
            .values(status=status, result=told, settled_by=by, ended_at=now)
        )
        actions.show(connection, ref)
    run = queries.get(connection, ref)
    if run is None:
        raise CallerError("not-found", f"The action {shown[:80]!r} is not there.")
    return run


# Expiring.


def due(connection: Connection, now: datetime, limit: int) -> list[RunRef]:
    """Return the runs that have approvals whose time is over."""
    found = connection.execute(_DUE, {"now": now, "most": limit})
    return sorted({RunRef(*row) for row in found})


def expire(connection: Connection, ref: RunRef, now: datetime, turns: Turns) -> Decided | None:
    """Close the approvals of one run whose time is over; `None` where others have done so."""
    threads.hold_caller(connection, ref, turns)
    held = _hold(connection, ref)
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
        connection.execute(update(rows).where(rows.c.id == row["id"]).values(**values))
        drafts.append(approval_draft("approval.expired", actions.approval_from({**row, **values})))
    ids = [row["id"] for row in lapsed]
    ends = next((row for row in lapsed if row["on_expiry"] == "fail"), None)
    if ends is not None and held.status == "requires_action":
        run, told = _fail(connection, held, _undecided(ends), drafts, now, turns)
    else:
        run, told = _go_on(connection, held, drafts, now, turns)
    approvals = _approvals(connection, ref.tenant_id, ids)
    return Decided(approvals, replayed=False, events=tuple(told), run=run)


def _fail(
    connection: Connection,
    held: _Held,
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
    return (None, []) if ended is None else ended
