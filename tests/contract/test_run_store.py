"""What every run store promises: `domain.ports.RunStore`, sentence by sentence."""

from __future__ import annotations

import asyncio
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import StatementError

from domain.caller import HOSTED_TENANT
from domain.errors import CallerError, OwnershipLostError
from domain.events import EventDraft
from domain.ports import EarlierTurn, RunQuery, RunRef
from domain.problems import make_problem
from domain.run import (
    ACTIVE,
    TERMINAL,
    TRANSITIONS,
    Degraded,
    Ending,
    RequiredAction,
    RunAction,
    RunResult,
    RunStatus,
    sources_of,
)
from service.store import SqlRunStore
from service.store.tables import events, idempotency, runs
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
    last_draft,
    make_call,
    make_draft,
    make_ending,
    make_key,
    make_run,
    put_in,
    ref_of,
    run_id,
)

CREATED = EventDraft(type="run.created", data={"task": "Count the trains."})
STATUSES = sorted(TRANSITIONS)


async def count(store: SqlRunStore, table: Any) -> int:
    rows = select(func.count()).select_from(table)
    return await store.database.read(lambda connection: connection.execute(rows).scalar_one())


# create


async def test_a_created_run_comes_back_with_every_field_as_it_was(store: SqlRunStore) -> None:
    run = make_run(
        required_action=RequiredAction(type="approval", approval_ids=["apr_1"]),
        degraded=[Degraded(agent="coder", reason="gone")],
        error=make_problem("model-error", "It failed."),
        result=RunResult(output="é漢🚂", structured={"n": 2**70}),
        actions=[RunAction(id="act_1", tool="http_request", status="pending")],
        cache={"run_id": "run_1", "age": 3},
        trace_url="https://trace.example/1",
        metadata={"a": 1, "b": None, "c": True, "d": 0.5, "e": "x"},
        tags=["night", "day", "night"],
        agents=("coder",),
        files=({"name": "data/é.csv", "size": 0}, {"name": "b", "size": 2**31}),
    )
    created = await store.create(run, CREATED)
    assert not created.replayed
    assert created.run == await store.get(ref_of(run))
    assert created.run == run.model_copy(
        update={
            "last_seq": 1,
            "links": {"self": f"/v1/runs/{run.id}", "events": f"/v1/runs/{run.id}/events"},
        }
    )


async def test_a_created_run_is_queued_and_its_first_event_is_there(store: SqlRunStore) -> None:
    run = (await store.create(make_run(), CREATED)).run
    (event,) = await all_events(store, ref_of(run))
    assert (run.status, run.attempt, run.last_seq) == ("queued", 0, 1)
    assert (event.seq, event.type, event.data, event.attempt) == (1, *_of(CREATED), 0)
    assert event.ts == run.created_at


def _of(draft: EventDraft) -> tuple[str, dict[str, Any]]:
    return draft.type, draft.data


@pytest.mark.parametrize("agents", [None, (), ("coder", "analyst")])
async def test_no_agents_and_every_agent_are_told_apart(
    store: SqlRunStore, agents: tuple[str, ...] | None
) -> None:
    run = await store.get(await add_run(store, agents=agents))
    assert run is not None
    assert run.agents == agents


async def test_times_come_back_in_utc(store: SqlRunStore) -> None:
    east = timezone(timedelta(hours=9))
    run = await store.get(await add_run(store, created_at=NOW.astimezone(east)))
    assert run is not None
    assert run.created_at.isoformat() == NOW.isoformat()


async def test_a_naive_time_is_refused(store: SqlRunStore) -> None:
    with pytest.raises(ValueError, match="timezone-aware"):
        await add_run(store, created_at=NOW.replace(tzinfo=None))
    ref = await add_run(store)
    with pytest.raises(StatementError, match="timezone-aware"):
        await store.claim(ref, now=NOW.replace(tzinfo=None))


async def test_a_failed_create_leaves_nothing(store: SqlRunStore) -> None:
    bad = EventDraft(type="run.created", data={"not": float("nan")})
    with pytest.raises(StatementError):
        await store.create(make_run(), bad, idempotency=make_key())
    assert [await count(store, table) for table in (runs, events, idempotency)] == [0, 0, 0]


# idempotency


