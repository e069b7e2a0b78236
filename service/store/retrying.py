"""The statement by which a caller has a run go on that ended without its whole answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, false, null, select, update

from domain.errors import CallerError
from domain.limits import NO_LIMITS
from domain.ports import IdempotencyKey, Retried, RetryWish, RunRef
from domain.run import RETRYABLE, TERMINAL, Run
from service.store import allowances, keys, receipts, reopening, reuse, threads, usage
from service.store.housekeeping import CLEARED, PRUNED
from service.store.naming import THE_RUN, named
from service.store.rows import run_from
from service.store.tables import runs
from service.store.threads import Turns

_HOLD: Final = select(runs).where(*THE_RUN).with_for_update(key_share=True)
# The end it had is told by its event. What it comes to now is for nobody else: others were not meant to
# have what a run came to at its second try, with what the first has left in its folder.
_QUEUE: Final = (
    update(runs)
    .where(*THE_RUN)
    .values(
        status="queued",
        retried_after=runs.c.attempt,
        stop_reason=null(),
        result=null(),
        error=null(),
        degraded=[],
        ended_at=null(),
        rounds=0,
        ran_seconds=0,
        claimed_at=null(),
        cache_key=null(),
        reusable=null(),
        as_of=null(),
        notes_closed=false(),
        tidied=0,
    )
    .returning(*runs.c)
)


def retry(
    connection: Connection,
    ref: RunRef,
    wish: RetryWish,
    now: datetime,
    turns: Turns,
    key: IdempotencyKey | None,
    refusal: CallerError | None,
) -> Retried | None:
    """Put a run that has ended back into the queue; `None` where it is not there."""
    # The key first, as for a new run: of two requests at once the second waits here.
    if key is not None and not keys.take(connection, ref, key, now):
        return Retried(keys.replay(connection, ref.tenant_id, key).run, replayed=True)
    threads.hold_thread_of(connection, ref)
    reuse.hold_runs(connection, ref.tenant_id, [ref.run_id])
    row = connection.execute(_HOLD, named(ref)).mappings().one_or_none()
    if row is None:
        if key is not None:
            keys.give_back(connection, ref.tenant_id, key)
        return None
    _check(row)
    _check_thread(connection, run_from(row, usage.of_run(connection, ref)))
    rounds = row["max_rounds"] if wish.max_rounds is None else wish.max_rounds
    most = rounds if wish.most_rounds is None else wish.most_rounds
    values: dict[str, Any] = {"max_rounds": min(rounds, most)}
    with receipts.noting_limits(connection, ref, by=wish.by, how="retry", now=now):
        limits = allowances.change_limits(connection, ref, wish.limits or NO_LIMITS)
        allowances.change_limits(connection, ref, wish.rules.capped(limits))
        reopening.prepare(connection, ref)
        row = connection.execute(_QUEUE.values(**values), named(ref)).mappings().one()
    run = run_from(row, usage.of_run(connection, ref))
    error = _spent(run) or refusal
    if error:
        raise error  # and all of it is undone
    threads.enqueue(connection, {ref}, turns)
    return Retried(run, replayed=False)


def _check(row: RowMapping) -> None:
    """Refuse a run that has nothing to go on with, or no more."""
    status, run_id = row["status"], row["id"]
    if status not in TERMINAL:
        waits = f"It waits for a decision: GET /v1/approvals?run_id={run_id} shows it."
        then = waits if status == "requires_action" else "Wait for its end, or cancel it."
        msg = f"The run has not ended ({status}), so it cannot be retried. {then}"
        raise CallerError("run-not-terminal", msg, run_id=run_id)
    if status not in RETRYABLE:
        msg = (
            f"The run has ended ({status}), and only failed and incomplete runs can be retried. "
            "Create a new run; with the thread_id of this one it knows what was said before."
        )
        raise CallerError("run-terminal", msg, run_id=run_id)
    if row["tidied"] & (PRUNED | CLEARED):
        msg = (
            "What the run had done is not kept any more (SIGNALBOX_KEEP_CHECKPOINTS_DAYS, "
            "SIGNALBOX_KEEP_EVENTS_DAYS), so it cannot go on. Create the run again."
        )
        raise CallerError("run-incompatible", msg, run_id=run_id)


def _check_thread(connection: Connection, run: Run) -> None:
    """Refuse a run while another of its thread is to come or under way: it would have to go before it."""
    busy = threads.active(connection, run)
    if busy:
        msg = (
            f"The thread {run.thread_id!r} has a run that has not ended: {busy[0].id} ({busy[0].status}). "
            "Wait for its end or cancel it, and try again."
        )
        raise CallerError("thread-busy", msg, run_id=busy[0].id)


def _spent(run: Run) -> CallerError | None:
    """Return why a run cannot go on that may not spend anything more."""
    left = run.budget.remaining
    used_up = [
        f"max_{name} {getattr(run.budget, f'max_{name}')}"
        for name in ("cost_usd", "tokens")
        if getattr(left, name) is not None and getattr(left, name) <= 0
    ]
    if not used_up:
        return None
    spent = run.budget.spent
    msg = (
        f"The run has spent all it may ({' and '.join(used_up)}; spent: {spent.tokens} tokens, "
        f"{spent.cost_usd} USD), and a retry goes on counting. "
        'Raise it with the request: {"budget": {…}}.'
    )
    return CallerError("budget-exhausted", msg, run_id=run.id)
