"""Turns on Postgres, moment by moment: one transaction is held before its commit while another begins.

What `test_threads.py` leaves to chance on every database happens here each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.util import await_only

from domain.events import EventDraft
from domain.ports import Claim, RunRef
from domain.run import MultitaskStrategy
from service.store import SqlRunStore, open_store
from service.store.housekeeping import SqlRunKeeper
from tests.contract.factories import (
    LATER,
    NOW,
    add_run,
    add_running,
    append,
    cancel,
    finish,
    make_draft,
    make_run,
)

HELD: Final = "held"
CREATED: Final = EventDraft(type="run.created", data={})
WAITING: Final = text(
    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE NOT granted AND datname = current_database()"
)


class Gate:
    """Holds the transactions of one task before their commit."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._opened = asyncio.Event()

    def hold(self, _connection: Connection) -> None:
        task = asyncio.current_task()
        if task and task.get_name() == HELD:
            self._arrived.set()
            await_only(self._opened.wait())

    @asynccontextmanager
    async def holding(
        self, store: SqlRunStore, work: Coroutine[Any, Any, Any]
    ) -> AsyncIterator[Meeting]:
        """Do work up to its commit, and commit it at the end of the context."""
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(work, name=HELD)
            await self._arrived.wait()
            yield Meeting(store, group)
            self._opened.set()


