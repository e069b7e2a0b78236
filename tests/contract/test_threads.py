"""What every run store promises about turns: in a thread, of a caller, and of runs for a queue."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import pytest
from sqlalchemy import Column, Connection, MetaData, String, Table, delete, insert, select, update
from sqlalchemy.exc import StatementError

from domain.errors import CallerError
from domain.events import EventDraft
from domain.ports import Created, RunQuery, RunRef
from domain.run import ACTIVE, MultitaskStrategy, RunStatus
from service.store import SqlRunStore, open_store
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
    make_draft,
    make_key,
    make_run,
    ref_of,
    run_id,
    unless_lost,
)

CREATED: Final = EventDraft(type="run.created", data={})

Open = Callable[..., AbstractAsyncContextManager[SqlRunStore]]


@pytest.fixture
def opening(url: str) -> Open:
    """Return how to open an empty store with options."""
    return lambda **options: open_store(url, **options)


async def create(
    store: SqlRunStore, number: int, strategy: MultitaskStrategy, **changes: Any
) -> Created:
    """Create a run of the thread `t`."""
    run = make_run(number, **{"thread_id": "t", **changes})
    return await store.create(run, CREATED, strategy=strategy)


async def unless_busy(creating: Coroutine[Any, Any, Created]) -> Created | CallerError:
    """Return what was created, or the refusal where the thread was busy."""
    try:
        return await creating
    except CallerError as error:
        if error.code != "thread-busy":
            raise
        return error


async def status_of(store: SqlRunStore, ref: RunRef) -> RunStatus:
    run = await store.get(ref)
    assert run is not None
    return run.status


async def put_in(store: SqlRunStore, ref: RunRef, status: RunStatus) -> None:
    """Give a run a status without asking how it could have come there."""
    change = update(runs).where(runs.c.id == ref.run_id).values(status=status)
    await store.database.write(lambda connection: connection.execute(change).close())


async def rows_of(store: SqlRunStore, table: Table) -> list[Any]:
    return await store.database.read(lambda connection: [*connection.execute(select(table))])


async def claims(store: SqlRunStore, ref: RunRef) -> bool:
    return await store.claim(ref, now=LATER) is not None


# claims in a thread


@pytest.mark.parametrize("status", sorted(ACTIVE))
async def test_a_claim_is_refused_while_an_earlier_run_of_the_thread_is_active(
    store: SqlRunStore, status: RunStatus
) -> None:
    first = await add_run(store, 1, thread_id="t")
    second = await add_run(store, 2, thread_id="t")
    await put_in(store, first, status)
    before = await store.get(second), await all_events(store, second)
    assert not await claims(store, second)
    assert before == (await store.get(second), await all_events(store, second))
    assert await cancel(store, first)
    assert await claims(store, second)


async def test_other_threads_and_tenants_are_in_nobodys_way(store: SqlRunStore) -> None:
    await add_running(store, 1, thread_id="t")
    assert await claims(store, await add_run(store, 2, thread_id="other"))
    assert await claims(store, await add_run(store, 3, thread_id="t", tenant_id="bob"))


async def test_a_later_run_blocks_nobody_before_it_begins(store: SqlRunStore) -> None:
    first = await add_run(store, 1, thread_id="t")
    await add_run(store, 2, thread_id="t")
    assert await claims(store, first)


async def test_a_run_that_has_begun_is_not_joined_by_one_with_a_smaller_id(
    store: SqlRunStore,
) -> None:
    """Two machines make ids: what is committed later may sort before."""
    begun = await add_running(store, 2, thread_id="t")
    late = await add_run(store, 1, thread_id="t")
    assert not await claims(store, late)
    assert await store.runnable(limit=9, exclude=[]) == []
    assert await claims(store, begun)
    await put_in(store, begun, "queued")
    assert await store.runnable(limit=9, exclude=[]) == [begun]
    assert not await claims(store, late)
    assert await claims(store, begun)
    assert await finish(store, begun, attempt=3)
    assert await claims(store, late)


@pytest.mark.parametrize("round_", range(5))
async def test_of_claims_at_once_in_a_thread_only_the_first_runs_wins(
    store: SqlRunStore, round_: int
) -> None:
    refs = [await add_run(store, number, thread_id="t") for number in range(4)]
    order = refs if round_ % 2 else refs[::-1]
    won = await at_once(*(claims(store, ref) for ref in order * 3))
    assert {ref for ref, wins in zip(order * 3, won, strict=True) if wins} == {refs[0]}
    assert len(await store.unfinished()) == 1


async def test_claims_against_creates_with_smaller_ids_leave_one_running(
    store: SqlRunStore,
) -> None:
    """Whichever is committed first, a thread never has two segments."""

    async def creates_and_claims(number: int) -> None:
        await claims(store, await add_run(store, number, thread_id="t"))

    for start in range(0, 60, 6):
        await at_once(*(creates_and_claims(number) for number in range(start, start + 6)))
        running = await store.unfinished()
        assert len(running) == 1
        assert await finish(store, running[0])
        left = await store.find("ada", RunQuery(status="queued", limit=100))
        await at_once(*(cancel(store, ref_of(run)) for run in left))


# strategies


@pytest.mark.parametrize("strategy", ["enqueue", "reject", "interrupt"])
async def test_an_idle_thread_takes_a_run_whatever_the_strategy(
    store: SqlRunStore, strategy: MultitaskStrategy
) -> None:
    await add_running(store, 1, thread_id="t", tenant_id="bob")
    await add_running(store, 2, thread_id="other")
    ended = await add_running(store, 3, thread_id="t")
    await finish(store, ended)
    before = await all_events(store, ended)
    created = await create(store, 4, strategy)
    assert (created.run.status, created.replayed, created.interrupted) == ("queued", False, ())
    assert await all_events(store, ended) == before


@pytest.mark.parametrize("status", sorted(ACTIVE))
async def test_reject_refuses_a_busy_thread_and_leaves_nothing(
    store: SqlRunStore, status: RunStatus
) -> None:
    busy = await add_run(store, 1, thread_id="t")
    await put_in(store, busy, status)
    with pytest.raises(CallerError) as caught:
        await store.create(
            make_run(2, thread_id="t", tags=["red"]),
            CREATED,
            idempotency=make_key(),
            strategy="reject",
        )
    assert (caught.value.code, caught.value.run_id) == ("thread-busy", busy.run_id)
    assert busy.run_id in caught.value.detail
    assert f"({status})" in caught.value.detail
    assert [len(await rows_of(store, table)) for table in (runs, events, idempotency)] == [1, 1, 0]
    await cancel(store, busy)
    again = await store.create(
        make_run(3, thread_id="t"), CREATED, idempotency=make_key(), strategy="reject"
    )
    assert not again.replayed


async def test_of_rejecting_creates_at_once_exactly_one_wins(store: SqlRunStore) -> None:
    made = await at_once(*(unless_busy(create(store, n, "reject")) for n in range(30)))
    (winner,) = [each for each in made if isinstance(each, Created)]
    assert {each.run_id for each in made if isinstance(each, CallerError)} == {winner.run.id}
    assert [run.id for run in await store.find("ada", RunQuery(limit=99))] == [winner.run.id]


async def test_interrupt_ends_every_active_run_with_what_it_has(store: SqlRunStore) -> None:
    running = await add_running(store, 1, thread_id="t")
    drafts = [
        *(
            make_draft(type="supervisor.decision", data={"assignments": [{}]}, round=round_)
            for round_ in (1, 2)
        ),
        make_draft("1", agent="coder", path="coder", data={"output": "One."}),
        make_draft("2", agent="analyst", type="agent.failed", data={"detail": "Gone."}),
        make_draft("3", agent="coder", path="coder", data={"output": "Two."}),
    ]
    await store.append(running, attempt=1, drafts=drafts, calls=[], now=NOW)
    queued = await add_run(store, 2, thread_id="t")
    created = await create(store, 3, "interrupt", created_at=LATER)
    assert await claims(store, ref_of(created.run))
    assert [ref_of(run) for run, _ in created.interrupted] == [running, queued]
    for run, [event] in created.interrupted:
        assert run == await store.get(ref_of(run))
        assert event == (await all_events(store, ref_of(run)))[-1]
        assert (run.status, run.stop_reason, run.ended_at) == ("cancelled", "cancelled", LATER)
        assert event.type == "run.cancelled"
        assert event.data == {
            "reason": f"Run {created.run.id} took its place.",
            "run": run.model_dump(mode="json"),
        }
    (first, _), (second, _) = created.interrupted
    assert (first.rounds, second.rounds, second.result) == (2, 0, None)
    assert first.result is not None
    assert first.result.output == "One.\n\nTwo."
    assert {name: each.status for name, each in first.result.agents.items()} == {
        "coder": "completed",
        "analyst": "failed",
    }


async def test_an_interrupt_that_fails_interrupts_nobody(store: SqlRunStore) -> None:
    running = await add_running(store, 1, thread_id="t")
    before = await store.get(running), await all_events(store, running)
    bad = EventDraft(type="run.created", data={"not": float("nan")})
    with pytest.raises(StatementError):
        await store.create(make_run(2, thread_id="t"), bad, strategy="interrupt")
    assert before == (await store.get(running), await all_events(store, running))


@pytest.mark.slow
async def test_of_interrupting_creates_at_once_one_stays_active(store: SqlRunStore) -> None:
    first = await add_running(store, 0, thread_id="t")

    async def interrupts(number: int) -> Created:
        created = await create(store, number, "interrupt")
        await claims(store, ref_of(created.run))
        return created

    made = await at_once(*(interrupts(number) for number in range(1, 31)))
    found = await store.find("ada", RunQuery(limit=99))
    (left,) = [run for run in found if not run.terminal]
    ended = [run.id for each in made for run, _ in each.interrupted]
    assert sorted([*ended, left.id]) == sorted([first.run_id, *(each.run.id for each in made)])
    for run in found:
        log = await all_events(store, ref_of(run))
        assert [event.terminal for event in log] == [*[False] * (len(log) - 1), run.id != left.id]


@pytest.mark.parametrize("round_", range(5))
async def test_a_run_that_ends_while_it_is_interrupted_ends_once(
    store: SqlRunStore, round_: int
) -> None:
    ref = await add_running(store, 1, thread_id="t")
    works: list[Any] = [finish(store, ref), create(store, 2, "interrupt")]
    results = await at_once(*(works if round_ % 2 else works[::-1]))
    (created,) = [each for each in results if isinstance(each, Created)]
    finished = any(each is not None and each is not created for each in results)
    assert len(created.interrupted) == (0 if finished else 1)
    assert await status_of(store, ref) == ("completed" if finished else "cancelled")
    assert [event.terminal for event in await all_events(store, ref)] == [False, True]


async def test_what_is_in_the_log_of_an_interrupted_run_is_in_its_result(
    store: SqlRunStore,
) -> None:
    """Also what is appended at the same moment: it is in both or in neither."""
    ref = await add_running(store, 1, thread_id="t")

    async def works(number: int) -> None:
        draft = make_draft(number, agent="coder", data={"output": f"{number}."})
        appending = store.append(ref, attempt=1, drafts=[draft], calls=[], now=NOW)
        await unless_lost(appending)

    await at_once(
        *(works(n) for n in range(20)),
        unless_busy(create(store, 2, "interrupt")),
        *(works(n) for n in range(20, 40)),
    )
    run = await store.get(ref)
    log = await all_events(store, ref)
    outputs = [event.data["output"] for event in log if event.type == "agent.completed"]
    assert run is not None
    assert (run.result.output if run.result else "") == "\n\n".join(outputs)
    assert [event.seq for event in log] == list(range(1, run.last_seq + 1))


@pytest.mark.parametrize("strategy", ["reject", "interrupt"])
async def test_a_replayed_key_returns_its_run_whatever_the_strategy_would_say(
    store: SqlRunStore, strategy: MultitaskStrategy
) -> None:
    async def send(number: int) -> Created:
        run = make_run(number, thread_id="t")
        return await store.create(run, CREATED, idempotency=make_key(), strategy=strategy)

    first = await send(1)
    assert await claims(store, ref_of(first.run))
    again = await at_once(*(send(number) for number in range(2, 12)))
    assert all(each.replayed and each.interrupted == () for each in again)
    assert {(each.run.id, each.run.status) for each in again} == {(run_id(1), "running")}


async def test_twenty_requests_at_once_with_one_key_reject_none(store: SqlRunStore) -> None:
    made = await at_once(
        *(
            store.create(
                make_run(n, thread_id="t"), CREATED, idempotency=make_key(), strategy="reject"
            )
            for n in range(20)
        )
    )
    assert len({each.run.id for each in made}) == 1
    assert sum(not each.replayed for each in made) == 1


# callers


async def test_of_fifty_claims_at_once_as_many_win_as_a_caller_may_have(opening: Open) -> None:
    async with opening(max_per_caller=3) as store:
        refs = [await add_run(store, number, caller_id="key") for number in range(50)]
        for _ in range(4):
            won = await at_once(*(claims(store, ref) for ref in refs))
            held = [ref for ref, wins in zip(refs, won, strict=True) if wins]
            assert len(held) == len(await store.unfinished()) == 3
            for ref in held:
                assert await finish(store, ref)
            refs = [ref for ref in refs if ref not in held]


@pytest.mark.slow
async def test_claims_against_endings_never_exceed_the_limit(opening: Open) -> None:
    async with opening(max_per_caller=2) as store:
        refs = [await add_run(store, number, caller_id="key") for number in range(50)]
        counts: list[int] = []

        async def lives(ref: RunRef) -> None:
            if await claims(store, ref):
                counts.append(len(await store.unfinished()))
                assert await finish(store, ref)

        while refs:
            await at_once(*(lives(ref) for ref in refs))
            refs = [ref for ref in refs if await status_of(store, ref) == "queued"]
        assert max(counts) <= 2


async def test_a_limit_counts_the_running_runs_of_one_caller_of_one_tenant(
    opening: Open,
) -> None:
    async with opening(max_per_caller=1) as store:
        first = await add_running(store, 1, caller_id="key")
        second = await add_run(store, 2, caller_id="key")
        before = await store.get(second), await all_events(store, second)
        assert not await claims(store, second)
        assert before == (await store.get(second), await all_events(store, second))
        assert await claims(store, await add_run(store, 3, caller_id="other"))
        assert await claims(store, await add_run(store, 4, caller_id="key", tenant_id="bob"))
        await put_in(store, first, "requires_action")
        assert await claims(store, second)


async def test_a_run_that_holds_a_place_is_taken_over_whatever_the_limit_is_now(
    opening: Open,
) -> None:
    """After a crash and with a smaller limit: a place that nobody can take over is never freed."""
    async with opening(max_per_caller=1) as store:
        refs = [await add_run(store, number) for number in range(3)]
        for ref in refs:
            await put_in(store, ref, "running")
        assert all([await claims(store, ref) for ref in refs])


async def test_runnable_runs_are_no_more_than_a_caller_has_places(opening: Open) -> None:
    async with opening(max_per_caller=2) as store:
        mine = [await add_run(store, number, caller_id="key") for number in range(4)]
        blocked = await add_run(store, 4, caller_id="key", thread_id="thread_0")
        theirs = [await add_run(store, number, caller_id="other") for number in range(5, 7)]
        assert await store.runnable(limit=9, exclude=[]) == [*mine[:2], *theirs]
        assert await store.runnable(limit=3, exclude=[]) == [*mine[:2], theirs[0]]
        assert await store.runnable(limit=9, exclude={mine[0].run_id}) == [*mine[1:3], *theirs]
        assert await claims(store, mine[2])
        assert await store.runnable(limit=9, exclude=[]) == [mine[0], *theirs]
        assert await claims(store, mine[0])
        assert await store.runnable(limit=9, exclude=[]) == theirs
        assert await store.has_queued(exclude={ref.run_id for ref in theirs})
        assert await finish(store, mine[0])
        assert await store.runnable(limit=9, exclude={mine[1].run_id}) == [mine[3], *theirs]
        await finish(store, mine[2])
        await cancel(store, mine[1])
        assert await store.runnable(limit=1, exclude={mine[3].run_id}) == [blocked]


# the queue


TOLD: Final = Table("told", MetaData(), Column("tenant", String), Column("run", String))
"""A queue in the store's own database: what it is told stands or falls with the transaction."""


