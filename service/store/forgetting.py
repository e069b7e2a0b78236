"""What is deleted from LangGraph's tables, and of a run that waits what only its last steps needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Delete,
    TableClause,
    bindparam,
    column,
    delete,
    exists,
    func,
    or_,
    select,
    table,
)

from domain.ports import RunRef
from service.store.database import MEMORY

_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)


def _langgraph(name: str, *more: str) -> TableClause:
    names = ("thread_id", "checkpoint_ns", *more)
    return table(name, *(column(each) for each in names))


_CHECKPOINTS: Final = _langgraph("checkpoints", "checkpoint_id", "checkpoint")
_BLOBS: Final = _langgraph("checkpoint_blobs", "channel", "version")
_WRITES: Final = {
    "sqlite": _langgraph("writes", "checkpoint_id"),
    "postgresql": _langgraph("checkpoint_writes", "checkpoint_id"),
}


def _of_the_runs(rows: TableClause) -> Delete:
    return delete(rows).where(rows.c.thread_id.in_(_IDS))


def _older(rows: TableClause) -> ColumnElement[bool]:
    """Return whether a row is older than the last checkpoint of the run itself; ids sort by time."""
    root = _CHECKPOINTS.alias("root")
    last = select(func.max(root.c.checkpoint_id)).where(
        root.c.thread_id == rows.c.thread_id, root.c.checkpoint_ns == ""
    )
    return rows.c.checkpoint_id < last.scalar_subquery()


def _no_checkpoint_has(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    kept = _CHECKPOINTS
    return ~exists().where(
        kept.c.thread_id == _BLOBS.c.thread_id,
        kept.c.checkpoint_ns == _BLOBS.c.checkpoint_ns,
        *conditions,
    )


_VERSION_KEPT: Final = (
    func.jsonb_extract_path_text(_CHECKPOINTS.c.checkpoint, "channel_versions", _BLOBS.c.channel)
    == _BLOBS.c.version
)


class Forgetting(NamedTuple):
    """What is deleted from LangGraph's tables, in order."""

    trim: Sequence[Delete]
    prune: Sequence[Delete]
    delete: Sequence[Delete]


def _forgetting(writes: TableClause, *, blobs: bool) -> Forgetting:
    # Going on needs the last checkpoint of the run with its writes and, where it did not come to
    # the end of the graph, what the agents of its last step had saved since: all of that is newer.
    # Forking needs the run's own checkpoints, without their writes.
    trim = [
        _of_the_runs(writes).where(_older(writes)),
        _of_the_runs(_CHECKPOINTS).where(_CHECKPOINTS.c.checkpoint_ns != "", _older(_CHECKPOINTS)),
    ]
    prune = [
        _of_the_runs(rows).where(or_(rows.c.checkpoint_ns != "", _older(rows)))
        for rows in (writes, _CHECKPOINTS)
    ]
    everything = [_of_the_runs(rows) for rows in (writes, _CHECKPOINTS)]
    if blobs:
        trim.append(_of_the_runs(_BLOBS).where(_BLOBS.c.checkpoint_ns != "", _no_checkpoint_has()))
        prune.append(_of_the_runs(_BLOBS).where(_no_checkpoint_has(_VERSION_KEPT)))
        everything.append(_of_the_runs(_BLOBS))
    return Forgetting(trim, prune, everything)


_FORGETTING: Final = {
    "sqlite": _forgetting(_WRITES["sqlite"], blobs=False),
    "postgresql": _forgetting(_WRITES["postgresql"], blobs=True),
}
_NOTHING: Final = Forgetting((), (), ())


def of(connection: Connection) -> Forgetting:
    """Return what to delete from LangGraph's tables, which a database in memory has not."""
    if connection.engine.url.database == MEMORY:
        return _NOTHING
    return _FORGETTING[connection.dialect.name]


def tidy_waiting(connection: Connection, ref: RunRef, since: str | None) -> None:
    """Drop the checkpoints that a run which waits does not need to go on.

    What an agent waits with rides in a checkpoint of the run, whole. Were each of them kept, an agent
    that asks thirty times would leave thirty times what it leaves when it asks once. `since`: the run's
    checkpoint at which its last wait began; with the ones after it, all but the last, it goes.
    """
    if connection.engine.url.database == MEMORY:
        return
    dialect = connection.dialect.name
    values = {"ids": [ref.run_id], "since": since or ""}
    for deletion in [*_FORGETTING[dialect].trim, *(_SINCE[dialect] if since else ())]:
        connection.execute(deletion, values)


def _since(writes: TableClause, *, blobs: bool) -> Sequence[Delete]:
    passed = [
        _of_the_runs(rows).where(rows.c.checkpoint_id >= bindparam("since"), _older(rows))
        for rows in (writes, _CHECKPOINTS)
    ]
    return (
        [*passed, _of_the_runs(_BLOBS).where(_no_checkpoint_has(_VERSION_KEPT))]
        if blobs
        else passed
    )


_SINCE: Final = {
    "sqlite": _since(_WRITES["sqlite"], blobs=False),
    "postgresql": _since(_WRITES["postgresql"], blobs=True),
}
