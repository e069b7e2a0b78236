"""What every note store promises: a note is accepted or the last decision is taken, never both."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from domain.errors import CallerError, OwnershipLostError
from domain.notes import MAX_NOTES, Note, Noted
from domain.ports import IdempotencyKey, RetryWish, RunRef
from service.store import SqlRunStore
from tests.contract.factories import (
    LATER,
    NOW,
    add_run,
    add_running,
    all_events,
    append,
    at_once,
    cancel,
    finish,
    make_key,
)

EVEN_LATER: Final = LATER + timedelta(minutes=1)


def make_note(number: int = 1, text: str = "Hurry.") -> Note:
    return Note(id=f"nte_{number}", number=0, text=text, by="key_1", at=NOW)


async def add(
    store: SqlRunStore, ref: RunRef, number: int = 1, *, key: IdempotencyKey | None = None
) -> Noted:
    """Send a note that is accepted."""
    done = await store.notes.add(ref, make_note(number), now=LATER, idempotency=key)
    assert done is not None
    return done


async def accepted(store: SqlRunStore, ref: RunRef, number: int) -> bool:
    """Send a note; return whether it was accepted."""
    before = len(await store.notes.of_run(ref))
    try:
        await add(store, ref, number)
    except CallerError:
        return False
    return len(await store.notes.of_run(ref)) > before


async def test_a_note_is_kept_with_its_event(store: SqlRunStore) -> None:
    """Numbered in the order in which they came, between the events of the segment."""
    ref = await add_running(store)
    await append(store, ref, "a")
    first = await add(store, ref)
    await append(store, ref, "b")
    second = await add(store, ref, 2)
    assert [done.note.number for done in (first, second)] == [1, 2]
    assert first.note.at == LATER
    assert await store.notes.of_run(ref) == [first.note, second.note]
    log = await all_events(store, ref)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    told = [event for event in log if event.type == "note.added"]
    assert [event.data["note"]["id"] for event in told] == ["nte_1", "nte_2"]
    assert told[0].data["note"]["by"] == "key_1"
    assert [event.seq for event in (*first.events, *second.events)] == [e.seq for e in told]


async def test_notes_at_once_are_all_kept(store: SqlRunStore) -> None:
    ref = await add_running(store)
    done = await at_once(*(add(store, ref, number) for number in range(8)))
    assert sorted(each.note.number for each in done) == list(range(1, 9))
    assert len(await store.notes.read(ref, 1)) == 8


async def test_only_active_runs_take_notes(store: SqlRunStore) -> None:
    """One that is not there, or another tenant's, is none."""
    queued = await add_run(store, 1)
    assert await accepted(store, queued, 1)
    ended, cancelled = await add_running(store, 2), await add_run(store, 3)
    await finish(store, ended)
    await cancel(store, cancelled)
    assert not await accepted(store, ended, 2)
    assert not await accepted(store, cancelled, 3)
    for ref in (RunRef("ada", "run_none"), queued._replace(tenant_id="other")):
        assert await store.notes.add(ref, make_note(4), now=LATER) is None
    assert await store.notes.of_run(queued._replace(tenant_id="other")) == []


async def test_a_run_takes_so_many(store: SqlRunStore) -> None:
    ref = await add_running(store)
    for number in range(MAX_NOTES):
        await add(store, ref, number)
    before = await store.get(ref)
    with pytest.raises(CallerError) as caught:
        await add(store, ref, MAX_NOTES)
    assert caught.value.code == "validation-error"
    assert await store.get(ref) == before


async def test_no_note_is_taken_after_the_last_decision(store: SqlRunStore) -> None:
    """Which is not the last one where one has come before."""
    ref = await add_running(store)
    await add(store, ref)
    assert not await store.notes.close(ref, 1, seen=0)
    assert await accepted(store, ref, 2)
    assert await store.notes.close(ref, 1, seen=2)
    assert await store.notes.close(ref, 1, seen=2), "the same again, after a crash"
    assert not await accepted(store, ref, 3)
    await finish(store, ref)


async def test_whatever_came_is_left_where_nothing_can_be_done(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await add(store, ref)
    assert await store.notes.close(ref, 1, seen=None)
    assert not await accepted(store, ref, 2)


async def test_each_note_of_many_is_read_or_refused(store: SqlRunStore) -> None:
    """However they race with the end."""
    for number in range(1, 6):
        ref = await add_running(store, number)

        async def decide(ref: RunRef = ref) -> int:
            seen = 0
            while not await store.notes.close(ref, 1, seen=seen):
                seen = len(await store.notes.read(ref, 1))
            return seen

        async def tell(each: int, ref: RunRef = ref) -> int:
            return int(await accepted(store, ref, each))

        seen, *taken = await at_once(decide(), *(tell(each) for each in range(6)))
        assert seen == sum(taken) == len(await store.notes.of_run(ref))


async def test_an_attempt_that_lost_its_run_decides_nothing(store: SqlRunStore) -> None:
    ref = await add_running(store)
    assert await store.claim(ref, now=LATER) is not None
    for seen in (0, None):
        with pytest.raises(OwnershipLostError):
            await store.notes.close(ref, 1, seen=seen)
    assert await accepted(store, ref, 1)


async def test_a_decision_after_a_crash_takes_notes_again(store: SqlRunStore) -> None:
    """The one that was to be the last is not in the checkpoint."""
    ref = await add_running(store)
    assert await store.notes.close(ref, 1, seen=0)
    assert await store.claim(ref, now=LATER) is not None
    assert not await accepted(store, ref, 1), "it may only be the answer that is made again"
    with pytest.raises(OwnershipLostError):
        await store.notes.read(ref, 1)
    assert await store.notes.read(ref, 2) == []
    assert await accepted(store, ref, 2)


async def test_a_retried_run_takes_notes_again(store: SqlRunStore) -> None:
    """And has those from before."""
    ref = await add_running(store)
    note = (await add(store, ref)).note
    assert await store.notes.close(ref, 1, seen=1)
    await finish(store, ref, "failed")
    assert await store.retry(ref, RetryWish(), now=EVEN_LATER) is not None
    assert await accepted(store, ref, 2)
    assert (await store.notes.of_run(ref))[0] == note


async def test_the_same_request_again_is_one_note(store: SqlRunStore) -> None:
    """Also when both come at once, and when the run has ended meanwhile; another body is refused."""
    ref = await add_running(store)
    both = await at_once(*(add(store, ref, number, key=make_key()) for number in (1, 2)))
    assert {done.note.id for done in both} in ({"nte_1"}, {"nte_2"})
    assert sorted(done.replayed for done in both) == [False, True]
    await add(store, ref, 3, key=make_key("k2"))
    with pytest.raises(CallerError) as caught:
        await add(store, ref, 4, key=make_key(digest="d2"))
    assert caught.value.code == "idempotency-key-reuse"
    await finish(store, ref)
    again = await add(store, ref, 5, key=make_key("k2"))
    assert (again.note.id, again.replayed) == ("nte_3", True)
    with pytest.raises(CallerError):
        await add(store, ref, 6, key=make_key("k3"))
    assert len(await store.notes.of_run(ref)) == 2
