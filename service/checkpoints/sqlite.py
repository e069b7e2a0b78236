"""LangGraph's checkpoints in the service's own SQLite file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from domain.ports import Clock
from domain.run import Run
from domain.usage import ModelCall
from service.checkpoints.base import Reached, Saver
from service.store import SqliteDatabase
from service.store.conflicts import BOOKING, booking_sql
from service.store.rows import call_row, money_text

_PUT: Final = (
    "INSERT OR REPLACE INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id,"
    " parent_checkpoint_id, type, checkpoint, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_WRITE: Final = (
    "INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel,"
    " type, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# A special write (an error, an interrupt) replaces its forerunner; an ordinary one is final.
_REPLACE_WRITE: Final = f"INSERT OR REPLACE {_WRITE}"
_KEEP_WRITE: Final = f"INSERT OR IGNORE {_WRITE}"
_BOOK: Final = booking_sql("?")
_CLOSE: Final = "DELETE FROM usage WHERE run_id = ? AND key = ? AND status = 'open'"


class DeferringSaver(AsyncSqliteSaver):
    """The SQLite saver that saves behind: its rows go along with the event log's next write.

    The stock saver crosses to its thread three times for every save, one save after the other,
    which costs half as much again as the whole run. Here a save costs no crossing of its own. What
    the event log tells is saved before the log tells it; what nobody was told, a crash may undo.
    Reading is the stock saver's, on a connection of its own.
    """

    def __init__(self, connection: aiosqlite.Connection, database: SqliteDatabase) -> None:
        super().__init__(connection)
        self._database = database
        self._fresh: dict[str, set[str]] = {}
        self._reached: dict[str, Reached] = {}

    def begin(self, thread_id: str, *, fresh: bool) -> None:
        """Follow what is saved of a thread. `fresh`: nothing is yet, and looking for it costs four reads."""
        self._reached[thread_id] = Reached()
        if fresh:
            self._fresh[thread_id] = set()

    def end(self, thread_id: str) -> None:
        """Forget what `begin` said."""
        self._fresh.pop(thread_id, None)
        self._reached.pop(thread_id, None)

    async def reach(self, thread_id: str, steps: Mapping[str, str]) -> None:
        """Return when these checkpoints have been handed over."""
        reached = self._reached.get(thread_id)
        if reached:
            await reached.wait(steps)

    def _note(self, thread_id: str, namespace: str, checkpoint_id: str) -> None:
        reached = self._reached.get(thread_id)
        if reached:
            reached.note(namespace, checkpoint_id)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint a config means, or `None`."""
        own = config["configurable"]
        saved = self._fresh.get(str(own["thread_id"]))
        if saved is not None and own.get("checkpoint_ns", "") not in saved:
            return None
        await self._database.flush()
        found = await super().aget_tuple(config)
        if found:
            self._note(str(own["thread_id"]), own.get("checkpoint_ns", ""), found.checkpoint["id"])
        return found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the base class's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, the newest first."""
        await self._database.flush()
        async for found in super().alist(config, filter=filter, before=before, limit=limit):
            yield found

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all that is saved of a thread."""
        await self._database.flush()
        await super().adelete_thread(thread_id)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - the base class's signature
    ) -> RunnableConfig:
        """Save a checkpoint; return the config that finds it again."""
        own = config["configurable"]
        type_, blob = self.serde.dumps_typed(checkpoint)
        about = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False)
        thread_id, namespace = str(own["thread_id"]), str(own["checkpoint_ns"])
        row = (
            thread_id,
            namespace,
            checkpoint["id"],
            own.get("checkpoint_id"),
            type_,
            blob,
            about.encode("utf-8", "ignore"),
        )
        if thread_id in self._fresh:
            self._fresh[thread_id].add(namespace)
        self._database.defer(_PUT, [row])
        self._note(thread_id, namespace, checkpoint["id"])
        return {
            "configurable": {
                "thread_id": own["thread_id"],
                "checkpoint_ns": own["checkpoint_ns"],
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save what a task has produced, before its superstep ends."""
        own = config["configurable"]
        place = (str(own["thread_id"]), str(own["checkpoint_ns"]), str(own["checkpoint_id"]))
        rows = [
            (
                *place,
                task_id,
                task_path,
                WRITES_IDX_MAP.get(channel, index),
                channel,
                *self.serde.dumps_typed(value),
            )
            for index, (channel, value) in enumerate(writes)
        ]
        if not rows:
            return
        special = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        sql = _REPLACE_WRITE if special else _KEEP_WRITE
        self._database.defer(sql, rows)


def booking(
    run: Run, call: ModelCall, now: datetime, *, status: str | None = None
) -> tuple[Any, ...]:
    """Return a call as a row of `usage`, the way the store writes one to SQLite."""
    row = call_row(call, tenant_id=run.tenant_id, run_id=run.id, now=now)
    row["ts"] = now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    row |= money_text(call)
    row["status"] = status or call.status
    return tuple(row[name] for name in BOOKING)


class SqliteCheckpoints:
    """`service.checkpoints.base.Checkpoints` in a SQLite file, which one process owns."""

    def __init__(self, saver: DeferringSaver, database: SqliteDatabase, clock: Clock) -> None:
        self.saver: Final = saver
        self._database = database
        self._clock = clock
        self._segments: dict[str, Run] = {}

    @asynccontextmanager
    async def segment(self, run: Run) -> AsyncIterator[Saver]:
        """Yield the one saver there is: a claim here waits for the segment before it."""
        self._segments[run.id] = run
        self.saver.begin(run.id, fresh=run.attempt == 1)
        try:
            yield self.saver
        finally:
            self.saver.end(run.id)
            if self._segments.get(run.id) is run:
                del self._segments[run.id]

    def book(self, run_id: str, call: ModelCall) -> None:
        """Book a call with the rows that are handed over."""
        run = self._segments.get(run_id)
        if run:
            self._database.defer(_BOOK, [booking(run, call, self._clock.now())])

    async def open(self, run_id: str, call: ModelCall | None) -> None:
        """Commit that a call is being made, with the rows that were handed over before."""
        run = self._segments.get(run_id)
        if run and call:
            row = booking(run, call, self._clock.now(), status="open")
            self._database.defer(_BOOK, [row])
        await self._database.settle()

    async def close(self, run_id: str, key: str) -> None:
        """Forget a call with the rows that are handed over."""
        self._database.defer(_CLOSE, [(run_id, key)])

    async def settle(self, run_id: str) -> None:
        """Return when what was handed over is committed, or cannot be."""
        del run_id
        await self._database.settle()

    async def reach(self, run_id: str, steps: Mapping[str, str]) -> None:
        """Return when these steps have been handed over: the ledger's own write takes them along."""
        await self.saver.reach(run_id, steps)

    async def pass_by(self, run_id: str, since: str | None) -> None:
        """Do nothing: the transaction that made the run wait has dropped it."""

    async def flush(self, run_id: str) -> None:
        """Return at once: the rows go along with whatever is written next."""


@asynccontextmanager
async def open_sqlite_checkpoints(
    path: Path, database: SqliteDatabase, clock: Clock
) -> AsyncIterator[SqliteCheckpoints]:
    """Open the checkpoints in the file of a run store, which has to be open."""
    async with aiosqlite.connect(path) as connection:
        saver = DeferringSaver(connection, database)
        await saver.setup()
        yield SqliteCheckpoints(saver, database, clock)
