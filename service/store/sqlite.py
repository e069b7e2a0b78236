"""A connection to SQLite that crosses to its thread once per statement.

The driver crosses for the cursor, the statement, the rows and the close: four times, each dearer
than the statement itself. Here one crossing does all four, and the first of a transaction brings
its `BEGIN` along.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

import aiosqlite

BUSY_TIMEOUT: Final = 5.0  # seconds; the checkpointer writes to the same file
CACHED_STATEMENTS: Final = 256
FETCH_CHUNK: Final = 64  # rows; the driver wants it, nothing here iterates

Begin = Literal["BEGIN IMMEDIATE", ""]
"""How a transaction starts: as a writer, or not at all (each statement stands alone)."""


async def connect(database: str) -> Connection:
    """Open a connection to a file, or to `:memory:`."""
    connection = Connection(partial(_open, database), FETCH_CHUNK)
    await connection
    return connection


def _open(database: str) -> sqlite3.Connection:
    # Without an isolation level the module starts no transaction by itself.
    connection = sqlite3.connect(
        database,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        cached_statements=CACHED_STATEMENTS,
    )
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


class Connection(aiosqlite.Connection):
    """The driver's connection with cheaper cursors and a `BEGIN` that waits for a statement."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        # A connection that nobody closed must not keep the process from ending.
        self._thread.daemon = True
        self._begin = ""
        self._open = False

    def begin(self, statement: Begin) -> None:
        """Start a transaction together with its first statement."""
        self._begin = statement

    async def cursor(self) -> Cursor:  # type: ignore[override]  # the dialect only awaits it
        """Return a cursor; nothing crosses to the thread yet."""
        return Cursor(self)

    async def call(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Do one statement's work on the thread, after the `BEGIN` where one is due."""
        begin, self._begin = self._begin, ""
        # Set before the await: a caller cancelled in it must still roll back, and what it queued
        # is done first.
        self._open = self._open or bool(begin)
        answer: Answer = await self._execute(  # type: ignore[no-untyped-call]  # the driver's
            self._work, begin, work
        )
        return answer

    def _work(self, begin: str, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        if begin:
            self._conn.execute(begin).close()
        return work(self._conn)

    async def commit(self) -> None:
        """Commit, if any statement began a transaction."""
        await self._end(self._conn.commit)

    async def rollback(self) -> None:
        """Roll back, if any statement began a transaction."""
        await self._end(self._conn.rollback)

    async def _end(self, end: Callable[[], None]) -> None:
        self._begin = ""
        if self._open:
            await self._execute(end)  # type: ignore[no-untyped-call]  # the driver's
            self._open = False


class Answer:
    """What a statement left behind."""

    __slots__ = ("description", "lastrowid", "rowcount", "rows")

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.description = cursor.description
        self.rows: list[Any] = cursor.fetchall() if cursor.description else []
        self.lastrowid = cursor.lastrowid
        self.rowcount = cursor.rowcount
        cursor.close()


class Cursor:
    """What the dialect needs of a cursor; the rows are there as soon as the statement ran."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answer: Answer | None = None

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement and keep its rows."""
        self._answer = await self._connection.call(lambda c: Answer(c.execute(sql, parameters)))

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each of the parameters."""
        self._answer = await self._connection.call(lambda c: Answer(c.executemany(sql, parameters)))

    async def fetchall(self) -> list[Any]:
        """Return the rows."""
        return self._answer.rows if self._answer else []

    async def close(self) -> None:
        """Do nothing: the thread closed its cursor already."""

    @property
    def description(self) -> tuple[tuple[str, None, None, None, None, None, None], ...] | None:
        """Return the columns, or `None` where the statement has none."""
        return self._answer.description if self._answer else None

    @property
    def lastrowid(self) -> int | None:
        """Return the row id of the last insert."""
        return self._answer.lastrowid if self._answer else None

    @property
    def rowcount(self) -> int:
        """Return how many rows were written."""
        return self._answer.rowcount if self._answer else -1
