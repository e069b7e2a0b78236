"""The statements by which people decide: of contradicting decisions at once, one wins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, select, update

from domain.approval import DecisionMade, Settled, action_id, changed_arguments
from domain.deciding import Decided, Verdict
from domain.errors import CallerError
from domain.events import EventDraft
from domain.limits import Limits
from domain.ports import IdempotencyKey, RunRef
from domain.problems import Code
from service.store import actions, allowances, keys, links, queries, receipts, repeats
from service.store.actions import Held, Row, hold
from service.store.naming import THE_RUN, named
from service.store.tables import actions as rows
from service.store.tables import runs
from service.store.threads import Turns
from service.store.waiting import approval_draft, go_on


def decide(
    connection: Connection,
    tenant_id: str,
    verdicts: Sequence[Verdict],
    by: str,
    now: datetime,
    key: IdempotencyKey | None,
    turns: Turns,
    link: str | None = None,
) -> Decided:
    """Record decisions about approvals of one run, all or none; by a link, about the one that it is for."""
    ids = [verdict.approval_id for verdict in verdicts]
    found = actions.by_ids(connection, tenant_id, ids)
    refs = {RunRef(tenant_id, row["run_id"]) for row in found.values()}
    if len(found) < len(set(ids)) or len(refs) != 1:
        raise _not_there(next((each for each in ids if each not in found), ids[0]))
    ref = refs.pop()
    if key is not None and not keys.take(connection, ref, key, now):
        keys.check_key(connection, tenant_id, key)
        return Decided(actions.approvals_of(connection, tenant_id, ids), replayed=True)
    held = hold(connection, ref)
    if held is None:
        raise _not_there(ids[0])
    # Read again: what others have decided until now is seen, and nobody decides from here on.
    found = actions.by_ids(connection, tenant_id, ids)
    new = [v for v in verdicts if not _is_replay(found[v.approval_id], v, held, by, now)]
    if link is not None:
        for verdict in new:
            _use_link(connection, found[verdict.approval_id], link, now)
    drafts = [record(connection, found[v.approval_id], v, by, now) for v in new]
    if not new:
        return Decided(actions.approvals_of(connection, tenant_id, ids), replayed=True)
    run, told = go_on(connection, held, drafts, now, turns)
    approvals = actions.approvals_of(connection, tenant_id, ids)
    return Decided(approvals, replayed=False, events=tuple(told), run=run)


def _use_link(connection: Connection, row: Row, link: str, now: datetime) -> None:
    """Use a link up by the decision that is made with it."""
    if row["decided_by"] == "other" or not links.use(
        connection, row["tenant_id"], row["id"], link, now
    ):
        msg = f"This link does not decide about {row['id']}: it was used, or its time is over."
        raise _refused("forbidden", msg, row)


def _not_there(approval_id: str) -> CallerError:
    msg = f"The approval {approval_id[:80]!r} is not there. GET /v1/approvals lists those that are."
    return CallerError("not-found", msg)


def _is_replay(row: Row, verdict: Verdict, held: Held, by: str, now: datetime) -> bool:
    """Return whether the same was decided before; raises `CallerError` where this may not be decided."""
    what, status = verdict.approval_id, row["approval"]
    if status == "resolved":
        made = DecisionMade.model_validate(row["decision"])
        if made.same_as(verdict.decision):
            return True
        msg = (
            f"The approval {what} was decided already: {made.type!r} by {made.by!r} at "
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


def record(
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
    values: dict[str, Any] = {"approval": "resolved", "decision": made.model_dump(mode="json")}
    if row["status"] is not None:
        values["status"] = "decided"
    if edited is not None:
        values["args_digest"] = edited.digest
        if row["type"] == "budget":
            raised = Limits.model_validate(edited.args)
            ref = RunRef(row["tenant_id"], row["run_id"])
            with receipts.noting_limits(connection, ref, by=by, how="decision", now=now):
                allowances.change_limits(connection, ref, raised)
    stored = {**row, **values}
    found = (rows.c.id == row["id"], rows.c.tenant_id == row["tenant_id"])
    connection.execute(update(rows).where(*found).values(**values))
    return approval_draft("approval.resolved", actions.approval_from(stored))


# Settling what is in doubt.


def settle(
    connection: Connection,
    tenant_id: str,
    approval_id: str,
    outcome: Literal["done", "not_done"],
    result: str | None,
    by: str,
    now: datetime,
    key: IdempotencyKey | None,
) -> Settled:
    """Settle an action that is in doubt."""
    shown = action_id(approval_id)
    found = actions.by_ids(connection, tenant_id, [approval_id]).get(approval_id)
    missing = CallerError("not-found", f"The action {shown[:80]!r} is not there.")
    if found is None or found["status"] is None:
        raise missing
    ref = RunRef(tenant_id, found["run_id"])
    if key is not None and not keys.take(connection, ref, key, now):
        return Settled(keys.replay(connection, tenant_id, key).run, replayed=True)
    if hold(connection, ref) is None:
        raise missing
    row = actions.by_ids(connection, tenant_id, [approval_id])[approval_id]
    status = "done" if outcome == "done" else "failed"
    if row["status"] != "in_doubt":
        if row["settled_by"] is None or row["status"] != status:
            msg = f"The action {shown} is {row['status']!r}, so there is nothing to settle."
            raise CallerError("action-not-in-doubt", msg, run_id=ref.run_id)
    else:
        values: dict[str, Any] = {"status": status, "settled_by": by, "ended_at": now}
        if result is not None:
            values["result"] = result
        # What a retry was answered with is the same call: one that is known is known of all.
        of_run = actions.of_run(connection, ref)
        for same in sorted(repeats.chain(of_run, approval_id)):
            doubtful = (rows.c.id == same, rows.c.tenant_id == tenant_id)
            changed = update(rows).where(*doubtful, rows.c.status == "in_doubt")
            connection.execute(changed.values(**values))
            _take_out_of_degraded(connection, ref, action_id(same))
        actions.show(connection, ref)
    run = queries.get(connection, ref)
    if run is None:
        raise missing
    return Settled(run, replayed=False)


def _take_out_of_degraded(connection: Connection, ref: RunRef, action: str) -> None:
    """Name an action no longer as something that nobody knows; the answer's text stays as it was written."""
    told = select(runs.c.degraded).where(*THE_RUN)
    parts = connection.execute(told, named(ref)).scalar_one()
    left = [part for part in parts if action not in part["reason"]]
    connection.execute(update(runs).where(*THE_RUN).values(degraded=left), named(ref))
