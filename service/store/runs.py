"""The run store: `domain.ports.RunStore` over SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, false, update

from domain.errors import CallerError
from domain.events import Event, EventDraft
from domain.forking import MadeCall, Seed
from domain.limits import DaySpent, Limits
from domain.ports import (
    Claim,
    Created,
    EarlierTurn,
    Ended,
    IdempotencyKey,
    Patched,
    Retried,
    RetryWish,
    RunPatch,
    RunQuery,
    RunRef,
)
from domain.run import Ending, MultitaskStrategy, Run
from domain.usage import ModelCall
from service.store import (
    allowances,
    cancelling,
    changes,
    endpoints,
    events,
    forking,
    keys,
    patching,
    queries,
    receipts,
    retrying,
)
from service.store.approvals import SqlApprovalStore
from service.store.artifacts import SqlArtifactStore
from service.store.changes import Writer
from service.store.database import Database
from service.store.naming import THE_RUN, named
from service.store.notes import SqlNoteStore
from service.store.ownership import FileOwner
from service.store.receipts import SqlReceipts
from service.store.tables import runs
from service.store.threads import Enqueue, Share, Turns

# Writes nothing, but needs all that writing needs: the right to, and a server that takes writes.
_PING = update(runs).where(false()).values(last_seq=0)


_NOTE_TRACE = (
    update(runs).where(*THE_RUN, runs.c.trace_url.is_(None)).values(trace_url=bindparam("url"))
)


class SqlRunStore:
    """Remembers runs in a database; what each method promises is said at the port.

    `enqueue`: called within a transaction with each run that it makes claimable; what it raises undoes
    the transaction. `max_per_caller`: runs of one caller that may be `running` at the same time. `share`:
    called within a transaction that gives one run the answer of another.
    """

    def __init__(
        self,
        database: Database,
        owner: FileOwner | None = None,
        *,
        enqueue: Enqueue | None = None,
        max_per_caller: int | None = None,
        share: Share | None = None,
    ) -> None:
        self._database = database
        self._owner = owner
        self._turns = Turns(enqueue=enqueue, max_per_caller=max_per_caller, share=share)
        self.approvals: Final = SqlApprovalStore(database, self._turns)
        """What people are asked about these runs."""
        self.artifacts: Final = SqlArtifactStore(database)
        """What these runs have produced."""
        self.notes: Final = SqlNoteStore(database, self._turns)
        """What these runs were told while they were under way."""
        self.receipts: Final = SqlReceipts(database)
        """What their receipts say beside their rows."""
        self.configuration: str | None = None
        """With what this process executes runs: the digest of one that `receipts` keeps."""

    async def announce(self, url: str) -> None:
        """Leave word beside the file at which address this process serves, for a second one."""
        if self._owner:
            await asyncio.to_thread(self._owner.announce, url)

    @property
    def database(self) -> Database:
        """Return the database, for whoever else keeps rows in it."""
        return self._database

    async def create(
        self,
        run: Run,
        draft: EventDraft,
        *,
        idempotency: IdempotencyKey | None = None,
        strategy: MultitaskStrategy = "enqueue",
        refusal: CallerError | None = None,
        seed: Seed | None = None,
    ) -> Created:
        """Commit the run, its first event, the idempotency record, the receiver and the seed together."""

        def write(connection: Connection) -> Created:
            created = changes.create(
                connection, run, draft, idempotency, strategy, self._turns, refusal
            )
            if run.webhook is not None and not created.replayed:
                # Last, so that whoever waits for it (two runs name it at once) waits for a commit alone.
                endpoints.ensure(connection, run.tenant_id, run.webhook.endpoint, run.created_at)
            if seed is not None and not created.replayed:
                forking.add(connection, RunRef(run.tenant_id, run.id), seed)
            return created

        return await self._database.write(write)

    async def seed(self, ref: RunRef) -> Seed | None:
        """Return what a fork begins with, `None` for any other run."""
        return await self._database.read(forking.find, ref)

    async def made(self, ref: RunRef) -> list[MadeCall]:
        """Return the calls that a run has made, or may have."""
        return await self._database.read(forking.made, ref)

    async def get(self, ref: RunRef) -> Run | None:
        """Return the run with its usage summed, or `None`."""
        return await self._database.read(queries.get, ref)

    async def find(self, tenant_id: str, query: RunQuery) -> list[Run]:
        """Return the matching runs, newest first, and one more than asked for."""
        return await self._database.read(queries.search, tenant_id, query)

    async def queued(
        self, most: int, *, tenant_id: str | None = None, caller_id: str | None = None
    ) -> int:
        """Return how many runs wait for their turn, at most `most`: those of all tenants, or of one caller."""
        return await self._database.read(queries.count_queued, most, tenant_id, caller_id)

    async def standing(self) -> dict[str, int]:
        """Return how many runs of all tenants have each status but those that have ended, and how many
        `approvals` are pending."""
        return await self._database.read(queries.standing)

    async def runnable(self, *, limit: int, exclude: Collection[str]) -> list[RunRef]:
        """Return the oldest runs that may be claimed now, of every tenant."""
        return await self._database.read(
            queries.runnable, limit, exclude, self._turns.max_per_caller
        )

    async def has_queued(self, *, exclude: Collection[str]) -> bool:
        """Return whether any run besides these is `queued`."""
        return await self._database.read(queries.has_queued, exclude)

    async def unfinished(self) -> list[RunRef]:
        """Return every run that is `running`, of every tenant."""
        return await self._database.read(queries.unfinished)

    async def claim(
        self, ref: RunRef, *, now: datetime, trace_url: str | None = None
    ) -> Claim | None:
        """Make the run `running` under a new attempt, or return `None`."""
        return await self._database.write(self._claim, ref, now, trace_url)

    def _claim(
        self, connection: Connection, ref: RunRef, now: datetime, trace_url: str | None
    ) -> Claim | None:
        claimed = changes.claim(connection, ref, now, self._turns, trace_url)
        if claimed is not None and self.configuration is not None:
            attempt = claimed.run.attempt
            receipts.note_attempt(connection, ref, attempt, self.configuration, now)
        return claimed

    async def note_trace(self, ref: RunRef, url: str) -> None:
        """Keep where the run's trace is seen."""
        await self._database.write(note_trace, ref, url)

    async def append(
        self,
        ref: RunRef,
        *,
        attempt: int,
        drafts: Sequence[EventDraft],
        calls: Sequence[ModelCall],
        now: datetime,
    ) -> list[Event]:
        """Append events and book model calls, or raise `OwnershipLostError`."""
        return await self._database.write(changes.append, Writer(ref, attempt, now), drafts, calls)

    async def finish(
        self,
        ref: RunRef,
        *,
        attempt: int,
        ending: Ending,
        drafts: Sequence[EventDraft],
        calls: Sequence[ModelCall] = (),
        now: datetime,
    ) -> Ended | None:
        """End the run with its last events, or return `None` where the attempt lost it."""
        return await self._database.write(
            changes.finish, Writer(ref, attempt, now), ending, drafts, calls, self._turns
        )

    async def cancel(
        self,
        ref: RunRef,
        *,
        ending: Ending,
        draft: EventDraft,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
    ) -> Ended | None:
        """Cancel an active run, or return `None`."""
        return await self._database.write(
            cancelling.cancel, ref, ending, draft, now, self._turns, idempotency
        )

    async def made_by(self, tenant_id: str, key: IdempotencyKey) -> Run | None:
        """Return the run that a key stands for, or `None`."""
        return await self._database.read(keys.made_by, tenant_id, key)

    async def patch(self, ref: RunRef, change: RunPatch, *, now: datetime) -> Patched | None:
        """Change a run that is there, or return `None`."""
        return await self._database.write(patching.patch, ref, change, now, self._turns)

    async def retry(
        self,
        ref: RunRef,
        wish: RetryWish,
        *,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
        refusal: CallerError | None = None,
    ) -> Retried | None:
        """Put a run that has ended back into the queue, or return `None`."""
        return await self._database.write(
            retrying.retry, ref, wish, now, self._turns, idempotency, refusal
        )

    async def limits(self, ref: RunRef) -> Limits | None:
        """Return what a run may spend as it stands now."""
        return await self._database.read(allowances.limits, ref)

    async def raised(self, ref: RunRef, agent: str, args: Mapping[str, Any]) -> int:
        """Return how often an agent's question about these limits was answered by raising them."""
        return await self._database.read(allowances.raised, ref, agent, args)

    async def spent_since(self, tenant_id: str, caller_id: str, since: datetime) -> DaySpent:
        """Return what the runs of a caller have used since a time."""
        return await self._database.read(allowances.of_day, tenant_id, caller_id, since)

    async def events(
        self, ref: RunRef, *, after: int, limit: int, types: Collection[str] | None = None
    ) -> list[Event]:
        """Return stored events in order."""
        return await self._database.read(events.page, ref, after, limit, types)

    async def earlier_turns(self, run: Run, *, limit: int) -> list[EarlierTurn]:
        """Return the latest answered runs of the thread before this one, oldest first."""
        return await self._database.read(queries.earlier_turns, run, limit)

    async def ping(self) -> None:
        """Raise unless the database answers."""
        await self._database.write(ping)


def ping(connection: Connection) -> None:
    """Raise unless the database answers and takes writes."""
    connection.execute(_PING)


def note_trace(connection: Connection, ref: RunRef, url: str) -> None:
    """Keep where a run's trace is seen, where the run has no such address."""
    connection.execute(_NOTE_TRACE, {**named(ref), "url": url})
