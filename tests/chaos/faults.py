"""Ends or stops this process at one chosen durable write: right before its commit, or right after it.

The product knows nothing of it. What is wrapped is the commit of the database drivers, so every
transaction that changes something is a fault point, whoever made it.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakKeyDictionary

import orjson
from psycopg._connection_base import BaseConnection
from psycopg._cursor_base import BaseCursor

PLAN: Final = "chaos-plan.json"
WRITES: Final = "chaos-writes.jsonl"
DATABASE: Final = "signalbox.db"
"""The product's own file; the index of documents is another one, and can be built again."""

When = Literal["before", "after", "frozen", "frozen after"]
"""Killed before or after the commit, or stopped there, to go on when the process is woken."""

_WRITE: Final = re.compile(
    r"\s*(?:WITH\b.*?)?(?:INSERT(?: OR \w+)? INTO|(?<!FOR )UPDATE|DELETE FROM)\s+\"?(\w+)",
    re.IGNORECASE | re.DOTALL,
)
_EVENT: Final = re.compile(
    r"(?:action|agent|approval|artifact|message|run|supervisor|tool|usage)\.[a-z_]+"
)
_QUOTED_EVENT: Final = re.compile(rf"'({_EVENT.pattern})'")
_QUEUE: Final = "procrastinate_"
"""The queue's own tables: what it keeps of its workers is no write of a run."""


class Plan(NamedTuple):
    """What a running process is asked to do: count the writes and, at one of them, die or stop."""

    name: str
    """Another name starts the count anew."""
    point: int = 0
    """The number of the write, from 1; 0 only counts."""
    when: When = "before"
    of: str = ""
    """Only writes that change this are counted, such as a table."""


class Write(NamedTuple):
    """One durable write as a process has counted it."""

    name: str
    number: int
    what: str


def arm(folder: Path, plan: Plan) -> None:
    """Give the process that works in the folder its plan, whole or not at all."""
    draft = folder / f"{PLAN}.draft"
    draft.write_bytes(orjson.dumps(tuple(plan)))
    draft.replace(folder / PLAN)


def disarm(folder: Path) -> None:
    """Take the plan away: nothing is counted any more."""
    (folder / PLAN).unlink(missing_ok=True)


def counted(folder: Path, name: str) -> list[Write]:
    """Return the writes that were counted under a plan."""
    path = folder / WRITES
    lines = path.read_bytes().splitlines() if path.exists() else []
    writes = [Write(*orjson.loads(line)) for line in lines]
    return [write for write in writes if write.name == name]


class FaultPoints:
    """Counts the durable writes of this process and ends or stops it where the plan says so."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._name = ""
        self._number = 0

    @contextmanager
    def commit(self, what: str) -> Iterator[None]:
        """Surround a commit that makes a write durable."""
        when = self._count(what)
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        elif when == "frozen":
            os.kill(os.getpid(), signal.SIGSTOP)
        yield
        if when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        elif when == "frozen after":
            os.kill(os.getpid(), signal.SIGSTOP)

    def _count(self, what: str) -> When | None:
        with self._lock:
            try:
                plan = Plan(*orjson.loads((self._folder / PLAN).read_bytes()))
            except FileNotFoundError:
                return None
            if plan.name != self._name:
                self._name, self._number = plan.name, 0
            if plan.of not in what:
                return None
            self._number += 1
            with (self._folder / WRITES).open("ab") as file:
                file.write(orjson.dumps((plan.name, self._number, what)) + b"\n")
            return plan.when if self._number == plan.point else None


class Statements:
    """What a transaction has changed so far."""

    def __init__(self) -> None:
        self._changes: Counter[str] = Counter()

    def note(self, sql: str, values: object = None) -> None:
        """Note a statement, with its values where they are not in its text."""
        match = _WRITE.match(sql)
        if match is None or match[1].startswith(_QUEUE):
            return
        event = _event_in(sql, values) if match[1] == "events" else None
        self._changes[event or match[1]] += 1

    def take(self) -> str:
        """Return what was changed, in words, and forget it; empty where nothing was."""
        changes = [f"{what} x{n}" if n > 1 else what for what, n in self._changes.items()]
        self._changes.clear()
        return ", ".join(changes)


def _event_in(sql: str, values: object) -> str | None:
    """Return the type of the event that a statement inserts."""
    if values is None:
        found = _QUOTED_EVENT.search(sql)
        return found[1] if found else None
    given = values.values() if isinstance(values, dict) else values
    texts = [v for v in given if isinstance(v, str)] if isinstance(given, Iterable) else []
    return next(filter(_EVENT.fullmatch, texts), None)


def count_sqlite(points: FaultPoints) -> None:
    """Make every connection to the product's file one that counts its commits."""

    class Counted(sqlite3.Connection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._statements = Statements()
            self._known = self.total_changes
            self.set_trace_callback(self._statements.note)

        def commit(self) -> None:
            what = self._statements.take()
            if self.in_transaction and self.total_changes != self._known:
                with points.commit(what):
                    super().commit()
            else:
                super().commit()
            self._known = self.total_changes

        def rollback(self) -> None:
            super().rollback()
            self._statements.take()
            self._known = self.total_changes

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect_counted(database: Any, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        if Path(str(database)).name == DATABASE:
            kwargs["factory"] = Counted
        return connect(database, *args, **kwargs)

    sqlite3.connect = connect_counted  # type: ignore[assignment]
    sqlite3.dbapi2.connect = connect_counted  # type: ignore[assignment]  # SQLAlchemy's name for it


def count_postgres(points: FaultPoints) -> None:
    """Make every explicit COMMIT of psycopg, blocking or not, a counted one."""
    changed: WeakKeyDictionary[Any, Statements] = WeakKeyDictionary()

    def noting(execute: Callable[..., Generator[Any, Any, Any]]) -> Any:
        def execute_noted(cursor: Any, query: Any, values: Any = None, *a: Any, **k: Any) -> Any:
            many = isinstance(values, list) and values and isinstance(values[0], dict | tuple)
            rows = values if many else [values]
            done = yield from execute(cursor, query, values, *a, **k)
            sql = query.decode() if isinstance(query, bytes) else str(query)
            for row in rows:
                changed.setdefault(cursor.connection, Statements()).note(sql, row)
            return done

        return execute_noted

    for name in ("_execute_gen", "_executemany_gen_pipeline", "_executemany_gen_no_pipeline"):
        setattr(BaseCursor, name, noting(getattr(BaseCursor, name)))

    command = BaseConnection._exec_command

    def command_counted(connection: Any, text: Any, *args: Any, **kwargs: Any) -> Any:
        what = changed.setdefault(connection, Statements()).take() if _ends(text) else ""
        if not what or text != b"COMMIT":
            return (yield from command(connection, text, *args, **kwargs))
        with points.commit(what):
            result = yield from command(connection, text, *args, **kwargs)
            if connection._pipeline:
                yield from connection._pipeline._sync_gen()
        return result

    setattr(BaseConnection, "_exec_command", command_counted)  # noqa: B010 - mypy would compare signatures


def _ends(command: Any) -> bool:
    """Return whether a command begins or ends a transaction: what was noted before it is over."""
    return command in (b"COMMIT", b"ROLLBACK") or str(command).startswith("b'BEGIN")