async def test_a_known_key_with_the_same_body_returns_the_run_it_made(store: SqlRunStore) -> None:
    first = await store.create(make_run(1), CREATED, idempotency=make_key())
    await store.claim(ref_of(first.run), now=NOW)
    again = await store.create(make_run(2), CREATED, idempotency=make_key())
    assert again.replayed
    assert (again.run.id, again.run.status) == (first.run.id, "running")
    assert await count(store, runs) == 1


async def test_a_known_key_with_another_body_is_refused(store: SqlRunStore) -> None:
    await store.create(make_run(1), CREATED, idempotency=make_key())
    with pytest.raises(CallerError, match="'k1'") as caught:
        await store.create(make_run(2), CREATED, idempotency=make_key(digest="d2"))
    assert (caught.value.code, caught.value.run_id) == ("idempotency-key-reuse", run_id(1))
    assert (await count(store, runs), await count(store, events)) == (1, 1)


async def test_one_key_serves_two_routes_and_two_tenants(store: SqlRunStore) -> None:
    made = [
        await store.create(make_run(1), CREATED, idempotency=make_key()),
        await store.create(make_run(2), CREATED, idempotency=make_key(scope="POST /v1/other")),
        await store.create(make_run(3, tenant_id="bob"), CREATED, idempotency=make_key()),
    ]
    assert [created.replayed for created in made] == [False, False, False]


@pytest.mark.parametrize(("hours", "replayed"), [(47, True), (48, False)])
async def test_a_key_stands_for_48_hours(store: SqlRunStore, hours: int, *, replayed: bool) -> None:
    await store.create(make_run(1, created_at=NOW), CREATED, idempotency=make_key())
    second = make_run(2, created_at=NOW + timedelta(hours=hours))
    created = await store.create(second, CREATED, idempotency=make_key(digest="d1"))
    assert created.replayed is replayed
    third = await store.create(
        make_run(3, created_at=second.created_at), CREATED, idempotency=make_key()
    )
    assert third.run.id == created.run.id


async def test_fifty_requests_at_once_with_one_key_make_one_run(store: SqlRunStore) -> None:
    made = await at_once(
        *(store.create(make_run(n), CREATED, idempotency=make_key()) for n in range(50))
    )
    assert len({created.run.id for created in made}) == 1
    assert sum(not created.replayed for created in made) == 1
    assert await count(store, runs) == 1


# get, list, runnable, unfinished, earlier_turns


async def test_an_unknown_run_is_none(store: SqlRunStore) -> None:
    assert await store.get(RunRef("ada", "run_none")) is None


async def test_a_list_is_newest_first_and_tells_that_there_are_more(store: SqlRunStore) -> None:
    for number in range(5):
        await add_run(store, number)
    first = await store.find("ada", RunQuery(limit=2))
    assert [run.id for run in first] == [run_id(4), run_id(3), run_id(2)]
    rest = await store.find("ada", RunQuery(limit=2, before=first[1].id))
    assert [run.id for run in rest] == [run_id(2), run_id(1), run_id(0)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (RunQuery(status="running"), [4]),
        (RunQuery(thread_id="even"), [4, 2, 0]),
        (RunQuery(tag="red"), [3, 0]),
        (RunQuery(created_after=make_run(3).created_at), [5, 4]),
        (RunQuery(before=run_id(2)), [1, 0]),
        (RunQuery(tag="blue"), []),
        (RunQuery(thread_id="even", tag="red", status="queued", before=run_id(4)), [0]),
        (RunQuery(thread_id="even", created_after=NOW, status="running", tag="red"), []),
        (RunQuery(thread_id="odd", created_after=NOW, tag="red", limit=1), [3]),
    ],
)
async def test_filters_combine(store: SqlRunStore, query: RunQuery, expected: list[int]) -> None:
    for number in range(6):
        tags = ["red", "red", "x"] if number % 3 == 0 else ["reddish"]
        thread = "odd" if number % 2 else "even"
        await add_run(store, number, tags=tags, thread_id=thread)
    await put_in(store, RunRef("ada", run_id(4)), "running")
    found = await store.find("ada", query)
    assert [run.id for run in found] == [run_id(number) for number in expected]


