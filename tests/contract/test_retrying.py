"""What every run store promises of a retry: one conditional write, and what goes on counting."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from domain.errors import CallerError
from domain.limits import Limits
from domain.ports import Retried, RetryWish, RunRef
from domain.run import RETRYABLE, TERMINAL, TRANSITIONS
from service.store import SqlRunStore
from tests.contract.factories import (
    LATER,
    add_run,
    add_running,
    all_events,
    append,
    at_once,
    cancel,
    finish,
    last_draft,
    make_ending,
    make_key,
    make_run,
    put_in,
)

AS_IT_IS: Final = RetryWish()
MUCH_LATER: Final = LATER + timedelta(days=400)


async def retry(store: SqlRunStore, ref: RunRef, wish: RetryWish = AS_IT_IS) -> Retried | None:
    """Have a run go on."""
    return await store.retry(ref, wish, now=LATER)


async def refusal(store: SqlRunStore, ref: RunRef, wish: RetryWish = AS_IT_IS) -> str:
    """Return the code with which a retry is refused; the run is as it was."""
    before = await store.get(ref)
    with pytest.raises(CallerError) as caught:
        await retry(store, ref, wish)
    assert await store.get(ref) == before
    return caught.value.code


async def test_only_what_may_be_retried_is(store: SqlRunStore) -> None:
    for number, status in enumerate(sorted(TRANSITIONS), 1):
        ref = await add_run(store, number)
        await put_in(store, ref, status)
        if status not in RETRYABLE:
            code = "run-terminal" if status in TERMINAL else "run-not-terminal"
            assert await refusal(store, ref) == code
            continue
        done = await retry(store, ref)
        assert done is not None
        run = done.run
        assert (run.status, run.ended_at, run.result, run.error) == ("queued", None, None, None)
        assert await refusal(store, ref) == "run-not-terminal"
        assert ref in await store.runnable(limit=9, exclude=())


async def test_nobody_else_finds_it(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await finish(store, ref, "failed")
    assert await retry(store, ref._replace(tenant_id="other")) is None
    assert await store.runnable(limit=9, exclude=()) == []


async def test_of_many_at_once_one_wins(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await finish(store, ref, "incomplete")

    async def once() -> str:
        try:
            await retry(store, ref)
        except CallerError as error:
            return error.code
        return "retried"

    codes = await at_once(*(once() for _ in range(8)))
    assert sorted(codes) == ["retried", *["run-not-terminal"] * 7]


async def test_each_end_has_its_event(store: SqlRunStore) -> None:
    """In the same way three times, in one log without a hole; what was left is claimed again."""
    ref = await add_running(store)
    for attempt in (1, 2, 3):
        if attempt > 1:
            assert await retry(store, ref)
            claim = await store.claim(ref, now=LATER)
            assert claim is not None
            assert (claim.run.attempt, claim.run.retried_after) == (attempt, attempt - 1)
        await append(store, ref, f"call {attempt}", attempt=attempt)
        ended = await finish(store, ref, "failed", attempt=attempt)
        assert ended is not None
    told = await all_events(store, ref)
    assert [event.type for event in told].count("run.failed") == 3
    assert [event.seq for event in told] == list(range(1, len(told) + 1))


async def test_a_key_makes_it_once(store: SqlRunStore) -> None:
    """A refused request leaves its key free."""
    ref = await add_running(store)
    key = make_key(scope="/retry")

    async def with_key() -> Retried | None:
        return await store.retry(ref, RetryWish(), now=LATER, idempotency=key)

    with pytest.raises(CallerError, match="has not ended"):
        await with_key()
    await finish(store, ref, "failed")
    first, second = await with_key(), await with_key()
    assert first is not None
    assert second is not None
    assert (first.replayed, second.replayed) == (False, True)
    await cancel(store, ref)
    third = await with_key()
    assert third is not None
    assert (third.replayed, third.run.status) == (True, "cancelled")


async def test_a_refusal_is_for_what_would_go_on(store: SqlRunStore) -> None:
    """What cannot go on in any case is told so; nothing of it stays."""
    full = CallerError("overloaded", "Full.")
    ref = await add_running(store)
    with pytest.raises(CallerError, match="has not ended"):
        await store.retry(ref, RetryWish(), now=LATER, refusal=full)
    await finish(store, ref, "failed")
    wish = RetryWish(limits=Limits(max_tokens=5), max_rounds=3)
    with pytest.raises(CallerError, match="Full"):
        await store.retry(ref, wish, now=LATER, refusal=full)
    run = await store.get(ref)
    assert run is not None
    assert (run.status, run.budget.max_tokens) == ("failed", None)
    done = await retry(store, ref, wish)
    assert done is not None
    assert (done.run.budget.max_tokens, done.run.budget.max_rounds) == (5, 3)


async def test_it_waits_for_no_run_of_its_thread_and_others_wait_for_it(
    store: SqlRunStore,
) -> None:
    ref = await add_running(store)
    await finish(store, ref, "failed")
    later = await add_run(store, 2, thread_id=make_run(1).thread_id)
    assert await refusal(store, ref) == "thread-busy"
    await cancel(store, later)
    assert await retry(store, ref)
    last = await add_run(store, 3, thread_id=make_run(1).thread_id)
    assert await store.runnable(limit=9, exclude=()) == [ref]
    assert await store.claim(last, now=LATER) is None
    assert await store.claim(ref, now=LATER) is not None


async def test_running_time_counts_anew(store: SqlRunStore) -> None:
    """The time between an end and the retry is none at all."""
    ref = await add_running(store)
    await finish(store, ref, "failed")
    run = await store.get(ref)
    assert run is not None
    assert run.budget.spent.seconds > 0
    done = await retry(store, ref)
    assert done is not None
    assert done.run.budget.spent.seconds == 0
    await store.claim(ref, now=MUCH_LATER)
    await store.finish(
        ref,
        attempt=2,
        ending=make_ending("failed"),
        drafts=[last_draft("failed")],
        now=MUCH_LATER + timedelta(seconds=7),
    )
    run = await store.get(ref)
    assert run is not None
    assert run.budget.spent.seconds == 7