class Queue:
    """Takes the runs that a store says may be claimed, and claims them."""

    def __init__(self) -> None:
        self.broken = False
        self.store: SqlRunStore
        self._locks: defaultdict[RunRef, asyncio.Lock] = defaultdict(asyncio.Lock)

    def put(self, connection: Connection, ref: RunRef) -> None:
        connection.execute(insert(TOLD).values(tenant=ref.tenant_id, run=ref.run_id))
        if self.broken:
            msg = "the queue is broken"
            raise LookupError(msg)

    async def taken(self) -> list[RunRef]:
        """Empty the queue."""

        def empty(connection: Connection) -> list[RunRef]:
            found = connection.execute(delete(TOLD).returning(TOLD.c.tenant, TOLD.c.run))
            return sorted(RunRef(*row) for row in found)

        return await self.store.database.write(empty)

    async def claimed(self) -> list[RunRef]:
        """Empty the queue and claim; return the runs that could be claimed."""
        return [ref for ref in dict.fromkeys(await self.taken()) if await self._claims(ref)]

    async def _claims(self, ref: RunRef) -> bool:
        # However often a run was put in, a queue gives it to one process at a time.
        async with self._locks[ref]:
            return await status_of(self.store, ref) == "queued" and await claims(self.store, ref)


async def opened_queue(opening: Open, **options: Any) -> AsyncIterator[Queue]:
    queue = Queue()
    async with opening(enqueue=queue.put, **options) as store:
        queue.store = store
        await store.database.write(TOLD.create)
        yield queue


