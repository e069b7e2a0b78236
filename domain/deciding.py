"""The seam of approvals: what people are asked, and how their decisions are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from domain.approval import ActionRecord, Approval, Decision, Settled
from domain.events import Event
from domain.ports import IdempotencyKey, RunRef
from domain.run import Run


class Waiting(NamedTuple):
    """A run that asks a person, or does not have to."""

    answers: dict[str, dict[str, Any]] | None
    """What was decided, by approval id; `None` where the run waits now."""
    remembered: frozenset[str] = frozenset()
    """With answers: the tools that are approved for the rest of the run."""
    run: Run | None = None
    events: tuple[Event, ...] = ()


class Decided(NamedTuple):
    """What a decision led to."""

    approvals: list[Approval]
    """As they stand now, in the order asked for."""
    replayed: bool
    """Whether all of it had been decided so before."""
    events: tuple[Event, ...] = ()
    run: Run | None = None
    """The run, where the decision lets it go on or ends it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One decision about one approval, checked as far as that can be without the database."""

    approval_id: str
    decision: Decision
    comment: str | None = None
    remember: Literal["run"] | None = None
    args_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class ApprovalQuery:
    """Which approvals to list; newest first."""

    status: str | None = None
    run_id: str | None = None
    limit: int = 20
    before: str | None = None
    """Only approvals that were asked for before this one."""


class ApprovalStore(Protocol):
    """What people are asked and have decided. Every method takes the tenant."""

    async def get(self, tenant_id: str, approval_id: str) -> Approval | None:
        """Return an approval, or `None` where the tenant has no such one."""
        ...

    async def find(self, tenant_id: str, query: ApprovalQuery) -> list[Approval]:
        """Return up to `query.limit + 1` approvals, newest first."""
        ...

    async def wait_for(
        self,
        ref: RunRef,
        *,
        attempt: int,
        approval_ids: Sequence[str],
        since: str | None,
        now: datetime,
    ) -> Waiting:
        """Make the run wait for a person, unless all of the approvals have been decided meanwhile.

        One transaction: status, event and, where others may execute now, their place in the queue.
        Checkpoints that only the steps up to here needed are dropped: agents' own, and the run's own
        from `since` on. Raises `OwnershipLostError` where the attempt has lost the run, and
        `RunFailedError` where an approval has expired that ends its run."""
        ...

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
        """Record decisions about approvals of one run, all or none, and put the run into the queue where
        no other approval of it is open, in one transaction. `link`: what is kept of the link by which it is
        decided, which is used up then.

        Of contradicting decisions at once one wins; the same again is a replay. Raises `CallerError`:
        `not-found`, `forbidden`, `approval-already-decided`, `approval-expired`, `approval-cancelled`,
        `approval-args-changed`, `idempotency-key-reuse`."""
        ...

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
        """Settle an action that is in doubt; the same again is a replay. Raises `CallerError`."""
        ...

    async def expire(self, *, now: datetime, limit: int) -> list[Decided]:
        """Close approvals whose time is over, of every tenant; return what that led to, run by run."""
        ...

    async def records(self, ref: RunRef) -> tuple[list[Approval], list[ActionRecord]]:
        """Return all that was asked and done in a run, in order."""
        ...
