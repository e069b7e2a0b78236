"""The statements about actions and approvals: rows, the ledger's steps, and what a run's end does to them.

Whoever changes one of a run's rows holds the run's own row first: that makes the changes follow one
another, and keeps `runs.actions`, which clients read, true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from agents._kit.outcomes import bounded_args
from domain.approval import (
    NOT_IN_TIME,
    VERBS,
    ActionRecord,
    Approval,
    Decision,
    ToolAction,
    action_id,
    digest_of,
)
from domain.errors import OwnershipLostError
from domain.events import EventDraft
from domain.ledger import ActionCall, Doubt, Standing
from domain.ports import RunRef
from service.store import repeats
from service.store.naming import THE_RUN, named
from service.store.tables import actions, runs

Row = dict[str, Any]
"""A row by the names of its columns."""

APPROVING: Final = frozenset({"approve", "edit"})
"""The decisions after which a call runs."""

RESULT_CHARS: Final = 2_000
"""How much of a result the receipt shows."""

CUT_OFF: Final = "The run ended while this was being carried out."
NOT_MADE: Final = "The run ended before this was carried out."

_SAME: Final = (
    *("id", "run_id", "tenant_id", "thread_id", "type", "agent", "path", "round", "call", "tool"),
    *("args_digest", "description", "response_schema", "decided_by", "expires_at", "on_expiry"),
    "created_at",
)
"""What an approval and its row have in common."""

_OF_RUN: Final = (
    actions.c.run_id == bindparam("run"),
    actions.c.tenant_id == bindparam("tenant"),
)
_ROWS: Final = select(actions).where(*_OF_RUN).order_by(actions.c.created_at, actions.c.id)
_THE_ACTION: Final = (*_OF_RUN, actions.c.id == bindparam("action"))
_ROW: Final = select(actions).where(*_THE_ACTION)
_BY_IDS: Final = select(actions).where(
    actions.c.tenant_id == bindparam("tenant"),
    actions.c.id.in_(bindparam("ids", expanding=True)),
)
_SHOWN: Final = (
    select(actions.c.id, actions.c.tool, actions.c.status)
    .where(*_OF_RUN, actions.c.status.is_not(None))
    .order_by(actions.c.created_at, actions.c.id)
)
_PENDING: Final = (
    select(actions.c.id, actions.c.type)
    .where(*_OF_RUN, actions.c.approval == "pending")
    .order_by(actions.c.created_at, actions.c.id)
)
_REMEMBERED: Final = select(actions.c.tool, actions.c.decision).where(
    *_OF_RUN, actions.c.approval == "resolved", actions.c.tool.is_not(None)
)
_DOUBTS: Final = (
    select(actions.c.agent, actions.c.tool, actions.c.id)
    .where(*_OF_RUN, actions.c.status == "in_doubt")
    .order_by(actions.c.created_at, actions.c.id)
)
_HOLD: Final = (
    select(runs.c.status, runs.c.attempt, runs.c.caller_id)
    .where(*THE_RUN)
    .with_for_update(key_share=True)
)
_SHOW: Final = update(runs).where(*THE_RUN).values(actions=bindparam("list"))
_THREAD: Final = select(runs.c.thread_id).where(*THE_RUN)
_END: Final = (
    update(actions)
    .where(
        *_THE_ACTION,
        actions.c.attempt == bindparam("of_attempt"),
        actions.c.status.in_(["started", "in_doubt"]),
        # A person who has settled it knows more than the segment that was cut off.
        actions.c.settled_by.is_(None),
    )
    .values(
        status=bindparam("came_to"),
        result=bindparam("told"),
        artifacts=bindparam("kept"),
        ended_at=bindparam("now"),
    )
)


class Held(NamedTuple):
    """A run whose row is held until the transaction ends."""

    ref: RunRef
    status: str
    attempt: int
    caller_id: str


def hold(connection: Connection, ref: RunRef) -> Held | None:
    """Keep a run as it is until the transaction ends; `None` where it is not there."""
    row = connection.execute(_HOLD, named(ref)).one_or_none()
    return None if row is None else Held(ref, row.status, row.attempt, row.caller_id)


def own(connection: Connection, ref: RunRef, attempt: int, *, running: bool = True) -> None:
    """Hold a run for its attempt; raises `OwnershipLostError` where it is another's, or has ended."""
    held = hold(connection, ref)
    if held is None or held.attempt != attempt or (running and held.status != "running"):
        msg = f"attempt {attempt} does not own run {ref.run_id!r} any more"
        raise OwnershipLostError(msg)


