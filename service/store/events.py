"""The event log's statements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select

from domain.events import Event, EventDraft
from domain.ports import RunRef
from domain.run import Run
from service.store import outbox
from service.store.naming import named
from service.store.rows import event_of, event_row
from service.store.tables import events

_OF_RUN: Final = (
    events.c.run_id == bindparam("run"),
    events.c.tenant_id == bindparam("tenant"),
)
_ADD: Final = insert(events)
_KEYS: Final = select(events.c.key).where(*_OF_RUN)
_PAGE: Final = (
    select(*(column for column in events.c if column.name != "tenant_id"))
    .where(*_OF_RUN, events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("most"))
)
_PAGE_OF_TYPES: Final = _PAGE.where(events.c.type.in_(bindparam("types", expanding=True)))


def number(
    drafts: Sequence[EventDraft], *, run_id: str, last_seq: int, attempt: int, now: datetime
) -> list[Event]:
    """Return the drafts as events whose last one has `last_seq`."""
    first = last_seq - len(drafts) + 1
    return [
        event_of(draft, run_id=run_id, seq=seq, attempt=attempt, now=draft.at or now)
        for seq, draft in enumerate(drafts, first)
    ]


def add(connection: Connection, tenant_id: str, new: Sequence[Event]) -> None:
    """Insert events; a `seq` or key that the run has already is an error of the database."""
    if new:
        connection.execute(_ADD, [event_row(tenant_id, event) for event in new])


def tell(connection: Connection, run: Run, new: Sequence[Event]) -> None:
    """Insert the events of a change of a run's status, and what its webhook is sent of it."""
    add(connection, run.tenant_id, new)
    outbox.post(connection, run, new)


def of_end(draft: EventDraft, run: Run) -> EventDraft:
    """Return the event that ends a run: it tells how, so it is made from the row that says so."""
    # A run that was retried may have ended in the same way before.
    call = str(run.retried_after) if run.retried_after else draft.call
    return replace(draft, call=call, data={**draft.data, "run": run.model_dump(mode="json")})


def keys(connection: Connection, ref: RunRef) -> frozenset[str]:
    """Return the keys of the run's events."""
    found = connection.execute(_KEYS, named(ref))
    return frozenset(found.scalars())


def page(
    connection: Connection, ref: RunRef, after: int, limit: int, types: Collection[str] | None
) -> list[Event]:
    """Return events in order."""
    values: dict[str, Any] = {
        "run": ref.run_id,
        "tenant": ref.tenant_id,
        "after": after,
        "most": limit,
    }
    if types is None:
        found = connection.execute(_PAGE, values)
    else:
        found = connection.execute(_PAGE_OF_TYPES, {**values, "types": list(types)})
    return [Event(**row) for row in found.mappings()]