async def test_listed_runs_are_as_complete_as_a_single_one(store: SqlRunStore) -> None:
    refs = [await add_running(store, number) for number in range(3)]
    for ref in refs[:2]:
        await store.append(ref, attempt=1, drafts=[], calls=[make_call("c")], now=NOW)
    assert await store.find("ada", RunQuery()) == [await store.get(ref) for ref in reversed(refs)]


async def test_the_oldest_queued_runs_are_runnable_whoever_they_belong_to(
    store: SqlRunStore,
) -> None:
    refs = [await add_run(store, n, tenant_id=f"tenant_{n % 2}") for n in (3, 1, 2, 0)]
    await store.claim(refs[1], now=NOW)
    assert await store.runnable(limit=10, exclude=[]) == [refs[3], refs[2], refs[0]]
    assert await store.runnable(limit=1, exclude=[]) == [refs[3]]
    assert await store.runnable(limit=1, exclude={refs[3].run_id}) == [refs[2]]


@pytest.mark.parametrize("status", STATUSES)
async def test_an_earlier_run_of_the_thread_blocks_while_it_is_active(
    store: SqlRunStore, status: RunStatus
) -> None:
    earlier = await add_run(store, 1, thread_id="t")
    later = await add_run(store, 2, thread_id="t")
    await add_run(store, 3, thread_id="t", tenant_id="bob")
    await put_in(store, earlier, status)
    found = await store.runnable(limit=10, exclude=[earlier.run_id])
    blocked = status in ACTIVE
    assert (later not in found) is blocked
    assert RunRef("bob", run_id(3)) in found


async def test_unfinished_runs_are_the_running_ones(store: SqlRunStore) -> None:
    for number, status in enumerate(STATUSES):
        ref = await add_run(store, number, tenant_id=status)
        await put_in(store, ref, status)
    assert [ref.tenant_id for ref in await store.unfinished()] == ["running"]


async def test_what_langgraphs_server_executes_is_never_handed_out(store: SqlRunStore) -> None:
    hosted = [await add_run(store, number, tenant_id=HOSTED_TENANT) for number in range(2)]
    await put_in(store, hosted[1], "running")
    assert await store.runnable(limit=9, exclude=[]) == []
    assert await store.unfinished() == []
    assert not await store.has_queued(exclude=[])
    assert not (await store.standing()).keys() - {"approvals"}
    ours = await add_run(store, 3)
    assert await store.runnable(limit=9, exclude=[]) == [ours]
    assert await store.has_queued(exclude=[])


async def test_earlier_turns_are_the_latest_answered_ones_oldest_first(store: SqlRunStore) -> None:
    endings: list[RunStatus] = ["completed", "failed", "incomplete", "cancelled", "completed"]
    for number, status in enumerate(endings):
        ref = await add_running(store, number, thread_id="t", task=f"task {number}")
        await finish(store, ref, status)
    await add_run(store, 8, thread_id="t")
    other = await add_running(store, 7, thread_id="other")
    await finish(store, other)
    turns = await store.earlier_turns(make_run(9, thread_id="t"), limit=2)
    assert turns == [EarlierTurn("task 2", "Three."), EarlierTurn("task 4", "Three.")]
    assert len(await store.earlier_turns(make_run(9, thread_id="t"), limit=9)) == 3
    assert await store.earlier_turns(make_run(4, thread_id="t"), limit=1) == turns[:1]


async def test_a_ping_is_answered(store: SqlRunStore) -> None:
    await store.ping()


# claim


async def test_a_claim_makes_the_run_running_under_a_new_attempt(store: SqlRunStore) -> None:
    ref = await add_run(store)
    first = await store.claim(ref, now=NOW)
    await append(store, ref, "a")
    second = await store.claim(ref, now=LATER)
    assert first is not None
    assert second is not None
    assert (first.run.status, first.run.attempt, first.run.started_at) == ("running", 1, NOW)
    assert (second.run.status, second.run.attempt, second.run.started_at) == ("running", 2, NOW)
    assert first.keys == {"0|||run.created"}
    assert second.keys == {"0|||run.created", make_draft("a").key}
    assert second.run == await store.get(ref)


