"""The statements about forks: what each begins with, and what the run has done that it was forked from."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from domain.forking import MadeCall, Seed
from domain.ports import RunRef
from service.store.naming import named
from service.store.tables import actions, seeds

_ADD: Final = insert(seeds)
_FIND: Final = select(seeds.c.seed).where(
    seeds.c.run_id == bindparam("run"), seeds.c.tenant_id == bindparam("tenant")
)
_MADE: Final = select(actions.c.tool, actions.c.args, actions.c.decision).where(
    actions.c.run_id == bindparam("run"),
    actions.c.tenant_id == bindparam("tenant"),
    actions.c.status.in_(["started", "done", "in_doubt"]),
    actions.c.tool.is_not(None),
)


def add(connection: Connection, ref: RunRef, seed: Seed) -> None:
    """Keep what a fork begins with."""
    row = {"run_id": ref.run_id, "tenant_id": ref.tenant_id, "seed": seed.model_dump(mode="json")}
    connection.execute(_ADD, row)


def find(connection: Connection, ref: RunRef) -> Seed | None:
    """Return what a fork begins with; `None` for any other run."""
    found = connection.execute(_FIND, named(ref)).scalar_one_or_none()
    return None if found is None else Seed.model_validate(found)


def made(connection: Connection, ref: RunRef) -> list[MadeCall]:
    """Return the calls that a run has made, or may have: as they were asked for, and as they were edited."""
    calls: list[MadeCall] = []
    for row in connection.execute(_MADE, named(ref)):
        edited = ((row.decision or {}).get("edited_action") or {}).get("args")
        calls += [MadeCall(row.tool, args) for args in (row.args, edited) if args is not None]
    return calls