class Meeting:
    """Begins work that meets a held transaction."""

    def __init__(self, store: SqlRunStore, group: asyncio.TaskGroup) -> None:
        self._store = store
        self._group = group

    async def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin work; return when it is done or waits for the held transaction."""
        task = self._group.create_task(work)
        while not task.done() and not await self._store.database.read(_count_waiting):
            pass
        return task


def _count_waiting(connection: Connection) -> int:
    return int(connection.execute(WAITING).scalar_one())


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    event.listen(Engine, "commit", made.hold)
    yield made
    event.remove(Engine, "commit", made.hold)


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[SqlRunStore]:
    async with open_store(postgres_url) as opened:
        yield opened


async def claim(store: SqlRunStore, ref: RunRef) -> Claim | None:
    return await store.claim(ref, now=LATER)


async def create_and_claim(
    store: SqlRunStore, number: int, strategy: MultitaskStrategy = "enqueue"
) -> Claim | None:
    run = make_run(number, thread_id="t")
    await store.create(run, CREATED, strategy=strategy)
    return await claim(store, RunRef(run.tenant_id, run.id))


@pytest.mark.parametrize("end", [finish, cancel])
async def test_a_claim_waits_for_an_end_that_could_not_see_its_run(
    store: SqlRunStore, gate: Gate, end: Any
) -> None:
    """The end has looked for the next run already: nobody would tell of this one again."""
    first = await add_running(store, 1, thread_id="t")
    async with gate.holding(store, end(store, first)) as meeting:
        claiming = await meeting.begin(create_and_claim(store, 2))
        assert not claiming.done()
    assert claiming.result() is not None


async def test_a_claim_that_comes_before_an_end_is_refused_and_holds_up_nobody(
    store: SqlRunStore, gate: Gate
) -> None:
    first = await add_running(store, 1, thread_id="t")
    second = await add_run(store, 2, thread_id="t")
    async with gate.holding(store, claim(store, second)) as meeting:
        ending = await meeting.begin(finish(store, first))
    assert ending.result() is not None
    assert await claim(store, second)


async def test_a_run_with_a_smaller_id_does_not_slip_in_beside_one_that_begins(
    store: SqlRunStore, gate: Gate
) -> None:
    first = await add_run(store, 2, thread_id="t")
    async with gate.holding(store, claim(store, first)) as meeting:
        claiming = await meeting.begin(create_and_claim(store, 1))
    assert claiming.result() is None
    assert await store.unfinished() == [first]


@pytest.mark.parametrize("strategy", ["reject", "interrupt"])
async def test_a_create_sees_what_the_one_before_it_leaves(
    store: SqlRunStore, gate: Gate, strategy: MultitaskStrategy
) -> None:
    ended = await add_running(store, 1, thread_id="t")
    await finish(store, ended)

    def creating(number: int) -> Coroutine[Any, Any, Any]:
        run = make_run(number, thread_id="t")
        return store.create(run, CREATED, strategy=strategy)

    async def outcome(number: int) -> object:
        try:
            return await creating(number)
        except Exception as error:  # noqa: BLE001 - compared below
            return getattr(error, "code", error)

    async with gate.holding(store, creating(2)) as meeting:
        second = await meeting.begin(outcome(3))
    if strategy == "reject":
        assert second.result() == "thread-busy"
    else:
        assert [run.id for run, _ in second.result().interrupted] == [make_run(2).id]


async def test_what_is_being_appended_when_a_run_is_interrupted_is_kept(
    store: SqlRunStore, gate: Gate
) -> None:
    ref = await add_running(store, 1, thread_id="t")
    draft = make_draft("last", agent="coder", data={"output": "Just in time."})
    appending = store.append(ref, attempt=1, drafts=[draft], calls=[], now=NOW)
    async with gate.holding(store, appending) as meeting:
        await meeting.begin(create_and_claim(store, 2, "interrupt"))
    run = await store.get(ref)
    assert run is not None
    assert run.result is not None
    assert run.result.output == "Just in time."


async def test_two_claims_do_not_take_the_same_place(postgres_url: str, gate: Gate) -> None:
    async with open_store(postgres_url, max_per_caller=1) as store:
        first, second = await add_run(store, 1), await add_run(store, 2)
        async with gate.holding(store, claim(store, first)) as meeting:
            claiming = await meeting.begin(claim(store, second))
        assert claiming.result() is None
        assert await store.unfinished() == [first]


async def test_a_claim_sees_the_place_that_an_end_is_giving_back(
    postgres_url: str, gate: Gate
) -> None:
    """It is the one that passes the second place on: it must not count a run that is ending."""
    told: list[RunRef] = []
    async with open_store(
        postgres_url, max_per_caller=2, enqueue=lambda _, ref: told.append(ref)
    ) as store:
        running = [await add_running(store, number) for number in (1, 2)]
        waiting = [await add_run(store, number) for number in (3, 4)]
        told.clear()
        await finish(store, running[0])
        async with gate.holding(store, finish(store, running[1])) as meeting:
            claiming = await meeting.begin(claim(store, waiting[0]))
        assert claiming.result() is not None
        assert told == [waiting[0], waiting[0], waiting[1]]


async def test_claims_of_many_threads_do_not_wait_for_one_another(
    store: SqlRunStore, gate: Gate
) -> None:
    first, other = await add_run(store, 1), await add_run(store, 2)
    third = await add_running(store, 3)
    async with gate.holding(store, claim(store, first)) as meeting:
        for work in (claim(store, other), append(store, third, "a"), finish(store, third)):
            assert (await meeting.begin(work)).done()


async def test_who_is_about_to_wait_for_a_person_holds_no_row_before_the_key(
    store: SqlRunStore, gate: Gate
) -> None:
    """Whoever has the key may want the row: each would wait for the other."""
    same = {"cache_key": "k", "cache_seconds": 60}
    ref = await add_running(store, 1, **same)
    async with gate.holding(store, add_run(store, 2, **same)) as meeting:
        waiting = store.approvals.wait_for(ref, attempt=1, approval_ids=[], since=None, now=LATER)
        await meeting.begin(waiting)
        free = await store.database.write(
            lambda connection: connection.execute(
                text("SELECT id FROM runs WHERE id = :run FOR UPDATE NOWAIT"), {"run": ref.run_id}
            ).scalar_one()
        )
        assert free == ref.run_id


async def test_an_answer_is_not_deleted_while_it_is_given(store: SqlRunStore, gate: Gate) -> None:
    """Its files are being given second names."""
    same = {"cache_key": "k", "cache_seconds": 60, "created_at": LATER}
    ref = await add_running(store, 1, **same)
    await finish(store, ref)
    keeper = SqlRunKeeper(store.database)
    async with gate.holding(store, add_run(store, 2, **same)):
        assert await keeper.delete(before=LATER, now=LATER, limit=9) == []
    given = await store.get(RunRef("ada", make_run(2).id))
    assert given is not None
    assert given.cache is not None
    assert ref in await keeper.delete(before=LATER, now=LATER, limit=9)