@pytest.fixture
async def queue(opening: Open) -> AsyncIterator[Queue]:
    async for each in opened_queue(opening):
        yield each


@pytest.fixture
async def limited(opening: Open) -> AsyncIterator[Queue]:
    """Return the queue of a store in which a caller may have two runs executed."""
    async for each in opened_queue(opening, max_per_caller=2):
        yield each


async def test_a_new_run_is_put_into_the_queue(queue: Queue) -> None:
    first = await create(queue.store, 1, "enqueue")
    assert await queue.taken() == [ref_of(first.run)]
    second = await queue.store.create(
        make_run(2, thread_id="t"), CREATED, idempotency=make_key(), strategy="enqueue"
    )
    assert await queue.taken() == [], "the end of the one before it puts it in"
    assert await finish(queue.store, ref_of(first.run)) is None, "it has not begun"
    assert await claims(queue.store, ref_of(first.run))
    assert await finish(queue.store, ref_of(first.run))
    assert await queue.taken() == [ref_of(second.run)]
    again = await queue.store.create(
        make_run(3, thread_id="t"), CREATED, idempotency=make_key(), strategy="enqueue"
    )
    assert again.replayed
    assert await queue.taken() == []


@pytest.mark.parametrize("end", [finish, cancel])
async def test_the_end_of_a_run_puts_the_next_of_its_thread_into_the_queue(
    queue: Queue, end: Any
) -> None:
    store = queue.store
    refs = [await add_run(store, number, thread_id="t") for number in range(3)]
    await add_run(store, 3, thread_id="other")
    await add_run(store, 4, thread_id="t", tenant_id="bob")
    assert await claims(store, refs[0])
    await queue.taken()
    assert await end(store, refs[0])
    assert await queue.taken() == [refs[1]]
    assert not await end(store, refs[0])
    assert await queue.taken() == []


