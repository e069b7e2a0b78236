"""What is kept for how long, as a client sees it: each setting, the gap in a stream, the folders."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from service.store import open_store
from service.store.tables import runs
from tests.fakes.running import Event, Product
from tests.integration.conftest import Start

SECONDS = 20.0


class History:
    """Two runs of a server that was stopped: one ended ten days ago, the other two."""

    def __init__(self, start: Start, folder: Path) -> None:
        self._start = start
        self._folder = folder
        self.file = folder / "runs.db"
        self.url = f"sqlite:///{self.file}"
        self.old: dict[str, Any] = {}
        self.young: dict[str, Any] = {}
        self.log: list[Event] = []

    def start(self, **settings: Any) -> Any:
        return self._start(database_url=self.url, **settings)

    async def make(self) -> None:
        async with self.start() as product:
            self.old = await product.finished("What is 12 * 12?")
            self.young = await product.finished("What is 13 * 13?")
            self.log = await product.events(self.old["id"])
        for run in (self.old, self.young):
            # Neither has left a file, but this is where one would lie.
            self.shelf_of(run).mkdir(parents=True)
            (self.shelf_of(run) / ("0" * 64)).write_text("kept")
        await self.age(self.old, 10)
        await self.age(self.young, 2)

    async def age(self, run: dict[str, Any], days: float) -> None:
        """Have a run ended so many days ago."""
        ended_at = datetime.now(UTC) - timedelta(days=days)
        change = update(runs).where(runs.c.id == run["id"]).values(ended_at=ended_at)
        async with open_store(self.url) as store:
            await store.database.write(lambda connection: connection.execute(change).close())

    def folder_of(self, run: dict[str, Any], kind: str = "workspaces") -> Path:
        return self._folder / "data" / kind / "default" / str(run["id"])

    def shelf_of(self, run: dict[str, Any]) -> Path:
        return self.folder_of(run, "artifacts")

    def steps(self, run: dict[str, Any]) -> int:
        """Return how many checkpoints a run has of its own steps."""
        sql = "SELECT count(*) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"
        with closing(sqlite3.connect(self.file)) as connection:
            return int(connection.execute(sql, (run["id"],)).fetchone()[0])


@pytest.fixture
async def history(start: Start, tmp_path: Path) -> History:
    made = History(start, tmp_path)
    await made.make()
    return made


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until something can be seen."""
    async with asyncio.timeout(SECONDS):
        while not await seen():
            pass


async def shortened(product: Product, history: History) -> None:
    """Return when the old run's events are gone."""

    async def one_left() -> bool:
        return len(await product.events(history.old["id"])) == 1

    await until(one_left)


async def test_runs_are_kept_for_so_many_days(history: History) -> None:
    """The run goes with its folders; a younger one stays as it was."""
    for run in (history.old, history.young):
        assert history.folder_of(run).is_dir(), "both runs had computed something"
        assert list(history.folder_of(run, "sources").iterdir()), "and something was answered"
    async with history.start(keep_runs_days=5) as product:

        async def gone() -> bool:
            answer = await product.client.get(f"/v1/runs/{history.old['id']}")
            kinds = ("workspaces", "artifacts", "sources")
            folders = [history.folder_of(history.old, kind) for kind in kinds]
            return answer.status_code == 404 and not any(each.exists() for each in folders)

        await until(gone)
        assert (await product.client.get("/v1/runs")).json()["data"][0]["id"] == (
            history.young["id"]
        )
        assert len(await product.events(history.young["id"])) > 1
        assert history.steps(history.old) == 0
        assert history.steps(history.young) > 1
        assert history.folder_of(history.young).is_dir()
        assert list(history.shelf_of(history.young).iterdir())
        assert list(history.folder_of(history.young, "sources").iterdir())


async def test_events_are_kept_for_so_many_days(history: History) -> None:
    """The run itself is still there, and so is the event that ended it."""
    async with history.start(keep_events_days=5, keep_checkpoints_days=0) as product:
        await shortened(product, history)
        assert await product.events(history.old["id"]) == history.log[-1:]
        answer = await product.client.get(f"/v1/runs/{history.old['id']}")
        assert answer.json()["result"] == history.old["result"]
        assert len(await product.events(history.young["id"])) > 1
        assert history.steps(history.old) > 1


async def test_steps_are_kept_for_so_many_days(history: History) -> None:
    """The last one stays, and so do the events."""
    async with history.start(keep_checkpoints_days=5) as product:

        async def pruned() -> bool:
            return await asyncio.to_thread(history.steps, history.old) == 1

        await until(pruned)
        assert history.steps(history.young) > 1
        assert await product.events(history.old["id"]) == history.log


async def test_a_cursor_older_than_what_is_kept_is_told_of_the_gap(history: History) -> None:
    """Then the stream goes on with what there is, and ends as ever."""
    run_id, last = history.old["id"], history.old["last_seq"]
    async with history.start(keep_events_days=5) as product:
        await shortened(product, history)
        for requested, query in ((0, ""), (2, "?after=2"), (3, "?after=3&tokens=false")):
            gap, end = await product.stream(run_id, query=query)
            data = {"requested": requested, "earliest": last, "latest": last}
            assert gap == {
                "type": "stream.gap",
                "run_id": run_id,
                "data": data,
                "_id": None,
                "_event": "stream.gap",
            }
            assert (end["type"], end["seq"]) == ("run.completed", last)


async def test_where_nothing_is_missing_there_is_no_gap(history: History) -> None:
    """Not before the last event, not after it, not on a page of JSON, not for who filters it out."""
    run_id, last = history.old["id"], history.old["last_seq"]
    async with history.start(keep_events_days=5) as product:
        await shortened(product, history)
        (end,) = await product.stream(run_id, query=f"?after={last - 1}")
        assert end["type"] == "run.completed"
        (end,) = await product.stream(run_id, query="?types=run.*")
        assert end["type"] == "run.completed"
        headers = {"accept": "text/event-stream", "last-event-id": str(last)}
        answer = await product.client.get(f"/v1/runs/{run_id}/events", headers=headers)
        assert answer.status_code == 204
        page = (await product.client.get(f"/v1/runs/{run_id}/events?after=1")).json()
        assert ([event["seq"] for event in page["data"]], page["has_more"]) == ([last], False)
        frames = await product.stream(history.young["id"])
        assert [frame["seq"] for frame in frames] == list(range(1, history.young["last_seq"] + 1))


@pytest.mark.parametrize("kind", ["workspaces", "artifacts", "sources"])
async def test_folders_without_a_run_go_when_they_are_as_old_as_a_run_may_be(
    history: History, kind: str
) -> None:
    """Another machine may have deleted the run; a young folder may be somebody else's."""
    root = history.folder_of(history.old, kind).parent
    stray, fresh = root / "run_stray", root / "run_fresh"
    for folder in (stray, fresh):
        folder.mkdir()
    ten_days_ago = (datetime.now(UTC) - timedelta(days=10)).timestamp()
    for folder in (stray, history.folder_of(history.old, kind)):
        os.utime(folder, (ten_days_ago, ten_days_ago))
    # Its row is younger than its folder says, and the row counts.
    await history.age(history.old, 0)
    async with history.start(keep_runs_days=5):

        async def swept() -> bool:
            return not await asyncio.to_thread(stray.exists)

        await until(swept)
        assert fresh.is_dir()
        assert history.folder_of(history.old, kind).is_dir()
