"""Reads every statement that the product sends to a database, and names those that ask for no tenant."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from sqlalchemy import Engine, event

from service.store.tables import metadata

TABLES: Final = frozenset(
    name for name, table in metadata.tables.items() if "tenant_id" in table.columns
)

EVERYBODYS: Final[dict[str, str]] = {
    # Housekeeping, which nobody asks for.
    r"DELETE FROM (cache|erased_keys|erased_runs|sign_ins) WHERE \w+\.\w+_at <= \?": "is too old",
    r"SELECT FROM runs WHERE runs\.tidied IN .*": "has ended long ago",
    r"UPDATE runs SET tidied=.* WHERE runs\.id IN \(\?\)": "the rows just found",
    r"DELETE FROM events WHERE events\.run_id IN \(\?\) AND events\.seq < .*": "the rows just found",
    r"DELETE FROM runs WHERE runs\.id IN \(\?\)": "rows that are held by their tenant",
    r"SELECT FROM idempotency WHERE idempotency\.run_id IN \(\?\)": "of rows that are held",
    r"SELECT FROM usage JOIN runs .* WHERE usage\.run_id IN \(\?\) GROUP BY usage\.tenant_id.*": "the same",
    r"SELECT FROM actions WHERE actions\.approval = \? AND actions\.expires_at <= \?.*": "has expired",
    r"SELECT FROM erased_runs (WHERE .*)?ORDER BY .*": "a process removes its files of all",
    r"SELECT FROM runs WHERE runs\.id IN \(\?\)": "which runs there still are, and how far",
    # Who executes runs serves every tenant.
    r"SELECT FROM runs WHERE runs\.status = \?.*": "the next run, what was left unfinished, how many",
    r"SELECT FROM \(SELECT FROM runs LEFT OUTER JOIN \(SELECT FROM runs WHERE runs\.status = \?.*": "so many of each",
    r"SELECT FROM runs WHERE runs\.status IN \(\?\) AND runs\.engine = \?.*": "what is not in the queue",
    r"SELECT FROM \(SELECT FROM runs WHERE runs\.status = \? LIMIT \?.*": "how many wait",
    r"SELECT FROM runs WHERE runs\.status IN \(\?\) AND runs\.tenant_id != \? GROUP BY runs\.status": "how many",
    r"SELECT FROM actions WHERE actions\.approval = \?": "how many there are",
    r"UPDATE runs SET last_seq=\? WHERE (0 = 1|false)": "no row: whether the database can be written",
    r"DELETE FROM usage WHERE usage\.run_id = \? AND usage\.\"?key\"? = \?.*": "a segment's own run",
    # Who sends webhooks sends everybody's; a row of it has its tenant.
    r"SELECT FROM deliveries WHERE deliveries\.status = \? AND .*": "what is due",
    r"UPDATE deliveries SET next_at=\?, claimed_until=NULL WHERE deliveries\.status = .*": "of a dead one",
    # Of these the tenant is the answer.
    r"SELECT FROM api_keys.*": "whose a key is; the operator's list",
    r"UPDATE api_keys SET (last_used_at|revoked_at)=.*": "by the operator, or of a key just found",
    r"SELECT FROM sign_ins WHERE sign_ins\.hash = \?": "who has signed in",
    r"DELETE FROM sign_ins WHERE sign_ins\.hash = \?": "by whoever has its cookie",
    r"SELECT FROM webhook_endpoints WHERE webhook_endpoints\.disabled_at IS NULL .*": "the operator's list",
    r"SELECT FROM approval_links WHERE approval_links\.token_hash = \?": "whose a link is",
}
"""Statements that rightly ask for no tenant, and why."""

_HERE: Final = str(Path(__file__).parent)
_PARAMETER: Final = re.compile(r"(%\(\w+\)s|\$\d+)(::\w+(?: WITH(?:OUT)? TIME ZONE)?)?|\?")
_LIST: Final = re.compile(
    r"\(\?(, \?)*\)|\((NULL\) (?:OR|AND) \(1 !?= 1|SELECT [^()]* FROM \(SELECT [^()]*\) WHERE 1!=1)\)"
)
_COLUMNS: Final = re.compile(r"SELECT (?:DISTINCT )?.*? FROM ")
_TABLE: Final = re.compile(r"\b(?:FROM|INTO|UPDATE|JOIN) \"?(\w+)")
_SCOPED: Final = re.compile(r"\btenant_id\b(?:, [\w\".]+)*\)? (?:= \?|IN \()")
_INNER: Final = re.compile(r"EXISTS \((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")
"""What a statement asks of other rows."""


def short(statement: str) -> str:
    """Return a statement without what differs between databases and between calls."""
    flat = _PARAMETER.sub("?", " ".join(statement.split()))
    return _COLUMNS.sub("SELECT FROM ", _LIST.sub("(?)", flat)).removesuffix(" FOR UPDATE").strip()


def is_scoped(statement: str) -> bool:
    """Return whether a statement asks for a tenant, or need not."""
    flat = " ".join(statement.split())
    if not TABLES & set(_TABLE.findall(flat)):
        return True
    if flat.startswith("INSERT"):
        return "tenant_id" in flat
    _, where, conditions = flat.partition(" WHERE ")
    # That two rows have the same tenant does not say which, nor does what is asked of other rows.
    if where and _SCOPED.search(_INNER.sub("", _PARAMETER.sub("?", conditions))):
        return True
    return any(re.fullmatch(pattern, short(flat)) for pattern in EVERYBODYS)


def _by_a_test(frame: FrameType | None) -> bool:
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_HERE) and name != __file__:
            return True
        if "/service/store/" in name and not name.endswith(("database.py", "postgres.py")):
            return False
        frame = frame.f_back
    return False


class Watch:
    """The statements that were found to ask for no tenant."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._unscoped: list[str] = []

    def look(self, *said: Any) -> None:
        """Look at a statement that is about to be executed."""
        statement: str = said[2]  # after a connection and a cursor, as SQLAlchemy calls it
        if statement in self._seen:
            return
        if not is_scoped(statement):
            if _by_a_test(sys._getframe(1)):
                return
            self._unscoped.append(short(statement))
        self._seen.add(statement)

    def take(self) -> list[str]:
        """Return what was found since the last time."""
        found, self._unscoped = self._unscoped, []
        return found


@contextmanager
def watching() -> Iterator[Watch]:
    """Yield a watch over every database of this process."""
    watch = Watch()
    event.listen(Engine, "before_cursor_execute", watch.look)
    try:
        yield watch
    finally:
        event.remove(Engine, "before_cursor_execute", watch.look)
