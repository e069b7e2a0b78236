"""The statements by which runs with the same task share one answer.

The answer of a run that has ended is given to a later one when that is created. A run that is created while
another works on the same task follows it: it is `queued`, holds no place, and gets the answer in the
transaction that ends its leader. Where the leader comes to nothing that can be shared, one of its followers
takes its place. All of that stands in the rows, so a crash changes nothing about it.

Creates, endings and pauses of runs with the same task follow one another: they hold the lock of their key.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    RowMapping,
    String,
    bindparam,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.util import await_only

from domain.agent import Tier
from domain.events import Event, EventDraft
from domain.ports import RunRef
from domain.run import Ending, Run
from domain.usage import ModelCall, add_known, cached_call, cost_of, plain
from service.store import events, usage
from service.store.naming import THE_RUN, named
from service.store.rows import run_from
from service.store.tables import actions, artifacts, runs
from service.store.tables import events as log
from service.store.threads import Share, Turns, has_many_writers, lock_on

MOST_FOLLOWERS: Final = 100
"""Runs that wait for one answer: they all end in one transaction. Whoever comes after works itself."""

_KEY_SEED: Final = 2
_TENANT: Final = bindparam("tenant", type_=String)
_LOCK_KEY: Final = lock_on(_KEY_SEED, _TENANT, bindparam("name", type_=String))
_KEYS: Final = (
    select(runs.c.cache_key)
    .where(
        runs.c.id.in_(bindparam("runs", expanding=True)),
        runs.c.tenant_id == bindparam("tenant"),
        runs.c.cache_key.is_not(None),
    )
    .distinct()
)

_OF_KEY: Final = (runs.c.tenant_id == bindparam("tenant"), runs.c.cache_key == bindparam("key"))
_ANSWER: Final = (
    select(runs)
    .where(
        *_OF_KEY,
        runs.c.ended_at >= bindparam("since", type_=runs.c.ended_at.type),
        or_(runs.c.as_of.is_(None), runs.c.as_of >= bindparam("since", type_=runs.c.as_of.type)),
        or_(runs.c.reusable == "any", runs.c.reusable == bindparam("also", type_=String)),
    )
    .order_by(runs.c.ended_at.desc(), runs.c.id.desc())
    .limit(1)
    # Housekeeping passes it by until its files have their second names.
    .with_for_update(read=True, key_share=True)
)
_FOLLOWER: Final = runs.alias("follower")
_LEADER: Final = (
    select(runs.c.id)
    .where(
        *_OF_KEY,
        or_(runs.c.status == "queued", runs.c.status == "running"),
        runs.c.leader_id.is_(None),
        # What it has read since it began may be as old as that.
        or_(
            runs.c.started_at.is_(None),
            runs.c.started_at >= bindparam("since", type_=runs.c.started_at.type),
        ),
        select(func.count())
        .where(_FOLLOWER.c.leader_id == runs.c.id, _FOLLOWER.c.status == "queued")
        .correlate(runs)
        .scalar_subquery()
        < MOST_FOLLOWERS,
    )
    .order_by(runs.c.id)
    .limit(1)
)
_FOLLOWERS: Final = (
    select(runs.c.id, runs.c.created_at, runs.c.cache_seconds, runs.c.cache_web)
    .where(
        runs.c.leader_id == bindparam("run"),
        runs.c.tenant_id == bindparam("tenant"),
        runs.c.status == "queued",
        # A version that knows nothing of followers may have begun it, and had it wait for a person.
        runs.c.attempt == 0,
    )
    .order_by(runs.c.id)
)
_ROW: Final = select(runs).where(*THE_RUN)
_THE_QUEUED: Final = (
    *THE_RUN,
    runs.c.status == "queued",
)
_GIVE: Final = (
    update(runs)
    .where(*_THE_QUEUED)
    .values(
        status="completed",
        stop_reason="done",
        result=bindparam("came_to"),
        cache=bindparam("whence"),
        started_at=bindparam("now", type_=runs.c.started_at.type),
        ended_at=bindparam("now", type_=runs.c.ended_at.type),
        artifacts=bindparam("has_files"),
        last_seq=runs.c.last_seq + 2,
        leader_id=null(),
        # What it has is another's: the next one gets it from there, as old as it is.
        cache_key=null(),
    )
    .returning(*runs.c)
)
_LEAD: Final = update(runs).where(*_THE_QUEUED).values(leader_id=null())
_LEAD_AFTER_ALL: Final = _LEAD.where(runs.c.leader_id.is_not(None))
_FOLLOW_ANOTHER: Final = (
    update(runs)
    .where(
        runs.c.leader_id == bindparam("before"),
        runs.c.tenant_id == bindparam("tenant"),
        runs.c.status == "queued",
        runs.c.id != bindparam("now_leads"),
    )
    .values(leader_id=bindparam("now_leads"))
)
_KEEP_TO_ITSELF: Final = update(runs).where(*THE_RUN).values(cache_key=null(), reusable=null())
_DATE: Final = (
    update(runs).where(*THE_RUN).values(as_of=bindparam("known", type_=runs.c.as_of.type))
)
_HITS: Final = select(log.c.ts, log.c.data).where(
    log.c.run_id == bindparam("run"),
    log.c.tenant_id == bindparam("tenant"),
    log.c.type == "cache.hit",
)
# Not `runs.actions`, which does not show what the user was asked.
_OWN: Final = select(
    exists().where(actions.c.run_id == bindparam("run"), actions.c.tenant_id == bindparam("tenant"))
)
_ARTIFACTS: Final = select(artifacts).where(
    artifacts.c.run_id == bindparam("run"), artifacts.c.tenant_id == bindparam("tenant")
)

_log = logging.getLogger("signalbox.reuse")


class Shared(NamedTuple):
    """What came of a leader's end for those who followed it."""

    ended: tuple[tuple[Run, list[Event]], ...] = ()
    """The runs that have its answer now, each with the events that ended it."""
    claimable: frozenset[RunRef] = frozenset()
    """Who takes its place."""


