"""LangGraph's checkpoints in the service's own Postgres, refused to whoever has lost the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any, Final

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from domain.errors import OwnershipLostError, StoreUnavailableError
from domain.ports import Clock
from domain.run import Run
from domain.usage import ModelCall
from service.checkpoints.base import Reached, Saver
from service.store.conflicts import BOOKING, booking_sql
from service.store.postgres import bound_transactions
from service.store.rows import call_row, money_text

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]

CONNECT_SECONDS: Final = 10.0
"""How long a save waits for a connection before its segment ends, to go on later."""

BOOK_SECONDS: Final = 5.0
"""How long a segment that ends may take to book what it has not booked."""

IDLE_SECONDS: Final = 300.0
"""How long a connection nobody uses stays open."""

# FOR SHARE: a claim, which writes the row, waits for the save, and a save that comes after it finds
# another attempt. Between this check and the commit nothing can change.
_FENCE: Final = (
    "SELECT 1 FROM runs WHERE id = %s AND tenant_id = %s AND attempt = %s"
    " AND status = 'running' FOR SHARE"
)
_BOOK: Final = booking_sql("%s").encode()
_CLOSE: Final = "DELETE FROM usage WHERE run_id = %s AND key = %s AND status = 'open'"


_AWAY: Final = (psycopg.OperationalError, psycopg.InternalError, psycopg.InterfaceError)
"""What says nothing about the run: the server or the way to it is gone, a session was ended for idling
in a transaction, a standby takes no writes. The pool's own errors are of the first kind."""


class _Handed:
    """What a segment has handed over, shared by the copies of its saver: LangGraph copies it, attributes
    and all, for a graph inside the run's own (`BaseCheckpointSaver.with_allowlist`)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        """Model calls that the next save books first."""
        self.failure: OwnershipLostError | StoreUnavailableError | None = None
        """Why a save was not made; none is made after it."""
        self._unsaved = 0
        self._saved = asyncio.Event()
        self._saved.set()

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Count a save; raises what an earlier one failed of."""
        self.raise_failure()
        self._unsaved += 1
        self._saved.clear()
        try:
            yield
        except (OwnershipLostError, StoreUnavailableError) as error:
            self.failure = error
            raise
        finally:
            self._unsaved -= 1
            if not self._unsaved:
                self._saved.set()

    async def saved(self) -> None:
        """Return when all that was handed over is committed; raises where it could not be."""
        await self._saved.wait()
        self.raise_failure()

    def take_calls(self) -> list[tuple[Any, ...]]:
        """Return the calls to book now."""
        calls, self.calls = self.calls, []
        return calls

    def raise_failure(self) -> None:
        """Raise what a save failed of, if one has."""
        if self.failure:
            raise self.failure


class FencedSaver(AsyncPostgresSaver):
    """The Postgres saver of one segment: every save is refused once the run is somebody else's.

    One for each segment, because a saver does one thing at a time; they share the pool.
    """

    def __init__(self, pool: Pool, run: Run) -> None:
        super().__init__(pool)
        self._pool = pool
        self._run = run
        self._handed = _Handed()
        self._reached = Reached()
        self._fresh: set[str] | None = set() if run.attempt == 1 else None
        """The namespaces saved so far, where there can be no others."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        """Yield a cursor; every write of the base class asks for one with a pipeline."""
        with self._telling():
            async with (
                self.lock,
                self._pool.connection() as connection,
                connection.cursor(binary=True, row_factory=dict_row) as cursor,
            ):
                if not pipeline:
                    yield cursor
                    return
                async with connection.transaction():
                    await self._check(cursor)
                    await self._book(cursor)
                    yield cursor

    async def _check(self, cursor: AsyncCursor[DictRow]) -> None:
        run = self._run
        await cursor.execute(_FENCE, (run.id, run.tenant_id, run.attempt))
        if await cursor.fetchone() is None:
            msg = f"attempt {run.attempt} does not own run {run.id!r} any more"
            raise OwnershipLostError(msg)

    def book(self, call: ModelCall, now: datetime) -> None:
        """Book a model call with the next save."""
        self._handed.calls.append(self._row(call, now, status=call.status))

    def _row(self, call: ModelCall, now: datetime, *, status: str) -> tuple[Any, ...]:
        run = self._run
        row = call_row(call, tenant_id=run.tenant_id, run_id=run.id, now=now)
        row |= {**money_text(call), "status": status}
        return tuple(row[name] for name in BOOKING)

    async def open(self, call: ModelCall, now: datetime) -> None:
        """Commit that a call is being made."""
        async with self._cursor(pipeline=True) as cursor:
            await cursor.execute(_BOOK, self._row(call, now, status="open"))

    async def close(self, key: str) -> None:
        """Forget a call that was not made, or that nobody bills."""
        async with self._pool.connection() as connection:
            await connection.execute(_CLOSE, (self._run.id, key))

    async def book_rest(self) -> None:
        """Book what no save has booked: it was paid, whoever owns the run now."""
        calls = self._handed.take_calls()
        if calls:
            async with self._pool.connection() as connection, connection.cursor() as cursor:
                await cursor.executemany(_BOOK, calls)

    async def _book(self, cursor: AsyncCursor[DictRow]) -> None:
        # The event log books them again, so that one which is lost with this save is not lost.
        calls = self._handed.take_calls()
        if calls:
            await cursor.executemany(_BOOK, calls)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what the driver raises into what the executor understands."""
        try:
            yield
        except _AWAY as error:
            msg = f"checkpoints of run {self._run.id!r} cannot be reached: {error}"
            raise StoreUnavailableError(msg) from error

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint a config means, or `None`."""
        namespace = config["configurable"].get("checkpoint_ns", "")
        if self._fresh is not None and namespace not in self._fresh:
            return None  # a first attempt finds only what it has saved itself
        found = await super().aget_tuple(config)
        if found:
            self._reached.note(namespace, found.checkpoint["id"])
        return found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint; return the config that finds it again."""
        if self._fresh is not None:
            self._fresh.add(config["configurable"]["checkpoint_ns"])
        with self._handed.saving():
            saved = await super().aput(config, checkpoint, metadata, new_versions)
        self._reached.note(config["configurable"]["checkpoint_ns"], checkpoint["id"])
        return saved

    async def reach(self, steps: Mapping[str, str]) -> None:
        """Return when these checkpoints are committed."""
        self._handed.raise_failure()
        await self._reached.wait(steps)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save what a task has produced, before its superstep ends."""
        with self._handed.saving():
            await super().aput_writes(config, writes, task_id, task_path)

    async def flush(self) -> None:
        """Return when all that was handed over is committed; raises where it could not be."""
        # LangGraph saves in tasks of its own: those it has made by now may not have begun.
        await asyncio.sleep(0)
        await self._handed.saved()


class ReadingSaver(AsyncPostgresSaver):
    """A saver that belongs to no segment, so that it may only read."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        if pipeline:
            msg = "only a segment saves checkpoints; take its saver from `segment`"
            raise RuntimeError(msg)
        async with super()._cursor() as cursor:
            yield cursor


