"""The statements that keep a retried run from doing to the world again what a failed assignment has done.

What had failed is worked on anew, under new names: to the ledger its calls are others. So the same call, of
the same tool with the same arguments, is answered with what the one before came to, once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from domain.events import EventDraft
from domain.ledger import ActionCall, Standing
from domain.ports import RunRef
from service.store.tables import actions, events, runs

BEFORE: Final = "(This call was made before the run was retried, and was not made again.)"

_MADE: Final = (
    select(actions)
    .join(runs, runs.c.id == actions.c.run_id)
    .where(
        actions.c.run_id == bindparam("run"),
        actions.c.tenant_id == bindparam("tenant"),
        actions.c.args_digest == bindparam("digest"),
        actions.c.id != bindparam("call"),
        actions.c.status.in_(["done", "in_doubt"]),
        actions.c.attempt <= runs.c.retried_after,
        actions.c.taken_up_by.is_(None),
    )
    .order_by(actions.c.status, actions.c.created_at, actions.c.id)
)
_EVENT: Final = select(events.c.seq).where(
    events.c.run_id == bindparam("run"),
    events.c.tenant_id == bindparam("tenant"),
    events.c.key == bindparam("key"),
)
_CHANGE: Final = update(actions).where(
    actions.c.id == bindparam("action"), actions.c.tenant_id == bindparam("tenant")
)


def take_up(
    connection: Connection, call: ActionCall, digest: str, now: datetime
) -> Standing | None:
    """Return what became of the same call of an assignment that failed before the run was retried, and
    record it as what this one has come to; `None` where it is to be carried out."""
    if call.reads:
        return None
    values = {
        "run": call.ref.run_id,
        "tenant": call.ref.tenant_id,
        "digest": digest,
        "call": call.id,
    }
    for row in connection.execute(_MADE, values).mappings().all():
        if not _has_failed(connection, call.ref, row["round"], row["path"]):
            continue
        result = f"{BEFORE}\n{row['result'] or ''}"
        kept: dict[str, Any] = {"status": row["status"], "result": result, "ended_at": now}
        whose = {"tenant": call.ref.tenant_id}
        new = _CHANGE.values(**kept, artifacts=row["artifacts"])
        connection.execute(new, {**whose, "action": call.id})
        old = _CHANGE.values(taken_up_by=call.id)
        connection.execute(old, {**whose, "action": row["id"]})
        return Standing("ended", row["status"], result, row["artifacts"] or ())
    return None


def _has_failed(connection: Connection, ref: RunRef, round_: int, path: str) -> bool:
    """Return whether an assignment was given up: one that has a result was meant to do what it did."""
    draft = EventDraft(type="agent.failed", path=path, round=round_, data={})
    values = {"run": ref.run_id, "tenant": ref.tenant_id, "key": draft.key}
    return connection.execute(_EVENT, values).first() is not None
