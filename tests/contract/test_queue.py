"""The queue of segments on a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import psycopg
import pytest

from domain.ports import RunRef
from service.dispatch.segments import SegmentQueue
from service.store.postgres import conninfo

REF: Final = RunRef("default", "run_1")
TAKEOVER: Final = 1.0

SILENCE: Final = """
    CREATE FUNCTION be_away() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'away' USING ERRCODE = 'admin_shutdown'; END $$;
    CREATE TRIGGER away BEFORE UPDATE OF last_heartbeat ON procrastinate_workers
    FOR EACH STATEMENT EXECUTE FUNCTION be_away();
"""
OLD: Final = """
    DROP TRIGGER away ON procrastinate_workers;
    UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour';
"""


@pytest.fixture
def database(postgres_url: str) -> Iterator[psycopg.Connection]:
    """Connect to the database of the queue."""
    with psycopg.connect(conninfo(postgres_url), autocommit=True) as connection:
        yield connection


def open_queue(url: str) -> SegmentQueue:
    return SegmentQueue(conninfo(url), engine="offline", pool_size=2, takeover_seconds=TAKEOVER)


async def test_nothing_is_taken_from_who_has_just_come_back_and_taken_it(
    postgres_url: str, database: psycopg.Connection
) -> None:
    """After a silence the sign of life comes before the job: else the job counts as left by a dead worker."""
    ours, theirs = open_queue(postgres_url), open_queue(postgres_url)
    taken: asyncio.Queue[int] = asyncio.Queue()

    async def work(_ref: RunRef) -> None:
        taken.put_nowait(await theirs.take_over())

    async with ours.opened(), theirs.opened(), asyncio.timeout(30):
        worker = asyncio.create_task(ours.work(work, concurrency=1, grace_seconds=1))
        await ours.put_now(REF)
        assert await taken.get() == 0
        for _ in range(3):
            await asyncio.to_thread(database.execute, SILENCE)
            await asyncio.sleep(TAKEOVER)  # it has been silent for so long that it seems dead
            with database.transaction():
                database.execute(OLD)
                database.execute("DROP FUNCTION be_away")
            await ours.put_now(REF)
            assert await taken.get() == 0
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
