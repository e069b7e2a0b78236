"""Whose turn it is: one run of a thread after the other, and only so many of one caller at a time.

On Postgres many processes write at once, and what one of them has read may change before it writes.
They take locks, always in the same order, so that none waits in a circle: the thread, the keys of shared
answers (see `service.store.reuse`), the callers, the rows of runs. The queue comes last. SQLite has one
writer and needs no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from domain.ports import RunRef
from domain.run import ACTIVE, Run
from service.store.naming import THE_RUN, named
from service.store.tables import runs

Enqueue = Callable[[Connection, RunRef], None]
"""Puts a run into a queue, within the transaction of the connection. It may be called for one run
more than once, and for one that turns out to be blocked."""


Share = Callable[[RunRef, RunRef], None]
"""Gives the files of one run to another, and may be called for two again; raises `OSError`."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How runs take turns in a store."""

    max_per_caller: int | None = None
    """Runs of one caller that may be `running` at the same time; `None` means no limit. Its key may have a
    number of its own."""
    enqueue: Enqueue | None = None
    """Told of every run that has become claimable, in the transaction that made it so."""
    share: Share | None = None
    """Gives one run's files to another that has the same answer; where there are none it is not needed."""


class ActiveRun(NamedTuple):
    """A run that has not ended."""

    id: str
    status: str
    caller_id: str


_EARLIER: Final = runs.alias("earlier")
_RUNNING: Final = runs.alias("running")


def _is_active(status: ColumnElement[str]) -> ColumnElement[bool]:
    # Not IN, which SQLAlchemy expands anew at each execution.
    return or_(*(status == active for active in sorted(ACTIVE)))


# Earlier is what has begun, then what has the smaller id. Ids alone would not do: those of two
# machines sort by clocks that differ, and a run may begin before one with a smaller id is committed.
_IN_THE_WAY: Final = and_(
    _EARLIER.c.tenant_id == runs.c.tenant_id,
    _EARLIER.c.thread_id == runs.c.thread_id,
    _EARLIER.c.id != runs.c.id,
    _is_active(_EARLIER.c.status),
    or_(_EARLIER.c.attempt > 0, and_(runs.c.attempt == 0, _EARLIER.c.id < runs.c.id)),
)
_LEADER: Final = runs.alias("leader")
_FOLLOWS: Final = and_(
    runs.c.attempt == 0,
    _LEADER.c.id == runs.c.leader_id,
    _LEADER.c.tenant_id == runs.c.tenant_id,
    or_(_LEADER.c.status == "queued", _LEADER.c.status == "running"),
)
NOT_BLOCKED: Final = and_(
    ~exists().where(_IN_THE_WAY).correlate(runs), ~exists().where(_FOLLOWS).correlate(runs)
)
"""Whether no earlier run of the thread is active, and no run works on the answer that it waits for.

Not whether it waits for one at all: a process of the version before lets nobody know that a run has ended.
"""

_TAKEN: Final = (
    select(func.count())
    .select_from(_RUNNING)
    .where(
        _RUNNING.c.status == "running",
        _RUNNING.c.tenant_id == runs.c.tenant_id,
        _RUNNING.c.caller_id == runs.c.caller_id,
    )
    .correlate(runs)
    .scalar_subquery()
)
PLACES: Final = func.coalesce(runs.c.caller_places, bindparam("max_per_caller", type_=Integer))
"""How many runs of the caller may execute at the same time: as its key says, or else the server."""

UNDER_LIMIT: Final = _TAKEN < PLACES
"""Whether one more run of the caller may execute."""

UNDER_OWN_LIMIT: Final = or_(runs.c.caller_places.is_(None), runs.c.caller_places > _TAKEN)
"""The same where the server sets no limit; nothing is counted for a key without one."""