def hold(connection: Connection, run: Run) -> None:
    """Have creates and endings of runs with the same key follow one another."""
    if run.cache_key is not None and has_many_writers(connection):
        connection.execute(_LOCK_KEY, {"tenant": run.tenant_id, "name": run.cache_key})


def hold_runs(connection: Connection, tenant_id: str, run_ids: Iterable[str]) -> None:
    """Do the same for runs that are there."""
    ids = list(run_ids)
    if ids and has_many_writers(connection):
        keys = connection.execute(_KEYS, {"runs": ids, "tenant": tenant_id}).scalars()
        for key in sorted(keys):
            connection.execute(_LOCK_KEY, {"tenant": tenant_id, "name": key})


def find_answer(connection: Connection, run: Run) -> Mapping[str, Any] | None:
    """Return the newest run that has ended with an answer which a new one may have."""
    wanted = _wanted(run)
    if wanted is None:
        return None
    values = {**wanted, "also": "asked" if run.cache_web else "any"}
    row = connection.execute(_ANSWER, values).mappings().one_or_none()
    return None if row is None else dict(row)


def find_leader(connection: Connection, run: Run) -> str | None:
    """Return the run under way that a new one may follow.

    What rests on the web counts for it too: it is read while the new run waits, or was a moment before.
    """
    wanted = _wanted(run)
    return connection.execute(_LEADER, wanted).scalar_one_or_none() if wanted else None


def _wanted(run: Run) -> dict[str, Any] | None:
    """Return what a run may have from others, and how old; `None` where it wants nothing."""
    if run.cache_key is None or not run.cache_seconds:
        return None
    return {
        "tenant": run.tenant_id,
        "key": run.cache_key,
        "since": run.created_at - timedelta(seconds=run.cache_seconds),
    }


def reusable(ending: Ending) -> str | None:
    """Return who may have a run's answer: `any` one with the same task, one that has `asked` for what is
    old, or nobody. Actions and questions count against it too, but only their rows know them."""
    if ending.status != "completed" or ending.degraded or ending.in_vain:
        return None
    return "asked" if ending.fleeting else "any"


def give(
    connection: Connection, origin: Mapping[str, Any], ref: RunRef, now: datetime, turns: Turns
) -> tuple[Run, list[Event]] | None:
    """End a queued run with the answer of another; `None` where it is not queued, or its files are gone."""
    whose = RunRef(ref.tenant_id, origin["id"])
    try:
        if turns.share and (origin["artifacts"] or origin["result"]):
            _share(connection, turns.share, whose, ref)
    except OSError:
        fields = {"action": "answer_not_shared", "run_id": ref.run_id}
        _log.warning("An answer could not be shared.", extra=fields, exc_info=True)
        return None
    known = origin["as_of"] or origin["ended_at"]
    age = max(int((now - known).total_seconds()), 0)
    calls = _saved_calls(connection, whose)
    values = {
        **named(ref),
        "came_to": _retold(origin["result"], whose, ref),
        "whence": {"run_id": whose.run_id, "age": age},
        "has_files": origin["artifacts"],
        "now": now,
    }
    row = connection.execute(_GIVE, values).mappings().one_or_none()
    if row is None:
        return None
    if origin["artifacts"]:
        found = connection.execute(_ARTIFACTS, named(whose)).mappings()
        connection.execute(insert(artifacts), [{**each, "run_id": ref.run_id} for each in found])
    usage.book(connection, ref, calls, now)
    run = run_from(row, usage.of_run(connection, ref))
    saved = run.usage.cache_savings_usd
    told = {"kind": "run", "run_id": whose.run_id, "age": age}
    drafts = [
        EventDraft(
            type="cache.hit",
            data={**told, "saved_cost_usd": None if saved is None else plain(saved)},
        ),
        EventDraft(type="run.completed", data={"run": run.model_dump(mode="json")}),
    ]
    new = events.number(drafts, run_id=run.id, last_seq=run.last_seq, attempt=0, now=now)
    events.tell(connection, run, new)
    return run, new