def request(connection: Connection, approvals: Sequence[Approval]) -> None:
    """Insert what is asked; one that is there already stays as it is."""
    if not approvals:
        return
    ids = [approval.id for approval in approvals]
    values = {"tenant": approvals[0].tenant_id, "ids": ids}
    known = {row.id for row in connection.execute(_BY_IDS, values)}
    new = [_asked_row(approval) for approval in approvals if approval.id not in known]
    if new:
        connection.execute(insert(actions), new)
    show(connection, RunRef(approvals[0].tenant_id, approvals[0].run_id))


def _asked_row(approval: Approval) -> dict[str, Any]:
    action = approval.type == "action"
    return {
        **{each: getattr(approval, each) for each in _SAME},
        "args": approval.action.args if approval.action else None,
        "approval": "pending",
        "status": "pending" if action else None,
        "decision": None,
    }


def show(connection: Connection, ref: RunRef) -> list[dict[str, Any]]:
    """Bring `runs.actions` up to date; return it."""
    shown = [
        {"id": action_id(row.id), "tool": row.tool, "status": row.status}
        for row in connection.execute(_SHOWN, named(ref))
    ]
    connection.execute(_SHOW, {**named(ref), "list": shown})
    return shown


def of_run(connection: Connection, ref: RunRef) -> list[Row]:
    """Return all rows of a run, the oldest first."""
    return [dict(row) for row in connection.execute(_ROWS, named(ref)).mappings()]


def by_ids(connection: Connection, tenant_id: str, ids: Iterable[str]) -> dict[str, Row]:
    """Return the rows of these approvals."""
    found = connection.execute(_BY_IDS, {"tenant": tenant_id, "ids": list(ids)}).mappings()
    return {row["id"]: dict(row) for row in found}


def pending(connection: Connection, ref: RunRef) -> dict[str, str]:
    """Return the type of each approval of the run that is open, by id."""
    return {row.id: row.type for row in connection.execute(_PENDING, named(ref))}


def remembered(connection: Connection, ref: RunRef) -> frozenset[str]:
    """Return the tools that were approved for the rest of the run."""
    found = connection.execute(_REMEMBERED, named(ref))
    return frozenset(tool for tool, decision in found if (decision or {}).get("remember") == "run")


def doubts(connection: Connection, ref: RunRef) -> list[Doubt]:
    """Return the actions of the run that are in doubt."""
    return [
        Doubt(row.agent, row.tool, action_id(row.id))
        for row in connection.execute(_DOUBTS, named(ref))
    ]


def approval_from(row: Row) -> Approval:
    """Return a row as the approval it holds."""
    asked = ToolAction(name=row["tool"], args=row["args"] or {}) if row["tool"] else None
    return Approval.model_validate(
        {
            **row,
            "status": row["approval"],
            "action": asked,
            "allowed_decisions": VERBS[row["type"]],
            "response_schema": row["response_schema"] or {},
        }
    )


def approvals_of(connection: Connection, tenant_id: str, ids: Sequence[str]) -> list[Approval]:
    """Return these approvals, in their order."""
    found = by_ids(connection, tenant_id, ids)
    return [approval_from(found[each]) for each in ids]


def shown(approval: Approval) -> dict[str, Any]:
    """Return an approval for an event or a message: its row has whole what is cut of long arguments."""
    document = approval.model_dump(mode="json")
    decision = document["decision"] or {}
    for action in (document["action"], decision.get("edited_action")):
        if action:
            action["args"] = bounded_args(action["args"])
    if decision.get("diff"):
        decision["diff"] = [bounded_args(each) for each in decision["diff"]]
    return document


def record_from(row: Row) -> ActionRecord:
    """Return a row as the action it holds."""
    edited = ((row["decision"] or {}).get("edited_action") or {}).get("args")
    result = row["result"]
    return ActionRecord.model_validate(
        {
            **row,
            "id": action_id(row["id"]),
            "approval_id": row["id"] if row["approval"] else None,
            "args": (row["args"] or {}) if edited is None else edited,
            "result": None if result is None else result[:RESULT_CHARS],
        }
    )


def answer_from(row: Row) -> dict[str, Any]:
    """Return what the graph is told of an approval that is closed."""
    if row["decision"]:
        return Decision.model_validate(
            {name: row["decision"].get(name) for name in Decision.model_fields}
        ).answer()
    if row["type"] == "input":
        text = "Nobody answered in time. Decide by yourself, and say what you assumed."
        return Decision(type="respond", message=text).answer()
    return Decision(type="reject", message=NOT_IN_TIME).answer()


# The ledger's steps.


