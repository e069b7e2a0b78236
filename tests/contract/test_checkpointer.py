"""LangGraph's own conformance suite over the checkpointers the service opens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate

from service.checkpoints import open_sqlite_checkpoints
from service.ids import SystemClock
from service.store import SqliteDatabase, open_store, sqlite_path

EXTENDED = {"delete_for_runs", "copy_thread", "prune"}
"""What the stock SQLite saver does not offer either."""


async def test_the_sqlite_checkpointer_conforms(tmp_path: Path) -> None:
    """Every base capability passes, though its rows are written behind."""
    count = iter(range(100))

    async def open_saver() -> AsyncIterator[Any]:
        url = f"sqlite:///{tmp_path}/{next(count)}.db"
        path = sqlite_path(url)
        assert path is not None
        async with open_store(url) as store:
            assert isinstance(store.database, SqliteDatabase)
            async with open_sqlite_checkpoints(path, store.database, SystemClock()) as checkpoints:
                yield checkpoints.saver

    registered = checkpointer_test(name="DeferringSaver", skip_capabilities=EXTENDED)(open_saver)
    report = await validate(registered)
    assert report.passed_all_base(), report.to_dict()


async def test_what_is_saved_behind_is_there_before_what_is_written_next(tmp_path: Path) -> None:
    """A row deferred is committed by the next write, also where that write is undone."""
    url = f"sqlite:///{tmp_path}/a.db"
    path = sqlite_path(url)
    assert path is not None
    async with open_store(url) as store:
        database = store.database
        assert isinstance(database, SqliteDatabase)
        async with open_sqlite_checkpoints(path, database, SystemClock()) as checkpoints:
            saver = checkpoints.saver
            config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
            await saver.aput(config, empty_checkpoint(), {}, {})

            def fail(_: object) -> None:
                raise LookupError

            try:
                await database.write(fail)
            except LookupError:
                pass
            else:  # pragma: no cover
                raise AssertionError

            def count(connection: Any) -> int:
                rows = connection.exec_driver_sql("SELECT count(*) FROM checkpoints")
                return int(rows.scalar_one())

            assert await database.read(count) == 1


async def test_a_fresh_thread_is_not_looked_up(tmp_path: Path) -> None:
    """What `begin` says saves reads, and stops being said with the first save or `end`."""
    url = f"sqlite:///{tmp_path}/a.db"
    path = sqlite_path(url)
    assert path is not None
    async with open_store(url) as store:
        assert isinstance(store.database, SqliteDatabase)
        async with open_sqlite_checkpoints(path, store.database, SystemClock()) as checkpoints:
            saver = checkpoints.saver
            config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
            saver.begin("t", fresh=True)
            assert await saver.aget_tuple(config) is None
            await saver.aput(config, empty_checkpoint(), {}, {})
            assert await saver.aget_tuple(config) is not None
            saver.begin("t", fresh=True)
            saver.end("t")
            assert await saver.aget_tuple(config) is not None
