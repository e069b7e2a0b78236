"""A segment that has lost its run saves nothing, wherever it was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint

from domain.errors import OwnershipLostError, StoreUnavailableError
from domain.ports import RunRef
from domain.run import Run
from service.checkpoints.postgres import FencedSaver, PostgresCheckpoints, open_postgres_checkpoints
from service.ids import SystemClock
from service.store import SqlRunStore, open_store
from service.store.postgres import conninfo
from tests.contract.factories import LATER, NOW, add_run, make_call
from tests.fakes.postgres import PostgresServer

SECONDS = 20.0
GATE = 4711
"""The advisory lock at which a trigger in the tests' database stops a save."""

TRIGGER = f"""
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NEW; END $$;
CREATE TRIGGER gate BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION wait_at_gate();
"""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[SqlRunStore]:
    async with open_store(postgres_url) as opened:
        yield opened


@pytest.fixture
async def checkpoints(postgres_url: str) -> AsyncIterator[PostgresCheckpoints]:
    opened = open_postgres_checkpoints(conninfo(postgres_url), SystemClock(), pool_size=4)
    async with opened as checkpoints:
        yield checkpoints


@asynccontextmanager
async def session(url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


def place(run: Run) -> Any:
    return {"configurable": {"thread_id": run.id, "checkpoint_ns": ""}}


async def save(saver: FencedSaver, run: Run) -> None:
    await saver.aput(place(run), empty_checkpoint(), {}, {})


async def saved(connection: psycopg.AsyncConnection[Any], run: Run) -> int:
    cursor = await connection.execute(
        "SELECT count(*) FROM checkpoints WHERE thread_id = %s", (run.id,)
    )
    row = await cursor.fetchone()
    assert row
    return int(row[0])


async def until_waiting(connection: psycopg.AsyncConnection[Any], count: int) -> None:
    """Return when so many sessions of the database wait for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(SECONDS):
        while (await (await connection.execute(query)).fetchone()) != (count,):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0)


async def claimed(store: SqlRunStore) -> Run:
    claim = await store.claim(await add_run(store), now=NOW)
    assert claim
    return claim.run


async def test_a_save_between_its_check_and_its_commit_holds_a_claim_back(
    store: SqlRunStore, checkpoints: PostgresCheckpoints, postgres_url: str
) -> None:
    """The save is stopped behind its check: a claim waits for it, and what comes later is refused."""
    run = await claimed(store)
    ref = RunRef(run.tenant_id, run.id)
    async with AsyncExitStack() as stack:
        watch = await stack.enter_async_context(session(postgres_url))
        await watch.execute(TRIGGER)
        gate = await stack.enter_async_context(session(postgres_url))
        await gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        saver = await stack.enter_async_context(checkpoints.segment(run))
        assert isinstance(saver, FencedSaver)
        first = asyncio.create_task(save(saver, run))
        await until_waiting(watch, 1)
        claim = asyncio.create_task(store.claim(ref, now=LATER))
        await until_waiting(watch, 2)
        assert not claim.done()
        assert await saved(watch, run) == 0
        await gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
        async with asyncio.timeout(SECONDS):
            await first
            second = await claim
        assert second
        assert second.run.attempt == 2
        assert await saved(watch, run) == 1, "what was checked was committed before the claim"
        with pytest.raises(OwnershipLostError):
            await save(saver, run)
        assert await saved(watch, run) == 1


async def test_every_way_of_saving_is_fenced(
    store: SqlRunStore, checkpoints: PostgresCheckpoints, postgres_url: str
) -> None:
    """Checkpoints, a task's writes, the booking of a call and the deletion of a thread."""
    run = await claimed(store)
    async with session(postgres_url) as watch, checkpoints.segment(run) as saver:
        assert isinstance(saver, FencedSaver)
        kept = await saver.aput(place(run), empty_checkpoint(), {}, {})
        assert await store.claim(RunRef(run.tenant_id, run.id), now=LATER)
        checkpoints.book(run.id, make_call("1|coder|0|1"))
        for attempt in (
            saver.aput(kept, empty_checkpoint(), {}, {}),
            saver.aput_writes(kept, [("task", "x")], "t1"),
            saver.adelete_thread(run.id),
        ):
            with pytest.raises(OwnershipLostError):
                await attempt
        assert await saved(watch, run) == 1
        for table in ("checkpoint_writes", "usage"):
            cursor = await watch.execute(f"SELECT count(*) FROM {table}".encode())
            assert await cursor.fetchone() == (0,)
        with pytest.raises(OwnershipLostError):
            await checkpoints.flush(run.id)


async def test_a_cancelled_run_is_fenced_too(
    store: SqlRunStore, checkpoints: PostgresCheckpoints, postgres_url: str
) -> None:
    """The attempt is the same, but the run has ended."""
    run = await claimed(store)
    async with session(postgres_url) as watch, checkpoints.segment(run) as saver:
        assert isinstance(saver, FencedSaver)
        await watch.execute("UPDATE runs SET status = 'cancelled' WHERE id = %s", (run.id,))
        with pytest.raises(OwnershipLostError):
            await save(saver, run)


async def test_a_call_is_booked_with_the_checkpoint_that_holds_what_it_led_to(
    store: SqlRunStore, checkpoints: PostgresCheckpoints
) -> None:
    """In one transaction; the log's booking of the same call does not count again."""
    run = await claimed(store)
    ref = RunRef(run.tenant_id, run.id)
    async with checkpoints.segment(run) as saver:
        assert isinstance(saver, FencedSaver)
        checkpoints.book(run.id, make_call("1|coder|0|1"))
        await save(saver, run)
    found = await store.get(ref)
    assert found
    assert found.usage.calls == 1
    await store.append(ref, attempt=1, drafts=[], calls=[make_call("1|coder|0|1")], now=NOW)
    found = await store.get(ref)
    assert found
    assert found.usage.calls == 1


async def test_a_reader_of_checkpoints_cannot_save(
    store: SqlRunStore, checkpoints: PostgresCheckpoints
) -> None:
    run = await claimed(store)
    assert await checkpoints.saver.aget_tuple(place(run)) is None
    with pytest.raises(RuntimeError, match="only a segment saves"):
        await checkpoints.saver.aput(place(run), empty_checkpoint(), {}, {})


@pytest.mark.slow
async def test_a_database_that_is_away_is_no_fault_of_the_run(
    store: SqlRunStore,
    checkpoints: PostgresCheckpoints,
    postgres: PostgresServer,
    postgres_url: str,
) -> None:
    """Nothing more is saved by the segment, so that nothing is saved out of order."""
    run = await claimed(store)
    async with checkpoints.segment(run) as saver:
        assert isinstance(saver, FencedSaver)
        await save(saver, run)
        name = postgres_url.partition("?")[0].rpartition("/")[2]
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        async with asyncio.timeout(2 * SECONDS):
            with pytest.raises(StoreUnavailableError):
                await save(saver, run)
            postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            with pytest.raises(StoreUnavailableError):
                await checkpoints.flush(run.id)
            with pytest.raises(StoreUnavailableError):
                await save(saver, run)
