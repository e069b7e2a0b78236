"""The statements about what a receipt says beside the run's own row: configurations, and changed budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select

from domain.ports import RunRef
from service.store.conflicts import keep_configuration
from service.store.database import Database
from service.store.naming import THE_RUN, named
from service.store.receipt_tables import budget_changes, configurations, run_configurations
from service.store.rows import limits_of
from service.store.tables import runs

How = Literal["patch", "retry", "decision"]
"""By what a budget was changed: `patch` PATCH on the run · `retry` with the retry of the run, to what the
server allows then · `decision` about an approval that asked for it."""

_ATTEMPT: Final = insert(run_configurations)
_CHANGE: Final = insert(budget_changes)
_LIMITS: Final = select(runs.c.budget, runs.c.max_rounds).where(*THE_RUN)
_COUNT: Final = select(func.count()).where(
    budget_changes.c.run_id == bindparam("run"), budget_changes.c.tenant_id == bindparam("tenant")
)
_ATTEMPTS: Final = (
    select(run_configurations.c.attempt, run_configurations.c.digest, configurations.c.content)
    .join(configurations, configurations.c.digest == run_configurations.c.digest)
    .where(
        run_configurations.c.run_id == bindparam("run"),
        run_configurations.c.tenant_id == bindparam("tenant"),
    )
    .order_by(run_configurations.c.attempt)
)
_CHANGES: Final = (
    select(budget_changes)
    .where(
        budget_changes.c.run_id == bindparam("run"),
        budget_changes.c.tenant_id == bindparam("tenant"),
    )
    .order_by(budget_changes.c.number)
)


class Executed(NamedTuple):
    """An attempt of a run, and what it was executed with."""

    attempt: int
    digest: str
    content: dict[str, Any]


class BudgetChange(NamedTuple):
    """How a run's limits were changed, and by whom."""

    at: datetime
    by: str
    how: How
    before: dict[str, Any]
    after: dict[str, Any]


class Recorded(NamedTuple):
    """What is recorded of a run beside its row."""

    executed: list[Executed]
    changes: list[BudgetChange]


def note_attempt(
    connection: Connection, ref: RunRef, attempt: int, digest: str, now: datetime
) -> None:
    """Write down with which configuration a run is executed under an attempt."""
    row = {"run_id": ref.run_id, "tenant_id": ref.tenant_id, "attempt": attempt}
    connection.execute(_ATTEMPT, {**row, "digest": digest, "claimed_at": now})


@contextmanager
def noting_limits(
    connection: Connection, ref: RunRef, *, by: str, how: How, now: datetime
) -> Iterator[None]:
    """Write down what becomes of the limits of a run whose row is held, where anything does."""
    before = _limits(connection, ref)
    yield
    after = _limits(connection, ref)
    if before == after:
        return
    number = connection.execute(_COUNT, named(ref)).scalar_one() + 1
    row = {"run_id": ref.run_id, "tenant_id": ref.tenant_id, "number": number}
    told = {"at": now, "changed_by": by, "how": how, "before": before, "after": after}
    connection.execute(_CHANGE, {**row, **told})


def _limits(connection: Connection, ref: RunRef) -> dict[str, Any]:
    row = connection.execute(_LIMITS, named(ref)).mappings().one()
    return {**(limits_of(row).stored() or {}), "max_rounds": row["max_rounds"]}


class SqlReceipts:
    """Remembers what receipts say."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, digest: str, content: Mapping[str, Any]) -> None:
        """Remember what a server is made of."""
        await self._database.write(keep_configuration, digest, content)

    async def of_run(self, ref: RunRef) -> Recorded:
        """Return what is recorded of a run, in order."""
        return await self._database.read(_of_run, ref)


def _of_run(connection: Connection, ref: RunRef) -> Recorded:
    executed = [Executed(*row) for row in connection.execute(_ATTEMPTS, named(ref))]
    changes = [
        BudgetChange(row.at, row.changed_by, row.how, row.before, row.after)
        for row in connection.execute(_CHANGES, named(ref))
    ]
    return Recorded(executed, changes)
