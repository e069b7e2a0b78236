"""The statements by which a run waits for people, and goes on.

The run's row is held through each of them, so a decision either comes before the run waits, which then
does not wait for it, or after, and then puts the run into the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, false, null, update

from domain.approval import Approval
from domain.deciding import Waiting
from domain.errors import RunFailedError
from domain.events import Event, EventDraft
from domain.ports import RunRef
from domain.run import ACTIVE, RequiredAction, Run
from service.store import actions, events, forgetting, reuse, threads, usage
from service.store.actions import Held, Row
from service.store.rows import run_from
from service.store.tables import runs
from service.store.threads import Turns


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
    reuse.hold_runs(connection, ref.tenant_id, [ref.run_id])
    threads.hold_caller(connection, ref, turns)
    actions.own(connection, ref, attempt)
    asked = actions.by_ids(connection, ref.tenant_id, approval_ids)
    _refuse_missing(asked, approval_ids)
    for row in asked.values():
        if row["approval"] == "expired" and row["on_expiry"] == "fail":
            raise undecided(row)
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
    run, told = change(
        connection,
        ref,
        [draft],
        now,
        status="requires_action",
        required_action=required.model_dump(mode="json"),
        # Whoever has asked is called again before the end, which then looks for notes once more.
        notes_closed=false(),
    )
    forgetting.tidy_waiting(connection, ref, since)
    # The thread stays busy, but the caller's place is free for another run.
    claimable = threads.next_of_caller(connection, run, turns)
    claimable |= reuse.keep_to_itself(connection, ref)
    threads.enqueue(connection, claimable, turns)
    return Waiting(None, run=run, events=tuple(told))


def _refuse_missing(asked: Mapping[str, object], wanted: Sequence[str]) -> None:
    missing = [each for each in wanted if each not in asked]
    if missing:
        msg = f"approvals {missing} were never stored"
        raise LookupError(msg)


def undecided(row: Row) -> RunFailedError:
    """Return why a run ends that may not go on without a decision."""
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


def change(
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
    events.tell(connection, run, new)
    return run, new


def go_on(
    connection: Connection,
    held: Held,
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
    run, told = change(connection, held.ref, drafts, now, **values)
    if run.status == "queued" and held.status == "requires_action":
        threads.enqueue(connection, {held.ref}, turns)
        return run, told
    return None, told


def approval_draft(
    type_: Literal["approval.requested", "approval.resolved", "approval.expired"],
    approval: Approval,
) -> EventDraft:
    """Return an event about an approval. What is shown of a long argument is cut; the row has it whole."""
    return EventDraft(
        type=type_,
        agent=approval.agent,
        path=approval.path,
        round=approval.round,
        call=approval.call,
        data={"approval": actions.shown(approval)},
    )
