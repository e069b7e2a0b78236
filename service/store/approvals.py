"""The approval store: `domain.deciding.ApprovalStore` over SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Select, select, tuple_

from domain.approval import ActionRecord, Approval, Settled
from domain.deciding import ApprovalQuery, Decided, Verdict, Waiting
from domain.ports import IdempotencyKey, RunRef
from service.store import actions, decisions, expiry, patching
from service.store.database import Database
from service.store.tables import actions as rows
from service.store.threads import Turns


class SqlApprovalStore:
    """Remembers what people are asked and have decided; what each method promises is said at the port."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns

    async def get(self, tenant_id: str, approval_id: str) -> Approval | None:
        """Return an approval, or `None`."""
        return await self._database.read(_get, tenant_id, approval_id)

    async def find(self, tenant_id: str, query: ApprovalQuery) -> list[Approval]:
        """Return the matching approvals, newest first, and one more than asked for."""
        return await self._database.read(_search, tenant_id, query)

    async def wait_for(
        self,
        ref: RunRef,
        *,
        attempt: int,
        approval_ids: Sequence[str],
        since: str | None,
        now: datetime,
    ) -> Waiting:
        """Make the run wait, unless all of the approvals have been decided meanwhile."""
        return await self._database.write(
            patching.wait_for, ref, attempt, approval_ids, since, now, self._turns
        )

    async def decide(
        self,
        tenant_id: str,
        verdicts: Sequence[Verdict],
        *,
        by: str,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
        link: str | None = None,
    ) -> Decided:
        """Record decisions about approvals of one run, all or none."""
        return await self._database.write(
            decisions.decide, tenant_id, verdicts, by, now, idempotency, self._turns, link
        )

    async def settle(
        self,
        tenant_id: str,
        approval_id: str,
        *,
        outcome: Literal["done", "not_done"],
        result: str | None,
        by: str,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
    ) -> Settled:
        """Settle an action that is in doubt."""
        return await self._database.write(
            decisions.settle, tenant_id, approval_id, outcome, result, by, now, idempotency
        )

    async def expire(self, *, now: datetime, limit: int) -> list[Decided]:
        """Close approvals whose time is over, run by run."""
        closed = []
        for ref in await self._database.read(expiry.due, now, limit):
            done = await self._database.write(expiry.expire, ref, now, self._turns)
            if done:
                closed.append(done)
        return closed

    async def records(self, ref: RunRef) -> tuple[list[Approval], list[ActionRecord]]:
        """Return all that was asked and done in a run, in order."""
        found = await self._database.read(actions.of_run, ref)
        asked = [actions.approval_from(row) for row in found if row["approval"]]
        return asked, [actions.record_from(row) for row in found if row["status"]]


def _get(connection: Connection, tenant_id: str, approval_id: str) -> Approval | None:
    row = actions.by_ids(connection, tenant_id, [approval_id]).get(approval_id)
    return actions.approval_from(row) if row and row["approval"] else None


def _search(connection: Connection, tenant_id: str, query: ApprovalQuery) -> list[Approval]:
    found = connection.execute(_matching(tenant_id, query)).mappings()
    return [actions.approval_from(dict(row)) for row in found]


def _matching(tenant_id: str, query: ApprovalQuery) -> Select[tuple[object, ...]]:
    order = (rows.c.created_at, rows.c.id)
    statement = select(rows).where(rows.c.tenant_id == tenant_id, rows.c.approval.is_not(None))
    if query.status is not None:
        statement = statement.where(rows.c.approval == query.status)
    if query.run_id is not None:
        statement = statement.where(rows.c.run_id == query.run_id)
    if query.before is not None:
        last = select(*order).where(rows.c.id == query.before, rows.c.tenant_id == tenant_id)
        statement = statement.where(tuple_(*order) < last.scalar_subquery())
    newest_first = (column.desc() for column in order)
    return statement.order_by(*newest_first).limit(query.limit + 1)