def start(connection: Connection, call: ActionCall, now: datetime) -> Standing:
    """Commit that an action is being carried out, or say where it stands."""
    own(connection, call.ref, call.attempt)
    digest = digest_of(call.tool, call.args)
    row = _row(connection, call)
    if row is None:
        connection.execute(insert(actions), [_started_row(connection, call, digest, now)])
    elif _approved(row):
        if row["args_digest"] != digest:
            return Standing("refused")  # what was approved is not what would run
        _restart(connection, call, now)
    elif row["status"] in {"pending", "decided"} or row["args_digest"] != digest:
        return Standing("refused")
    elif row["status"] == "started":
        return Standing("left")
    else:
        return Standing("ended", row["status"], row["result"] or "", row["artifacts"] or ())
    made = repeats.take_up(connection, call, now)
    show(connection, call.ref)
    return made or Standing("begun")


def start_again(connection: Connection, call: ActionCall, now: datetime) -> None:
    """Take over an action that was left and has not taken effect."""
    own(connection, call.ref, call.attempt)
    _restart(connection, call, now)


def end(connection: Connection, call: ActionCall, ended: Standing, now: datetime) -> None:
    """Record how an action ended that this attempt has started, or has found left."""
    # Also of a run that was cancelled meanwhile: what is known now is worth more than the doubt.
    own(connection, call.ref, call.attempt, running=False)
    values = {
        **_name(call),
        "of_attempt": call.attempt,
        "came_to": ended.status,
        "told": ended.result,
        "kept": list(ended.artifacts) or None,
        "now": now,
    }
    if not connection.execute(_END, values).rowcount:
        # Left by an earlier attempt: the row has that one's number.
        left = update(actions).where(*_THE_ACTION)
        left = left.where(actions.c.status == "started", actions.c.attempt < call.attempt)
        left = left.values(status=ended.status, result=ended.result, ended_at=now)
        connection.execute(left, _name(call))
    show(connection, call.ref)


def _approved(row: Row) -> bool:
    """Return whether a call is to run; one that nobody decided in time has no decision."""
    decision = row["decision"] or {}
    return row["status"] == "decided" and decision.get("type") in APPROVING


def _name(call: ActionCall) -> dict[str, Any]:
    return {**named(call.ref), "action": call.id}


def _row(connection: Connection, call: ActionCall) -> Row | None:
    found = connection.execute(_ROW, _name(call)).mappings().one_or_none()
    return None if found is None else dict(found)


def _restart(connection: Connection, call: ActionCall, now: datetime) -> None:
    again = update(actions).where(*_THE_ACTION)
    again = again.values(status="started", attempt=call.attempt, started_at=now)
    connection.execute(again, _name(call))


def _started_row(
    connection: Connection, call: ActionCall, digest: str, now: datetime
) -> dict[str, Any]:
    return {
        "id": call.id,
        "run_id": call.ref.run_id,
        "tenant_id": call.ref.tenant_id,
        "thread_id": connection.execute(_THREAD, named(call.ref)).scalar_one(),
        "type": "action",
        "agent": call.agent,
        "path": call.path,
        "round": call.round,
        "call": call.call,
        "tool": call.tool,
        "args": call.args,
        "args_digest": digest,
        "status": "started",
        "description": "",
        "decided_by": "any",
        "on_expiry": "reject",
        "created_at": now,
        "attempt": call.attempt,
        "started_at": now,
    }


# A run's end.


def close(connection: Connection, ref: RunRef, now: datetime) -> list[EventDraft]:
    """Close what a run leaves open that ends: nobody is asked any more, and what was being carried out is
    in doubt. Returns the events of all that is in doubt, told or not."""
    drafts = []
    for row in of_run(connection, ref):
        values = _closed(row)
        if values:
            changed = update(actions).where(*_THE_ACTION).values(ended_at=now, **values)
            connection.execute(changed, {**named(ref), "action": row["id"]})
        stands = {**row, **values}
        if stands["status"] == "in_doubt":
            drafts.append(doubt_draft(stands))
    show(connection, ref)
    return drafts


def _closed(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if row["approval"] == "pending":
        values["approval"] = "cancelled"
    if row["status"] == "started":
        values |= {"status": "in_doubt", "result": CUT_OFF}
    elif row["status"] == "pending" or _approved(row):
        values |= {"status": "failed", "result": NOT_MADE}
    return values


def doubt_draft(row: Row) -> EventDraft:
    """Return the event that an action is in doubt; the same that the agent would have told."""
    about = {"id": action_id(row["id"]), "tool": row["tool"], "status": "in_doubt"}
    return EventDraft(
        type="action.in_doubt",
        agent=row["agent"],
        path=row["path"],
        round=row["round"],
        call=row["call"],
        data={"action": about, "detail": row["result"]},
    )
