"""The statements that change a run: each status change is one conditional write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from domain.errors import CallerError, OwnershipLostError
from domain.events import Event, EventDraft
from domain.partial import MAX_EVENTS_OF_A_RUN, PARTIAL_TYPES, cancelled_after
from domain.ports import Claim, Created, Ended, IdempotencyKey, RunRef
from domain.problems import Code
from domain.run import TERMINAL, Ending, MultitaskStrategy, Run, RunStatus, sources_of
from domain.usage import ModelCall, Usage
from service.store import actions, allowances, artifacts, events, keys, reuse, threads, usage
from service.store.columns import utc
from service.store.naming import THE_RUN, named
from service.store.rows import links, run_from, run_row
from service.store.tables import run_tags, runs
from service.store.threads import NOT_BLOCKED, UNDER_LIMIT, UNDER_OWN_LIMIT, Turns

_OF_ATTEMPT: Final = runs.c.attempt == bindparam("of_attempt")
_TRACE_URL: Final = bindparam("trace_url", type_=runs.c.trace_url.type)
_ADVANCED: Final = runs.c.last_seq + bindparam("count", type_=Integer)

_INSERT: Final = insert(runs).inline()
_TAG: Final = insert(run_tags)


def _from(statuses: Iterable[RunStatus]) -> ColumnElement[bool]:
    # Not IN, which SQLAlchemy expands anew at each execution.
    return or_(*(runs.c.status == status for status in sorted(statuses)))


def _claim_where(*its_turn: ColumnElement[bool]) -> Update:
    # A run that is `running` has had its turn: a newer attempt takes over the place it holds.
    begins = and_(_from(sources_of("running") - {"running"}), *its_turn)
    return (
        update(runs)
        .where(*THE_RUN, or_(runs.c.status == "running", begins))
        .values(
            status="running",
            attempt=runs.c.attempt + 1,
            leader_id=null(),
            trace_url=func.coalesce(runs.c.trace_url, _TRACE_URL),
            # A later attempt has to add up what the one before it has used: see `claim`.
            claimed_at=case(
                (runs.c.attempt == 0, bindparam("now", type_=runs.c.started_at.type)),
                else_=runs.c.claimed_at,
            ),
            started_at=func.coalesce(
                runs.c.started_at, bindparam("now", type_=runs.c.started_at.type)
            ),
        )
        .returning(*runs.c)
    )


_CLAIM: Final = _claim_where(NOT_BLOCKED, UNDER_OWN_LIMIT)
_CLAIM_UNDER_LIMIT: Final = _claim_where(NOT_BLOCKED, UNDER_LIMIT)
_ROW: Final = select(runs).where(*THE_RUN)
_ADVANCE: Final = (
    update(runs)
    .where(*THE_RUN, _OF_ATTEMPT, runs.c.status == "running")
    .values(last_seq=_ADVANCED)
    .returning(runs.c.last_seq)
)


def _end_as(status: RunStatus, sources: frozenset[RunStatus]) -> Update:
    return (
        update(runs)
        .where(*THE_RUN, _from(sources))
        .values(
            status=status,
            stop_reason=bindparam("why"),
            result=bindparam("came_to"),
            error=bindparam("problem"),
            degraded=bindparam("missing"),
            rounds=bindparam("after_rounds"),
            reusable=bindparam("for_whom"),
            required_action=null(),  # what has ended asks nobody anything
            ended_at=bindparam("now"),
            last_seq=_ADVANCED,
        )
        .returning(*runs.c)
    )


# An attempt ends only what it runs; a caller's cancellation ends whatever may be cancelled.
_FINISH: Final = {
    status: _end_as(status, sources_of(status) & {"running"}).where(_OF_ATTEMPT)
    for status in TERMINAL
}
_CANCEL: Final = _end_as("cancelled", sources_of("cancelled"))
_FAIL_WAITING: Final = _end_as("failed", sources_of("failed") & {"requires_action"})


_MAKE_ROOM: Final = update(runs).where(*THE_RUN).values(last_seq=_ADVANCED).returning(*runs.c)


class Writer(NamedTuple):
    """Who writes, and when: a run under one of its attempts."""

    ref: RunRef
    attempt: int
    now: datetime


def create(
    connection: Connection,
    run: Run,
    draft: EventDraft,
    key: IdempotencyKey | None,
    strategy: MultitaskStrategy,
    turns: Turns,
    refusal: CallerError | None = None,
) -> Created:
    """Insert a run with its first event, or find the one its key has made."""
    run = run.model_copy(
        update={
            "last_seq": 1,
            "links": links(run.id, run.forked_from.run_id if run.forked_from else None),
            "created_at": utc(run.created_at),
        }
    )
    # The key first: of two requests at once, the second waits here and then sees the first.
    if key is not None and not keys.take(
        connection, RunRef(run.tenant_id, run.id), key, run.created_at
    ):
        return keys.replay(connection, run.tenant_id, key)
    threads.hold_thread(connection, run)
    reuse.hold(connection, run)
    interrupted, claimable = _take_place(connection, run, strategy, turns)
    answer = reuse.find_answer(connection, run)
    if answer is None:
        run = run.model_copy(update={"leader_id": reuse.find_leader(connection, run)})
    waits = turns.enqueue is not None and threads.is_behind(connection, run)
    _insert(connection, run, draft)
    ref = RunRef(run.tenant_id, run.id)
    given = reuse.give(connection, answer, ref, run.created_at, turns) if answer else None
    if refusal and given is None:
        raise refusal  # and all of it is undone
    claimable |= threads.unblocked(connection, (ended for ended, _ in interrupted), turns)
    if turns.enqueue and not (given or waits or run.leader_id):
        claimable.add(ref)
    threads.enqueue(connection, claimable, turns)
    return Created(given[0] if given else run, replayed=False, interrupted=interrupted)


def _insert(connection: Connection, run: Run, draft: EventDraft) -> None:
    """Insert a run with its tags and its first event."""
    connection.execute(_INSERT, run_row(run))
    if run.tags:
        tags = dict.fromkeys(run.tags)
        rows = [{"tenant_id": run.tenant_id, "tag": tag, "run_id": run.id} for tag in tags]
        connection.execute(_TAG, rows)
    first = events.number(
        [draft], run_id=run.id, last_seq=1, attempt=run.attempt, now=run.created_at
    )
    events.add(connection, run.tenant_id, first)


def _take_place(
    connection: Connection, run: Run, strategy: MultitaskStrategy, turns: Turns
) -> tuple[tuple[tuple[Run, list[Event]], ...], set[RunRef]]:
    """Do what the strategy says about the active runs of the thread; return those it cancelled, and who
    takes the place of those that led others."""
    if strategy == "enqueue":
        return (), set()
    busy = threads.active(connection, run)
    if busy and strategy == "reject":
        code: Code = "thread-busy"
        msg = (
            f"The thread {run.thread_id!r} has a run that has not ended: {busy[0].id} "
            f"({busy[0].status}). Wait for its end or cancel it and try again, or send "
            "multitask_strategy 'enqueue' to wait for its turn or 'interrupt' to take its place."
        )
        raise CallerError(code, msg, run_id=busy[0].id)
    reuse.hold_runs(connection, run.tenant_id, (other.id for other in busy))
    threads.hold_callers(connection, run.tenant_id, (other.caller_id for other in busy), turns)
    found = [_interrupt(connection, RunRef(run.tenant_id, other.id), run) for other in busy]
    ended = tuple(each for each in found if each)
    claimable = {
        ref
        for other, _ in ended
        for ref in reuse.settle(connection, other, run.created_at, turns).claimable
    }
    return ended, claimable


def _interrupt(connection: Connection, ref: RunRef, by: Run) -> tuple[Run, list[Event]] | None:
    """Cancel a run because another takes its place; `None` where it has ended meanwhile."""
    # Held first: what its segment has appended until then is read, and it appends nothing after.
    threads.hold_row(connection, ref)
    log = events.page(connection, ref, 0, MAX_EVENTS_OF_A_RUN, PARTIAL_TYPES)
    draft = EventDraft(type="run.cancelled", data={"reason": f"Run {by.id} took its place."})
    return _cancel(connection, ref, cancelled_after(log), draft, by.created_at)


_CREATED_KEYS: Final = frozenset({EventDraft(type="run.created", data={}).key})


def claim(
    connection: Connection, ref: RunRef, now: datetime, turns: Turns, trace_url: str | None = None
) -> Claim | None:
    """Make a run `running` under the next attempt, if it is its turn."""
    threads.hold_turn(connection, ref, turns)
    values = {**named(ref), "now": now, "trace_url": trace_url}
    if turns.max_per_caller is None:
        found = connection.execute(_CLAIM, values)
    else:
        values["max_per_caller"] = turns.max_per_caller
        found = connection.execute(_CLAIM_UNDER_LIMIT, values)
    row = found.mappings().one_or_none()
    if row is None:
        return None
    # Only an attempt books calls and appends events: the first finds what `create` wrote.
    first = row["attempt"] == 1
    if not first:
        allowances.resume_clock(connection, ref, now)
        allowances.lose_calls(connection, ref)
        row = connection.execute(_ROW, named(ref)).mappings().one()
    run = run_from(row, Usage() if first else usage.of_run(connection, ref))
    threads.enqueue(connection, threads.next_of_caller(connection, run, turns), turns)
    if first:
        return Claim(run, _CREATED_KEYS)
    return Claim(run, events.keys(connection, ref), actions.remembered(connection, ref))


def append(
    connection: Connection,
    segment: Writer,
    drafts: Sequence[EventDraft],
    calls: Sequence[ModelCall],
) -> list[Event]:
    """Insert events and calls of the attempt that owns the run."""
    ref, attempt, now = segment
    values = {**named(ref), "of_attempt": attempt, "count": len(drafts)}
    last_seq = connection.execute(_ADVANCE, values).scalar_one_or_none()
    if last_seq is None:
        msg = f"attempt {attempt} does not own run {ref.run_id!r} any more"
        raise OwnershipLostError(msg)
    new = events.number(drafts, run_id=ref.run_id, last_seq=last_seq, attempt=attempt, now=now)
    events.add(connection, ref.tenant_id, new)
    actions.request(connection, [draft.approval for draft in drafts if draft.approval])
    artifacts.keep(connection, ref, drafts, now)
    usage.book(connection, ref, calls, now)
    return new


def finish(
    connection: Connection,
    segment: Writer,
    ending: Ending,
    drafts: Sequence[EventDraft],
    calls: Sequence[ModelCall],
    turns: Turns,
) -> Ended | None:
    """End a run that the attempt owns, and those that follow it."""
    ref, attempt, now = segment
    if ending.status not in _FINISH:
        msg = f"{ending.status!r} does not end a run; use one of {sorted(_FINISH)}"
        raise ValueError(msg)
    reuse.hold_runs(connection, ref.tenant_id, [ref.run_id])
    threads.hold_caller(connection, ref, turns)
    values = {**named(ref), **_ending_values(ending, drafts, now), "of_attempt": attempt}
    ended = _end(connection, ref, _FINISH[ending.status], values, drafts, calls)
    return _let_next(connection, ended, now, turns)


def _let_next(
    connection: Connection, ended: tuple[Run, list[Event]] | None, now: datetime, turns: Turns
) -> Ended | None:
    """Put whatever an ending makes claimable into the queue; return it with the endings it led to."""
    if ended is None:
        return None
    shared = reuse.settle(connection, ended[0], now, turns)
    all_ended = [ended[0], *(run for run, _ in shared.ended)]
    claimable = threads.unblocked(connection, all_ended, turns) | shared.claimable
    threads.enqueue(connection, claimable, turns)
    return Ended(*ended, shared.ended)


def cancel(
    connection: Connection,
    ref: RunRef,
    ending: Ending,
    draft: EventDraft,
    now: datetime,
    turns: Turns,
) -> Ended | None:
    """End an active run as cancelled, whoever owns it."""
    if ending.status != "cancelled":
        msg = f"a cancelled run does not end as {ending.status!r}; use 'cancelled'"
        raise ValueError(msg)
    reuse.hold_runs(connection, ref.tenant_id, [ref.run_id])
    threads.hold_caller(connection, ref, turns)
    return _let_next(connection, _cancel(connection, ref, ending, draft, now), now, turns)


def _cancel(
    connection: Connection, ref: RunRef, ending: Ending, draft: EventDraft, now: datetime
) -> tuple[Run, list[Event]] | None:
    values = {**named(ref), **_ending_values(ending, [draft], now)}
    return _end(connection, ref, _CANCEL, values, [draft])


def fail_waiting(
    connection: Connection,
    ref: RunRef,
    ending: Ending,
    drafts: Sequence[EventDraft],
    now: datetime,
    turns: Turns,
) -> Ended | None:
    """End a run that waits for a person, and may not go on."""
    all_drafts = [*drafts, EventDraft(type="run.failed", data={})]
    values = {**named(ref), **_ending_values(ending, all_drafts, now)}
    ended = _end(connection, ref, _FAIL_WAITING, values, all_drafts)
    return _let_next(connection, ended, now, turns)


def _ending_values(ending: Ending, drafts: Sequence[EventDraft], now: datetime) -> dict[str, Any]:
    return {
        "why": ending.stop_reason,
        "came_to": None if ending.result is None else ending.result.model_dump(mode="json"),
        "problem": ending.error,
        "missing": [part.model_dump(mode="json") for part in ending.degraded],
        "after_rounds": ending.rounds,
        "for_whom": reuse.reusable(ending),
        "now": now,
        "count": len(drafts),
    }


def _end(
    connection: Connection,
    ref: RunRef,
    statement: Update,
    values: dict[str, Any],
    drafts: Sequence[EventDraft],
    calls: Sequence[ModelCall] = (),
) -> tuple[Run, list[Event]] | None:
    row = connection.execute(statement, values).mappings().one_or_none()
    if row is None:
        return None
    usage.book(connection, ref, calls, values["now"])
    allowances.lose_calls(connection, ref)
    *before, last = drafts
    # Most runs have acted on nothing and asked nobody, and are spared the look.
    if row["actions"] or row["status"] in {"cancelled", "failed"}:
        row, doubts = _close(connection, ref, before, values["now"])
        before += doubts
    row = artifacts.tell(connection, ref, row, before, values["now"])
    run = run_from(row, usage.of_run(connection, ref))
    new = events.number(
        [*before, events.of_end(last, run)],
        run_id=ref.run_id,
        last_seq=run.last_seq,
        attempt=run.attempt,
        now=values["now"],
    )
    events.tell(connection, run, new)
    return run, new


def _close(
    connection: Connection, ref: RunRef, drafts: Sequence[EventDraft], now: datetime
) -> tuple[RowMapping, list[EventDraft]]:
    """Close the actions of a run that has just been ended; return its row, and the events to add."""
    doubts = actions.close(connection, ref, now)
    if doubts:
        # An agent that was cut off may not have come to tell of it.
        told = {draft.key for draft in drafts} | events.keys(connection, ref)
        doubts = [draft for draft in doubts if draft.key not in told]
    values = {**named(ref), "count": len(doubts)}
    return connection.execute(_MAKE_ROOM, values).mappings().one(), doubts
