"""Runs a piece of work against the database, in one transaction, without blocking the event loop."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from service.store.columns import to_json
from service.store.exact import add_functions

P = ParamSpec("P")
T = TypeVar("T")

Row = tuple[Any, ...]
Deferred = dict[str, list[Row]]
"""Rows to insert, by the statement that inserts them."""

BUSY_TIMEOUT: Final = 5.0  # seconds; only another program could hold the file
MEMORY: Final = ":memory:"
DEFER_SECONDS: Final = 0.05
"""The longest a deferred row waits for a write to go along with."""

_log = logging.getLogger("signalbox.store")


class Database(Protocol):
    """The two ways of using a database. Work is a function of a connection, so one text of it serves
    every database; it never awaits."""

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the work in a transaction that may write; an exception undoes all of it."""
        ...

    async def write_through(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same, and return only when not even a power cut takes it back."""
        ...

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do work that only reads; each statement sees what is committed when it starts."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class SqliteDatabase:
    """A SQLite file: one thread that writes, and beside it one that reads.

    A whole transaction crosses to its thread once. The asynchronous driver crosses for every
    statement, and a crossing is dearer than the statement: it cost twice the CPU. SQLite has one
    writer anyway; here writers queue in the order they come instead of polling the file's lock.
    A caller that is cancelled meanwhile leaves a transaction that is done or undone as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._writer = _Lane("store-writer", open_sqlite(path, begin="BEGIN IMMEDIATE"))
        self._reader = _Lane("store-reader", open_sqlite(path, begin=""))
        self._deferred: Deferred = {}
        self._carrier: asyncio.Future[Any] | None = None
        """The last write under way that has deferred rows with it."""
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushing: set[asyncio.Task[None]] = set()

    def defer(self, sql: str, rows: list[Row]) -> None:
        """Insert rows in a transaction before the next write, or within `DEFER_SECONDS`.

        For rows that nobody waits for but that must be there before what is written next. Rows of
        one statement keep their order; those of two statements must not depend on each other.
        """
        self._deferred.setdefault(sql, []).extend(rows)
        if self._flush_timer is None:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(DEFER_SECONDS, self._flush_soon)

    async def settle(self) -> None:
        """Return when what was deferred is committed; where that fails, it goes with the next write.

        That write's failure is the one that counts: it ends the segment, and nothing was told yet.
        """
        try:
            await self.flush()
        except Exception:  # noqa: BLE001 - the rows are kept, and the next write reports it
            _log.exception("Rows could not be written yet.", extra={"action": "flush_failed"})

    async def flush(self) -> None:
        """Return when what was deferred is committed; raises where that fails."""
        if self._deferred:
            await self.write(_nothing)
        elif self._carrier:
            # The rows are on their way already: wait for that write, whoever made it.
            await asyncio.wait([self._carrier])
            if self._deferred:  # it failed, and gave the rows back
                await self.write(_nothing)

    def _flush_soon(self) -> None:
        self._flush_timer = None
        # In a context of its own: what waits is not of one run or request.
        task = asyncio.create_task(self.settle(), name="store flush", context=Context())
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)

    def _carried(self, deferred: Deferred, written: asyncio.Future[Any]) -> None:
        if self._carrier is written:
            self._carrier = None
        if not written.cancelled() and isinstance(written.exception(), _NotInsertedError):
            newer, self._deferred = self._deferred, deferred
            for sql, rows in newer.items():
                self._deferred.setdefault(sql, []).extend(rows)

    def _take_deferred(self) -> Deferred:
        if self._flush_timer:
            self._flush_timer.cancel()
            self._flush_timer = None
        deferred, self._deferred = self._deferred, {}
        return deferred

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the work in a transaction that may write; an exception undoes all of it."""
        deferred = self._take_deferred()
        return await self._follow(deferred, self._writer.run(deferred, work, *args, **kwargs))

    async def write_through(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same, and see it onto the disk: with it go all the commits before it."""
        deferred = self._take_deferred()
        return await self._follow(
            deferred, self._writer.run_through(deferred, work, *args, **kwargs)
        )

    async def _follow(self, deferred: Deferred, written: asyncio.Future[T]) -> T:
        """Return what was written, and keep an eye on the rows that go with it."""
        if deferred:
            self._carrier = written
            written.add_done_callback(partial(self._carried, deferred))
        return await written

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do work that only reads; each statement sees what is committed when it starts."""
        return await self._reader.run({}, work, *args, **kwargs)

    async def empty_log(self) -> None:
        """Copy the log into the file and cut it to nothing: it holds pages as they were before.

        Where a reader is in the way it stays as it is, and is written over by what comes next.
        """
        await self._writer.run_alone("PRAGMA wal_checkpoint(TRUNCATE)")

    async def close(self) -> None:
        """Finish what was handed over and close the connections."""
        await self.flush()
        await self._reader.close()
        await self._writer.close()


class MemoryDatabase:
    """A SQLite database in memory: there is no disk to wait for, so no thread either."""

    def __init__(self) -> None:
        self._engine = open_sqlite(None, begin="BEGIN IMMEDIATE")

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the work in a transaction that may write; an exception undoes all of it."""
        with self._engine.begin() as connection:
            return work(connection, *args, **kwargs)

    async def write_through(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same: a power cut takes all of it."""
        return await self.write(work, *args, **kwargs)

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do work that only reads."""
        return await self.write(work, *args, **kwargs)

    async def close(self) -> None:
        """Drop the database."""
        self._engine.dispose()


def _insert(connection: Connection, deferred: Deferred) -> None:
    """Insert rows in a transaction of their own: they stand even where what follows is undone."""
    # The driver itself: the toolkit would cost more than SQLite does.
    driver = cast("sqlite3.Connection", connection.connection.driver_connection)
    try:
        driver.execute("BEGIN IMMEDIATE")
        for sql, rows in deferred.items():
            driver.executemany(sql, rows)
        driver.commit()
    except sqlite3.Error as error:
        driver.rollback()
        msg = f"rows that waited could not be written: {error}"
        raise _NotInsertedError(msg) from error


def _nothing(_connection: Connection) -> None:
    """Do nothing: what was deferred is done before it."""


class _NotInsertedError(Exception):
    """The deferred rows of a write were not written, and so nothing else was."""


@contextmanager
def _synchronous(connection: Connection) -> Iterator[None]:
    """Have SQLite wait for the disk at each commit. Only between transactions can that be changed."""
    driver = cast("sqlite3.Connection", connection.connection.driver_connection)
    driver.execute("PRAGMA synchronous = FULL").close()
    try:
        yield
    finally:
        driver.execute("PRAGMA synchronous = NORMAL").close()


class _Lane:
    """One connection and the only thread that uses it."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def run(
        self,
        first: Deferred,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> asyncio.Future[T]:
        call = partial(self._transact, first, work, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def run_through(
        self,
        first: Deferred,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> asyncio.Future[T]:
        def transact() -> T:
            with self._engine.connect() as connection, _synchronous(connection):
                return self._transact(first, work, *args, **kwargs)

        return asyncio.get_running_loop().run_in_executor(self._thread, transact)

    def run_alone(self, sql: str) -> asyncio.Future[None]:
        """Execute a statement outside of any transaction."""

        def execute() -> None:
            with self._engine.connect() as connection:
                driver = cast("sqlite3.Connection", connection.connection.driver_connection)
                driver.execute(sql).close()

        return asyncio.get_running_loop().run_in_executor(self._thread, execute)

    def _transact(
        self,
        first: Deferred,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with self._engine.connect() as connection:
            if first:
                _insert(connection, first)
            with connection.begin():
                return work(connection, *args, **kwargs)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=False)


def open_sqlite(path: Path | None, *, begin: str) -> Engine:
    """Return an engine of one connection; `begin` starts its transactions."""
    engine = create_engine(
        URL.create("sqlite", database=MEMORY if path is None else str(path)),
        poolclass=StaticPool,
        # A failing statement would put its values, tasks among them, into the log.
        hide_parameters=True,
        # The module itself starts no transaction; one thread at a time uses the connection.
        connect_args={
            "timeout": BUSY_TIMEOUT,
            "isolation_level": None,
            "check_same_thread": False,
        },
        json_serializer=to_json,
    )
    pragmas = (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
        # What is deleted is gone from the file too, and not only from its tables.
        "secure_delete = ON",
        # Half of what it is by default: the log never shrinks again, and is a third of a small file.
        "wal_autocheckpoint = 500",
    )

    @event.listens_for(engine, "connect")
    def _tune(connection: sqlite3.Connection, _record: object) -> None:
        add_functions(connection)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    if begin:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # At once as a writer: reading first under a plain BEGIN loses to "database is locked".
            connection.exec_driver_sql(begin)

    return engine