async def test_a_later_claim_knows_what_was_used(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await store.append(ref, attempt=1, drafts=[], calls=[make_call("c")], now=NOW)
    again = await store.claim(ref, now=NOW)
    assert again is not None
    assert again.run.usage.calls == 1


# usage


async def test_usage_is_summed_exactly_by_agent_and_by_model(store: SqlRunStore) -> None:
    ref = await add_running(store)
    calls = [
        make_call("1", cost_usd=Decimal("0.1")),
        make_call("2", cost_usd=Decimal("0.2"), agent="analyst"),
        make_call("3", cost_usd=None, agent="analyst", model="m-2", input_tokens=2**40),
    ]
    await store.append(ref, attempt=1, drafts=[], calls=calls[:2], now=NOW)
    run = await store.get(ref)
    assert run is not None
    assert (run.usage.cost_usd, run.usage.calls) == (Decimal("0.3"), 2)
    await store.append(ref, attempt=1, drafts=[], calls=calls[2:], now=NOW)
    run = await store.get(ref)
    assert run is not None
    assert (run.usage.cost_usd, run.usage.cost_known) == (None, False)
    assert run.usage.input_tokens == 2**40 + 20
    assert run.usage.by_agent["coder"].cost_usd == Decimal("0.1")
    assert run.usage.by_agent["analyst"].cost_usd is None
    assert set(run.usage.by_model) == {"m-1", "m-2"}


async def test_a_model_call_that_is_booked_already_is_ignored(store: SqlRunStore) -> None:
    ref = await add_running(store)
    for calls in ([make_call("1")], [make_call("1", input_tokens=99), make_call("2")]):
        await store.append(ref, attempt=1, drafts=[], calls=calls, now=NOW)
    run = await store.get(ref)
    assert run is not None
    assert (run.usage.calls, run.usage.input_tokens) == (2, 20)


# finish and cancel


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_the_last_event_carries_the_run_as_it_ended(
    store: SqlRunStore, status: RunStatus
) -> None:
    ref = await add_running(store)
    await store.append(ref, attempt=1, drafts=[], calls=[make_call("1")], now=NOW)
    ending = Ending(
        status=status,
        stop_reason="done",
        result=RunResult(output="Three."),
        error=make_problem("internal-error", "No."),
        degraded=(Degraded(agent="coder", reason="gone"),),
        rounds=3,
    )
    drafts = [make_draft("a"), last_draft(status, data={"more": 1})]
    ended = await store.finish(ref, attempt=1, ending=ending, drafts=drafts, now=LATER)
    assert ended is not None
    run, (before, last), _ = ended
    assert (run.status, run.ended_at, run.last_seq, run.rounds) == (status, LATER, 3, 3)
    assert (run.result, run.error, run.degraded) == (
        ending.result,
        ending.error,
        list(ending.degraded),
    )
    assert run.usage.calls == 1
    assert (before.seq, last.seq, last.terminal) == (2, 3, True)
    assert last.data == {"more": 1, "run": run.model_dump(mode="json")}
    assert "tenant_id" not in last.data["run"]
    assert run == await store.get(ref)
    assert [before, last] == (await all_events(store, ref))[1:]


async def test_cancelling_ends_a_run_whoever_owns_it(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await put_in(store, ref, "requires_action")
    ended = await store.cancel(
        ref, ending=make_ending("cancelled"), draft=last_draft("cancelled"), now=LATER
    )
    assert ended is not None
    run, [event], _ = ended
    assert (run.status, run.ended_at, run.last_seq) == ("cancelled", LATER, 2)
    assert run.required_action is None
    assert event.data == {"run": run.model_dump(mode="json")}
    assert (event.seq, event.attempt) == (2, 1)
    assert run == await store.get(ref)


async def test_an_ending_that_is_none_is_refused(store: SqlRunStore) -> None:
    ref = await add_running(store)
    for status in sorted(ACTIVE):
        with pytest.raises(ValueError, match=status):
            await finish(store, ref, status)
    with pytest.raises(ValueError, match="completed"):
        await store.cancel(
            ref, ending=make_ending("completed"), draft=last_draft("completed"), now=NOW
        )


async def _claims(store: SqlRunStore, ref: RunRef) -> bool:
    return await store.claim(ref, now=LATER) is not None


async def _appends(store: SqlRunStore, ref: RunRef) -> bool:
    try:
        return bool(await append(store, ref, "x", attempt=0))
    except OwnershipLostError:
        return False


@pytest.mark.parametrize("operation", ["claim", "append", "cancel", *sorted(TERMINAL)])
@pytest.mark.parametrize("status", STATUSES)
async def test_exactly_the_transitions_of_the_table_happen(
    store: SqlRunStore, status: RunStatus, operation: Any
) -> None:
    ref = await add_run(store)
    await put_in(store, ref, status)
    if operation == "claim":
        happened, allowed = await _claims(store, ref), "running" in TRANSITIONS[status]
    elif operation == "append":
        happened, allowed = await _appends(store, ref), status == "running"
    elif operation == "cancel":
        happened = await cancel(store, ref) is not None
        allowed = status in sources_of("cancelled")
    else:
        happened = await finish(store, ref, operation, attempt=0) is not None
        allowed = status == "running" and operation in TRANSITIONS[status]
    assert happened is allowed
    run = await store.get(ref)
    assert run is not None
    expected = {"claim": "running", "append": status, "cancel": "cancelled"}.get(
        operation, operation
    )
    assert run.status == (expected if allowed else status)
    assert len(await all_events(store, ref)) == run.last_seq


async def test_fifty_endings_at_once_have_one_winner(store: SqlRunStore) -> None:
    ref = await add_running(store)
    endings = await at_once(
        *(finish(store, ref) if n % 2 else cancel(store, ref) for n in range(50))
    )
    (winner,) = [run for run in endings if run is not None]
    assert winner == await store.get(ref)
    assert [event.type for event in await all_events(store, ref)] == [
        "run.created",
        f"run.{winner.status}",
    ]


# tenants


async def test_another_tenant_sees_and_changes_nothing(store: SqlRunStore) -> None:
    await finish(store, await add_running(store, 0, thread_id="t"))
    ref = await add_running(store, 1, thread_id="t", tags=["red"])
    before = await store.get(ref), await all_events(store, ref)
    theirs = RunRef("bob", ref.run_id)
    assert await store.get(theirs) is None
    for query in (RunQuery(), RunQuery(thread_id="t"), RunQuery(tag="red")):
        assert await store.find("bob", query) == []
    assert await store.claim(theirs, now=NOW) is None
    with pytest.raises(OwnershipLostError):
        await store.append(
            theirs, attempt=1, drafts=[make_draft("x")], calls=[make_call("x")], now=NOW
        )
    assert await finish(store, theirs) is None
    assert await cancel(store, theirs) is None
    assert await all_events(store, theirs) == []
    assert await store.earlier_turns(make_run(9, thread_id="t", tenant_id="bob"), limit=9) == []
    assert before == (await store.get(ref), await all_events(store, ref))


# many at once


async def _whole_life(store: SqlRunStore, number: int) -> str:
    ref = await add_run(store, number, tags=["busy"])
    await store.claim(ref, now=NOW)
    await store.find("ada", RunQuery(tag="busy"))
    await append(store, ref, "a", "b")
    await store.runnable(limit=5, exclude=[])
    ended = await (cancel(store, ref) if number % 2 else finish(store, ref))
    assert ended is not None
    assert [event.seq for event in await all_events(store, ref)] == [1, 2, 3, 4]
    return ended.status


@pytest.mark.slow
async def test_fifty_lives_at_once_do_not_meet_in_one_transaction(store: SqlRunStore) -> None:
    ended = await at_once(*(_whole_life(store, number) for number in range(50)))
    assert ended == ["completed", "cancelled"] * 25


async def test_a_cancelled_caller_leaves_a_whole_log_and_a_working_store(
    store: SqlRunStore,
) -> None:
    ref = await add_running(store)
    for turn in range(60):
        appending = asyncio.create_task(append(store, ref, f"{turn}a", f"{turn}b"))
        for _ in range(turn):
            await asyncio.sleep(0)  # cancelled a little later each time, at every point there is
        appending.cancel()
        await asyncio.wait([appending], timeout=5)
    await append(store, ref, "last")
    log = await all_events(store, ref)
    run = await store.get(ref)
    assert run is not None
    assert [event.seq for event in log] == list(range(1, run.last_seq + 1))
    calls = [event.data["call"] for event in log[1:-1]]
    assert all(a[:-1] == b[:-1] for a, b in zip(calls[::2], calls[1::2], strict=True))
