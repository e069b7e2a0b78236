"""The statements that keep a retried run from doing to the world again what a failed assignment has done.

What had failed is worked on anew, under new names: to the ledger its calls are others. So the same call, of
the same tool with the same arguments, is answered with what the one before came to, once. Arguments are
the same where the tool reads them so, and also where a person had changed them before the call was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, or_, select, update

from domain.approval import digest_of
from domain.events import EventDraft, EventType
from domain.ledger import ActionCall, Standing
from service.store.tables import actions, events, runs

BEFORE: Final = "(This call was made before the run was retried, and was not made again.)"

_OF_RUN: Final = (
    actions.c.run_id == bindparam("run"),
    actions.c.tenant_id == bindparam("tenant"),
)
_earlier: Final = actions.alias()
# One that stands for a call from before the retry was not made under its own attempt.
_TOOK_UP: Final = (
    select(_earlier.c.id)
    .where(_earlier.c.run_id == actions.c.run_id, _earlier.c.taken_up_by == actions.c.id)
    .exists()
)
_MADE: Final = (
    select(actions)
    .join(runs, runs.c.id == actions.c.run_id)
    .where(
        *_OF_RUN,
        actions.c.tool == bindparam("tool"),
        actions.c.id != bindparam("call"),
        actions.c.status.in_(["done", "in_doubt"]),
        or_(actions.c.attempt <= runs.c.retried_after, _TOOK_UP),
        actions.c.taken_up_by.is_(None),
    )
    # What is `done` sorts before what is `in_doubt`, and is taken up first.
    .order_by(actions.c.status, actions.c.created_at, actions.c.id)
)
_LATER: Final = select(actions).where(
    *_OF_RUN,
    actions.c.tool == bindparam("tool"),
    actions.c.round > bindparam("round"),
    actions.c.status == "done",
    ~_TOOK_UP,
)
_EVENT: Final = select(events.c.seq).where(
    events.c.run_id == bindparam("run"),
    events.c.tenant_id == bindparam("tenant"),
    events.c.key == bindparam("key"),
)
_CHANGE: Final = update(actions).where(
    actions.c.id == bindparam("action"), actions.c.tenant_id == bindparam("tenant")
)


def take_up(connection: Connection, call: ActionCall, now: datetime) -> Standing | None:
    """Return what became of the same call of an assignment that failed before the run was retried, and
    record it as what this one has come to; `None` where it is to be carried out."""
    if call.reads:
        return None
    values = {
        "run": call.ref.run_id,
        "tenant": call.ref.tenant_id,
        "tool": call.tool,
        "call": call.id,
    }
    digest = digest_of(call.tool, call.as_read(call.args))
    for row in connection.execute(_MADE, values).mappings().all():
        if digest not in _digests(row, call):
            continue
        if not _was_given_up(connection, row, call) or _is_redone(connection, row, call):
            continue
        told = row["result"] or ""
        result = told if told.startswith(BEFORE) else f"{BEFORE}\n{told}"
        kept: dict[str, Any] = {"status": row["status"], "result": result, "ended_at": now}
        whose = {"tenant": call.ref.tenant_id}
        new = _CHANGE.values(**kept, artifacts=row["artifacts"])
        connection.execute(new, {**whose, "action": call.id})
        old = _CHANGE.values(taken_up_by=call.id)
        connection.execute(old, {**whose, "action": row["id"]})
        return Standing("ended", row["status"], result, row["artifacts"] or ())
    return None


def _digests(row: RowMapping, call: ActionCall) -> set[str]:
    """Return the digests of a call as it ran, and as it was asked for: an agent asks for that again."""
    edited = ((row["decision"] or {}).get("edited_action") or {}).get("args")
    asked = row["args"] or {}
    return {digest_of(call.tool, call.as_read(a)) for a in (asked, edited) if a is not None}


def _was_given_up(connection: Connection, row: RowMapping, call: ActionCall) -> bool:
    """Return whether an assignment has failed: one that has a result was meant to do what it did."""
    if _came_to(connection, row, "agent.failed"):
        return True
    # Of a round that is over, the last events may be on their way to the log still.
    over = row["round"] < call.round
    return over and not _came_to(connection, row, "agent.completed")


def _is_redone(connection: Connection, row: RowMapping, call: ActionCall) -> bool:
    """Return whether the same call was made once more, in a later round, for a result that counts. What wants
    it after that wants another."""
    values = {
        "run": row["run_id"],
        "tenant": row["tenant_id"],
        "tool": row["tool"],
        "round": row["round"],
    }
    return any(
        _digests(row, call) & _digests(later, call)
        and _came_to(connection, later, "agent.completed")
        for later in connection.execute(_LATER, values).mappings().all()
    )


def _came_to(connection: Connection, row: RowMapping, type_: EventType) -> bool:
    """Return whether the log tells that an assignment has ended so."""
    draft = EventDraft(type=type_, path=row["path"], round=row["round"], data={})
    values = {"run": row["run_id"], "tenant": row["tenant_id"], "key": draft.key}
    return connection.execute(_EVENT, values).first() is not None


def chain(rows: Iterable[Mapping[str, Any]], action: str) -> set[str]:
    """Return the ids of all that stand for the same call, of a run's rows, with this one's."""
    links = [(row["id"], row["taken_up_by"]) for row in rows if row["taken_up_by"]]
    found, more = {action}, {action}
    while more:
        more = {each for link in links if found.intersection(link) for each in link} - found
        found |= more
    return found