class PostgresCheckpoints:
    """`service.checkpoints.base.Checkpoints` in Postgres: a saver for every segment over one pool."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._segments: dict[str, FencedSaver] = {}
        self.saver: Saver = ReadingSaver(pool)

    @asynccontextmanager
    async def segment(self, run: Run) -> AsyncIterator[Saver]:
        """Yield a saver of the run's own."""
        saver = self._segments[run.id] = FencedSaver(self._pool, run)
        try:
            yield saver
        finally:
            if self._segments.get(run.id) is saver:
                del self._segments[run.id]
            await self._end(saver)

    async def _end(self, saver: FencedSaver) -> None:
        """Book what is left of a segment, for a while: a database that is away keeps nobody from ending."""
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(BOOK_SECONDS):
                await saver.book_rest()

    def book(self, run_id: str, call: ModelCall) -> None:
        """Book a call with the next save."""
        saver = self._segments.get(run_id)
        if saver:
            saver.book(call, self._clock.now())

    async def open(self, run_id: str, call: ModelCall | None) -> None:
        """Commit that a call is being made, after what was saved before."""
        await self.flush(run_id)
        saver = self._segments.get(run_id)
        if saver and call:
            await saver.open(call, self._clock.now())

    async def close(self, run_id: str, key: str) -> None:
        """Forget a call; one that cannot be forgotten now is lost when the run ends, and counts."""
        saver = self._segments.get(run_id)
        if saver:
            with suppress(psycopg.Error):
                await saver.close(key)

    async def settle(self, run_id: str) -> None:
        """Return when what was saved is committed; raises where it cannot be, before more is paid."""
        await self.flush(run_id)

    async def reach(self, run_id: str, steps: Mapping[str, str]) -> None:
        """Return when these steps are committed; raises where they cannot be."""
        saver = self._segments.get(run_id)
        if saver:
            await saver.reach(steps)

    async def pass_by(self, run_id: str, since: str | None) -> None:
        """Do nothing: the transaction that made the run wait has dropped it."""

    async def flush(self, run_id: str) -> None:
        """Return when what was saved is committed; raises where it cannot be."""
        saver = self._segments.get(run_id)
        if saver:
            await saver.flush()


@asynccontextmanager
async def open_postgres_checkpoints(
    conninfo: str, clock: Clock, *, pool_size: int
) -> AsyncIterator[PostgresCheckpoints]:
    """Open the checkpoints in the Postgres of a run store, whose tables are there already."""
    pool: Pool = AsyncConnectionPool(
        conninfo,
        min_size=1,
        max_size=pool_size,
        timeout=CONNECT_SECONDS,
        max_idle=IDLE_SECONDS,
        open=False,
        check=AsyncConnectionPool.check_connection,
        configure=bound_transactions,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    )
    async with pool:
        yield PostgresCheckpoints(pool, clock)