async def test_an_end_puts_the_callers_next_run_into_the_queue(limited: Queue) -> None:
    store = limited.store
    refs = [await add_running(store, number, caller_id="key") for number in range(2)]
    refs += [await add_run(store, 2, caller_id="key", thread_id="thread_0")]
    refs += [await add_run(store, number, caller_id="key") for number in range(3, 6)]
    await add_run(store, 6, caller_id="other")
    await limited.taken()
    assert await finish(store, refs[1])
    assert await limited.taken() == [refs[3]]
    assert await finish(store, refs[0])
    assert await limited.taken() == [refs[2]]
    assert await claims(store, refs[3])
    assert await limited.taken() == [refs[2]]
    assert await claims(store, refs[2])
    assert await limited.taken() == []
    assert await cancel(store, refs[4])
    assert await limited.taken() == []


async def test_an_interruption_puts_its_run_and_those_it_unblocks_into_the_queue(
    limited: Queue,
) -> None:
    store = limited.store
    await add_running(store, 1, caller_id="key", thread_id="t")
    await add_running(store, 2, caller_id="key")
    waiting = await add_run(store, 3, caller_id="key")
    assert not await claims(store, waiting)
    await limited.taken()
    created = await create(store, 4, "interrupt", caller_id="other")
    assert await limited.taken() == sorted([waiting, ref_of(created.run)])