_REF: Final = select(runs.c.tenant_id, runs.c.id).order_by(runs.c.id).limit(1)
_OF_THREAD: Final = (
    runs.c.tenant_id == bindparam("tenant"),
    runs.c.thread_id == bindparam("thread"),
)
_OF_CALLER: Final = (
    runs.c.tenant_id == bindparam("tenant"),
    runs.c.caller_id == bindparam("caller"),
)
_ACTIVE_IN_THREAD: Final = (
    select(runs.c.id, runs.c.status, runs.c.caller_id)
    .where(*_OF_THREAD, _is_active(runs.c.status))
    .order_by(runs.c.attempt == 0, runs.c.id)
)
_NEXT_IN_THREAD: Final = _REF.where(*_OF_THREAD, runs.c.status == "queued")
# Of the same engine: who has just ended one can execute the next one too.
_NEXT_OF_CALLER: Final = _REF.where(
    *_OF_CALLER,
    runs.c.engine == bindparam("engine"),
    runs.c.status == "queued",
    NOT_BLOCKED,
)
_COUNT_OF_CALLER: Final = select(func.count()).where(*_OF_CALLER, runs.c.status == "running")

# A share lock waits for whoever is changing a row, and keeps it from changing.
_SETTLE_EARLIER: Final = (
    select(_EARLIER.c.id)
    .select_from(runs.join(_EARLIER, _IN_THE_WAY))
    .where(*THE_RUN)
    .limit(1)
    .with_for_update(read=True, of=_EARLIER)
)
_HOLD_EARLIER: Final = (
    select(runs.c.id)
    .where(
        *_OF_THREAD,
        _is_active(runs.c.status),
        or_(runs.c.attempt > 0, runs.c.id < bindparam("run")),
    )
    .limit(1)
    .with_for_update(read=True)
)
_HOLD_ROW: Final = select(runs.c.id).where(*THE_RUN).with_for_update(key_share=True)


def lock_on(seed: int, owner: ColumnElement[str], name: ColumnElement[str]) -> Select[Any]:
    """Return what locks something of an owner by its name; what is of another kind has another seed."""
    key = func.hashtextextended(owner + "/" + name, literal_column(str(seed)))
    return select(func.pg_advisory_xact_lock(key))


_TENANT: Final = bindparam("tenant", type_=String)
_NAME: Final = bindparam("name", type_=String)
_THREAD_SEED, _CALLER_SEED = 0, 1  # a thread and a caller of one name have locks of their own

_LOCK_THREAD: Final = lock_on(_THREAD_SEED, _TENANT, _NAME)
_LOCK_CALLER: Final = lock_on(_CALLER_SEED, _TENANT, _NAME)
_LOCK_THREAD_OF: Final = lock_on(_THREAD_SEED, runs.c.tenant_id, runs.c.thread_id).where(*THE_RUN)
_LOCK_CALLER_OF: Final = lock_on(_CALLER_SEED, runs.c.tenant_id, runs.c.caller_id).where(*THE_RUN)
_LOCK_LIMITED_CALLER_OF: Final = _LOCK_CALLER_OF.where(runs.c.caller_places.is_not(None))


def hold_thread(connection: Connection, run: Run) -> None:
    """Have creates of one thread follow one another: each sees what the one before it has left."""
    if has_many_writers(connection) and not run.begins_thread:
        connection.execute(_LOCK_THREAD, {"tenant": run.tenant_id, "name": run.thread_id})


def hold_thread_of(connection: Connection, ref: RunRef) -> None:
    """Do the same for a run that is there, whatever becomes of it: no other of its thread begins meanwhile."""
    if has_many_writers(connection):
        connection.execute(_LOCK_THREAD_OF, named(ref))


def hold_named_thread(connection: Connection, tenant_id: str, thread_id: str) -> None:
    """Do the same for whoever has no run of the thread."""
    if has_many_writers(connection):
        connection.execute(_LOCK_THREAD, {"tenant": tenant_id, "name": thread_id})