def _share(connection: Connection, share: Share, whose: RunRef, ref: RunRef) -> None:
    """Share files without holding up the loop, in which the transactions of Postgres run."""
    if has_many_writers(connection):
        await_only(asyncio.to_thread(share, whose, ref))
    else:
        share(whose, ref)


def settle(connection: Connection, leader: Run, now: datetime, turns: Turns) -> Shared:
    """Give what a run has just ended with to those who followed it; or let one of them take its place."""
    if leader.cache_key is None:
        return Shared()
    ref = RunRef(leader.tenant_id, leader.id)
    row = connection.execute(_ROW, named(ref)).mappings().one()
    if connection.execute(_OWN, named(ref)).scalar_one():
        # What was done to the world, or decided by a person, holds for the run that it was done for.
        connection.execute(_KEEP_TO_ITSELF, named(ref))
    elif row["reusable"]:
        ended = _give_all(connection, row, ref, now, turns)
        return Shared(ended, release(connection, ref))
    return Shared(claimable=release(connection, ref))


def _give_all(
    connection: Connection, row: RowMapping, ref: RunRef, now: datetime, turns: Turns
) -> tuple[tuple[Run, list[Event]], ...]:
    """Give an answer to all followers that may have it, and note how old what it rests on is."""
    oldest = _oldest_hit(connection, ref)
    # A page may have been read when the run began.
    known = oldest or (row["started_at"] if row["reusable"] == "asked" else None)
    if known is not None:
        connection.execute(_DATE, {**named(ref), "known": known})
    origin: dict[str, Any] = {**dict(row), "as_of": oldest}
    given = [
        give(connection, origin, RunRef(ref.tenant_id, each.id), now, turns)
        for each in connection.execute(_FOLLOWERS, named(ref)).all()
        if _may_have(each, origin)
    ]
    return tuple(each for each in given if each)


def _oldest_hit(connection: Connection, ref: RunRef) -> datetime | None:
    """Return since when the oldest is known that a run has from others."""
    return min(
        (
            # Its age is in whole seconds.
            hit.ts - timedelta(seconds=hit.data["age"] + 1)
            for hit in connection.execute(_HITS, named(ref))
            if hit.data["run_id"] != ref.run_id
        ),
        default=None,
    )


def _may_have(follower: Row[Any], origin: Mapping[str, Any]) -> bool:
    """Return whether a follower may have an answer that rests on what its leader had from others.

    What was worked out while it waited it may have in any case; what is older, as if it had found it.
    """
    oldest = origin["as_of"]
    if oldest is None or oldest >= follower.created_at:
        return True
    young: bool = oldest >= follower.created_at - timedelta(seconds=follower.cache_seconds)
    return young and bool(origin["reusable"] == "any" or follower.cache_web)


def keep_to_itself(connection: Connection, ref: RunRef) -> frozenset[RunRef]:
    """Take a run that asks a person out of all sharing; return who takes its place."""
    connection.execute(_KEEP_TO_ITSELF, named(ref))
    return release(connection, ref)


def leave(connection: Connection, ref: RunRef) -> frozenset[RunRef]:
    """Take a run out of all sharing that may be a follower itself; return who may be claimed then."""
    freed = keep_to_itself(connection, ref)
    followed = connection.execute(_LEAD_AFTER_ALL, named(ref)).rowcount
    return freed | {ref} if followed else freed


def release(connection: Connection, ref: RunRef) -> frozenset[RunRef]:
    """Let the first of a run's followers take its place, and the others follow that one."""
    followers: Sequence[str] = connection.execute(_FOLLOWERS, named(ref)).scalars().all()
    if not followers:
        return frozenset()
    first = RunRef(ref.tenant_id, followers[0])
    connection.execute(_LEAD, named(first))
    values = {"before": ref.run_id, "tenant": ref.tenant_id, "now_leads": first.run_id}
    connection.execute(_FOLLOW_ANOTHER, values)
    return frozenset({first})


def _retold(result: dict[str, Any] | None, whose: RunRef, ref: RunRef) -> Any:  # noqa: ANN401 - JSON
    """Return a result in which every address is one of the other run: its files are there too."""
    return json.loads(json.dumps(result).replace(whose.run_id, ref.run_id))


def _saved_calls(connection: Connection, whose: RunRef) -> list[ModelCall]:
    """Return the calls that are not made again: for each agent and model what they came to together."""
    saved: dict[tuple[str, str, Tier], Decimal | None] = {}
    for call in usage.calls_of(connection, whose):
        cost = call.saved_cost_usd if call.status == "cached" else cost_of(call)
        whom = (call.agent, call.model, call.tier)
        saved[whom] = add_known(saved.get(whom, Decimal(0)), cost)
    return [cached_call(f"cache|{n}", *whom, cost) for n, (whom, cost) in enumerate(saved.items())]