async def test_a_queue_that_fails_undoes_all_of_the_transaction(limited: Queue) -> None:
    store = limited.store
    running = await add_running(store, 1, thread_id="t")
    queued = await add_run(store, 2, thread_id="t")
    third, fourth = await add_run(store, 3), await add_run(store, 4)
    await limited.taken()

    async def everything() -> list[Any]:
        tables = (runs, events, idempotency, TOLD)
        return [sorted(map(str, await rows_of(store, table))) for table in tables]

    before = await everything()
    limited.broken = True
    key = make_key()
    run = make_run(5, thread_id="t")
    for work in (
        lambda: store.create(make_run(6), CREATED, idempotency=key),
        lambda: store.create(run, CREATED, idempotency=key, strategy="interrupt"),
        lambda: finish(store, running),
        lambda: cancel(store, running),
        lambda: cancel(store, queued),
    ):
        with pytest.raises(LookupError, match="broken"):
            await work()
        assert await everything() == before
    limited.broken = False
    assert await finish(store, running)
    before = await everything()
    limited.broken = True
    with pytest.raises(LookupError, match="broken"):
        await claims(store, third)
    assert await everything() == before
    limited.broken = False
    assert await claims(store, third)
    assert await claims(store, fourth)


@pytest.mark.parametrize("round_", range(8))
async def test_a_run_created_while_the_one_before_it_ends_is_not_forgotten(
    queue: Queue, round_: int
) -> None:
    """Its create's claim may come too early, and the end may not have seen it: never both."""
    store = queue.store
    first = await add_running(store, 1, thread_id="t")
    await queue.taken()

    async def ends() -> list[RunRef]:
        assert await (finish(store, first) if round_ % 2 else cancel(store, first))
        return await queue.claimed()

    async def creates() -> list[RunRef]:
        await create(store, 2, "enqueue")
        return await queue.claimed()

    works = [ends(), creates()]
    claimed = await at_once(*(works if round_ % 4 < 2 else works[::-1]))
    assert [ref.run_id for refs in claimed for ref in refs] == [run_id(2)]