def hold_turn(connection: Connection, ref: RunRef, turns: Turns) -> None:
    """Keep from changing what decides whether the run may be claimed.

    Say B was created behind A, and A is just being finished. B's claim waits here until A has ended,
    rather than be refused. One earlier run is enough: if another is in the way, its ending puts B into
    the queue.

    The lock on the thread is against a claim of another run of it: until that is committed the other
    one looks as if it had not begun. The lock on the caller is because a count cannot be locked.
    """
    if has_many_writers(connection):
        connection.execute(_LOCK_THREAD_OF, named(ref))
        connection.execute(_lock_caller_of(turns), named(ref))
        connection.execute(_SETTLE_EARLIER, named(ref))


def is_behind(connection: Connection, run: Run) -> bool:
    """Return whether a run that is being created has to wait for an earlier one of its thread.

    That one's ending will put it into the queue: held here until the create is committed, it can only
    end after, and then sees it. Where it is just ending, this waits and finds it gone.
    """
    if run.begins_thread:
        return False
    values = {"tenant": run.tenant_id, "thread": run.thread_id, "run": run.id}
    return connection.execute(_HOLD_EARLIER, values).first() is not None


def hold_caller(connection: Connection, ref: RunRef, turns: Turns) -> None:
    """Have claims and endings of one caller's runs follow one another.

    Two that end at once would both count the other as running: one run would be put into the queue
    for two places. And a claim that still counts a run which is ending would be refused for good.
    """
    if has_many_writers(connection) and turns.enqueue is not None:
        connection.execute(_lock_caller_of(turns), named(ref))


def hold_callers(
    connection: Connection, tenant_id: str, callers: Iterable[str], turns: Turns
) -> None:
    """Do the same for several callers."""
    if has_many_writers(connection) and turns.enqueue is not None:
        for caller in sorted(set(callers)):
            connection.execute(_LOCK_CALLER, {"tenant": tenant_id, "name": caller})


def hold_row(connection: Connection, ref: RunRef) -> None:
    """Keep a run as it is until the transaction ends; what is read of it then is all there is."""
    connection.execute(_HOLD_ROW, named(ref))


def active(connection: Connection, run: Run) -> list[ActiveRun]:
    """Return the active runs of a run's thread, the one that has begun first."""
    values = {"tenant": run.tenant_id, "thread": run.thread_id}
    return [ActiveRun(*row) for row in connection.execute(_ACTIVE_IN_THREAD, values)]


def unblocked(connection: Connection, ended: Iterable[Run], turns: Turns) -> set[RunRef]:
    """Return the runs that may have become claimable because others have ended."""
    if turns.enqueue is None:
        return set()
    found: set[RunRef] = set()
    for run in ended:
        thread = {"tenant": run.tenant_id, "thread": run.thread_id}
        found.update(RunRef(*row) for row in connection.execute(_NEXT_IN_THREAD, thread))
        found |= next_of_caller(connection, run, turns)
    return found


def next_of_caller(connection: Connection, run: Run, turns: Turns) -> set[RunRef]:
    """Return the caller's next run, where a place is free for it.

    One is enough, whatever number of places is free: its claim looks for the next one again.
    """
    places = turns.max_per_caller if run.caller_places is None else run.caller_places
    if turns.enqueue is None or places is None:
        return set()
    caller = {"tenant": run.tenant_id, "caller": run.caller_id}
    if connection.execute(_COUNT_OF_CALLER, caller).scalar_one() >= places:
        return set()
    values = {**caller, "engine": run.engine}
    return {RunRef(*row) for row in connection.execute(_NEXT_OF_CALLER, values)}


def enqueue(connection: Connection, refs: Iterable[RunRef], turns: Turns) -> None:
    """Put runs into the queue, if there is one."""
    if turns.enqueue:
        # In order: a queue may have locks of its own, and others may put the same runs in.
        for ref in sorted(refs):
            turns.enqueue(connection, ref)


def has_many_writers(connection: Connection) -> bool:
    """Return whether others may write at the same time."""
    return connection.dialect.name == "postgresql"


def _lock_caller_of(turns: Turns) -> Select[Any]:
    """Return what locks a run's caller where there are only so many places for its runs."""
    return _LOCK_LIMITED_CALLER_OF if turns.max_per_caller is None else _LOCK_CALLER_OF
