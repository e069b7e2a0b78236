"""What every event log promises: `append` and `events` of `domain.ports.RunStore`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from domain.errors import OwnershipLostError
from domain.events import EventDraft
from domain.ports import RunRef
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
    make_call,
    make_draft,
    unless_lost,
)


async def test_appended_events_are_returned_as_they_are_stored(store: SqlRunStore) -> None:
    ref = await add_running(store)
    draft = EventDraft(
        type="tool.completed", data={"n": 1}, agent="coder", path="coder#2", round=3, call="7"
    )
    (event,) = await store.append(ref, attempt=1, drafts=[draft], calls=[], now=LATER)
    assert event == (await all_events(store, ref))[1]
    assert (event.seq, event.attempt, event.ts, event.run_id) == (2, 1, LATER, ref.run_id)
    assert (event.agent, event.path, event.round) == ("coder", "coder#2", 3)
    assert event.key == draft.key == "3|coder#2|7|tool.completed"


async def test_a_log_is_numbered_from_one_without_gaps(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await append(store, ref, "a", "b", "c")
    assert await append(store, ref) == []
    await append(store, ref, "d")
    run = await finish(store, ref)
    assert run is not None
    assert [event.seq for event in await all_events(store, ref)] == [1, 2, 3, 4, 5, 6]
    assert run.last_seq == 6


async def test_reading_starts_after_a_seq_and_stops_at_a_limit(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await append(store, ref, "a", "b", "c", "d")
    assert [e.seq for e in await store.events(ref, after=2, limit=2)] == [3, 4]
    assert await store.events(ref, after=5, limit=2) == []


async def test_reading_can_be_narrowed_to_exact_types(store: SqlRunStore) -> None:
    ref = await add_running(store)
    drafts = [make_draft("a"), make_draft("b", type="tool.failed"), make_draft("c")]
    await store.append(ref, attempt=1, drafts=drafts, calls=[], now=NOW)

    async def seqs(*types: str) -> list[int]:
        return [e.seq for e in await store.events(ref, after=0, limit=9, types=types)]

    assert await seqs("tool.failed") == [3]
    assert await seqs("agent.completed", "run.created") == [1, 2, 4]
    assert await seqs("tool") == []
    assert await seqs() == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"text": 'Zoë 漢字 🚂 \u2028 "quoted" \\ \x00 end'},
        {"cut": "\ud83d"},
        {"big": 2**80, "negative": -(2**63) - 1, "small": 1e-300, "exact": 0.1},
        {"deep": [[[{"a": [None, True, False, {"b": {}}]}]]], "": "empty name"},
        {"long": "x" * 300_000},
    ],
    ids=["empty", "unicode", "half-a-character", "numbers", "nested", "long"],
)
async def test_event_data_survives_unchanged(store: SqlRunStore, data: dict[str, Any]) -> None:
    ref = await add_running(store)
    await store.append(ref, attempt=1, drafts=[make_draft(data=data)], calls=[], now=NOW)
    assert (await all_events(store, ref))[1].data == data


async def test_an_old_attempt_writes_nothing(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await append(store, ref, "a")
    await store.claim(ref, now=LATER)
    before = await store.get(ref), await all_events(store, ref)
    with pytest.raises(OwnershipLostError, match=ref.run_id):
        await store.append(
            ref, attempt=1, drafts=[make_draft("b")], calls=[make_call("b")], now=LATER
        )
    assert await finish(store, ref, attempt=1) is None
    assert before == (await store.get(ref), await all_events(store, ref))
    assert [event.seq for event in await append(store, ref, "b", attempt=2)] == [3]


async def test_an_attempt_that_was_never_made_writes_nothing(store: SqlRunStore) -> None:
    ref = await add_run(store)
    with pytest.raises(OwnershipLostError):
        await append(store, ref, "a", attempt=0)
    with pytest.raises(OwnershipLostError):
        await append(store, RunRef("ada", "run_none"), "a")


async def test_a_known_key_fails_the_whole_append(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await append(store, ref, "a")
    with pytest.raises(IntegrityError):
        await store.append(
            ref,
            attempt=1,
            drafts=[make_draft("b"), make_draft("a")],
            calls=[make_call("b")],
            now=LATER,
        )
    run = await store.get(ref)
    assert run is not None
    assert (run.last_seq, run.usage.calls) == (2, 0)
    assert [event.data["call"] for event in (await all_events(store, ref))[1:]] == ["a"]


async def test_the_same_key_is_free_in_another_run(store: SqlRunStore) -> None:
    for number in (1, 2):
        ref = await add_running(store, number)
        assert len(await append(store, ref, "a")) == 1


async def test_events_keep_the_time_of_each_append(store: SqlRunStore) -> None:
    ref = await add_running(store)
    times = [NOW + timedelta(microseconds=n) for n in (1, 20, 300)]
    for time in times:
        draft = make_draft(time.microsecond)
        await store.append(ref, attempt=1, drafts=[draft], calls=[], now=time)
    assert [event.ts for event in (await all_events(store, ref))[1:]] == times


async def test_appends_against_a_cancellation_leave_no_gap_and_nothing_after_the_end(
    store: SqlRunStore,
) -> None:
    ref = await add_running(store)

    async def cancelling() -> None:
        assert await cancel(store, ref) is not None

    async def appending(number: int) -> bool:
        return await unless_lost(append(store, ref, f"{number}a", f"{number}b")) is not None

    done = await at_once(
        *(appending(number) for number in range(25)),
        cancelling(),
        *(appending(number) for number in range(25, 50)),
    )
    log = await all_events(store, ref)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert log[-1].type == "run.cancelled"
    assert len(log) == 2 + 2 * sum(result is True for result in done)
    assert log[-1].data["run"]["last_seq"] == log[-1].seq