@pytest.mark.slow
async def test_a_backlog_is_worked_off_by_what_the_queue_is_told(limited: Queue) -> None:
    """Forty runs of ten threads and two callers: none is forgotten, and no rule is broken."""
    store = limited.store
    counts: list[int] = []
    order: dict[str, list[str]] = {}

    async def works(refs: list[RunRef]) -> None:
        while refs:
            ref = refs.pop()
            run = await store.get(ref)
            assert run is not None
            order.setdefault(run.thread_id, []).append(run.id)
            running = await store.find("ada", RunQuery(status="running", limit=99))
            assert len({each.thread_id for each in running}) == len(running)
            counts.append(sum(each.caller_id == run.caller_id for each in running))
            await append(store, ref, "a")
            assert await (cancel(store, ref) if int(run.id[-1]) % 2 else finish(store, ref))
            refs += await limited.claimed()

    async def lives(number: int) -> None:
        await create(
            store, number, "enqueue", thread_id=f"t{number % 10}", caller_id=f"c{number % 2}"
        )
        await works(await limited.claimed())

    await at_once(*(lives(number) for number in range(40)))
    found = await store.find("ada", RunQuery(limit=99))
    assert {run.status for run in found} == {"completed", "cancelled"}
    assert len(found) == sum(len(ids) for ids in order.values()) == 40
    assert max(counts) <= 2


async def test_two_ends_at_once_fill_two_places(limited: Queue) -> None:
    """Each frees a place: one run in the queue for both would leave a place empty."""
    store = limited.store
    running = [await add_running(store, number) for number in range(2)]
    waiting = [await add_run(store, number) for number in range(2, 22)]
    await limited.taken()

    async def ends(ref: RunRef) -> list[RunRef]:
        assert await finish(store, ref)
        return await limited.claimed()

    while waiting:
        ended = [ref for refs in await at_once(*(ends(ref) for ref in running)) for ref in refs]
        running = [*ended, *await limited.claimed()]
        assert len(running) == 2
        waiting = [ref for ref in waiting if ref not in running]
