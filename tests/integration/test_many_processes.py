"""One product takes requests, another executes runs: a client cannot tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from service.wire import PIECE_CHARS
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.postgres import PostgresServer
from tests.fakes.running import Product, running
from tests.integration.client_view import ClientView, followed, following
from tests.integration.team_script import SECONDS, Arriving, decisions, solo, worker

ODD: Final = '🚦 "quoted" \\ \x01 ö\n'
"""What takes more bytes in JSON than characters."""
CHUNKS: Final = (*(f"{number} {ODD}" for number in range(300)), "end.")
TEXT: Final = "".join(CHUNKS)
HALF: Final = 150


@pytest.fixture
async def pair(
    postgres_url: str, tmp_path: Path, knowledge: Path, models: FakeModelServer
) -> AsyncIterator[tuple[Product, Product]]:
    """Run two products on one database: the first takes requests only, the second executes too."""
    values: dict[str, Any] = {
        "database_url": postgres_url,
        "database_pool": 4,
        "knowledge_dir": knowledge,
        "OPENAI_BASE_URL": models.base_url,
        "model_timeout": 60,
        "max_concurrent_runs": 4,
    }
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(running(tmp_path / "b", **values))
        first = await stack.enter_async_context(running(tmp_path / "a", executes=False, **values))
        yield first, second


def half_said(view: ClientView) -> bool:
    """Return whether the held message has come as far as it is written."""
    return any(f"{HALF - 1} " in text for text in view.open.values())


async def test_another_process_streams_what_the_worker_writes(
    pair: tuple[Product, Product], models: FakeModelServer
) -> None:
    """Every stored event in order, and every character of a long message in its place."""
    api, worker_ = pair
    models.add(*solo(Reply(text=TEXT, chunks=CHUNKS), gate="half", gate_after=HALF + 1))
    gate = models.event("half")
    assert len(TEXT) > 3 * PIECE_CHARS
    created = await api.client.post("/v1/runs", json={"task": "Write"})
    run_id = created.json()["id"]
    async with following(api, run_id) as here, following(worker_, run_id) as there:
        await asyncio.gather(here.until(half_said), there.until(half_said))
        gate.set()
        views = await asyncio.gather(here.end(), there.end())
    for view in views:
        last = view.of("run.completed")[0]["seq"]
        assert view.seqs == list(range(1, last + 1))
        assert view.messages["msg_1.coder.0"] == TEXT
        assert not view.open
    assert "msg_1.coder.0" not in views[0].unheard


async def test_a_reader_who_joins_late_gets_a_snapshot_and_what_follows(
    pair: tuple[Product, Product], models: FakeModelServer
) -> None:
    """Whether others follow the run at that process already or not."""
    api, worker_ = pair
    models.add(*solo(Reply(text=TEXT, chunks=CHUNKS), gate="half", gate_after=HALF + 1))
    gate = models.event("half")
    created = await api.client.post("/v1/runs", json={"task": "Write"})
    run_id = created.json()["id"]
    async with following(worker_, run_id) as writer_side:
        await writer_side.until(half_said)
        async with following(api, run_id) as first:
            await first.until(half_said)
            assert first.view.of("message.snapshot")
            async with following(api, run_id) as second:
                await second.until(half_said)
                assert len(second.view.of("message.snapshot")) == 1
                gate.set()
                views = await asyncio.gather(writer_side.end(), first.end(), second.end())
    assert [view.messages["msg_1.coder.0"] for view in views] == [TEXT] * 3


async def test_a_client_comes_back_to_another_process(
    pair: tuple[Product, Product], models: FakeModelServer
) -> None:
    """With the number of the last event it has seen, while the run goes on and after its end."""
    api, worker_ = pair
    models.add(*solo(gate="work"))
    gate = models.event("work")
    created = await worker_.client.post("/v1/runs", json={"task": "Do it"})
    run_id = created.json()["id"]
    async with following(worker_, run_id) as stream:
        seen = (await stream.until(lambda view: view.of("agent.started"))).seqs
    async with following(api, run_id, headers={"last-event-id": str(seen[-1])}) as stream:
        gate.set()
        rest = (await stream.end()).seqs
    assert [*seen, *rest] == list(range(1, rest[-1] + 1))
    headers = {"last-event-id": str(rest[-1]), "accept": "text/event-stream"}
    over = await api.client.get(f"/v1/runs/{run_id}/events", headers=headers)
    assert over.status_code == 204


async def test_a_request_waits_for_a_run_that_another_process_executes(
    pair: tuple[Product, Product], models: FakeModelServer
) -> None:
    api, _ = pair
    models.add(*solo())
    answer = await api.run("Do it")
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["output"] == "Done it."


async def test_a_cancellation_reaches_the_process_that_executes(
    pair: tuple[Product, Product], models: FakeModelServer
) -> None:
    """The model's answer is waited for no longer, and the place is free for the next run."""
    api, worker_ = pair
    arriving = Arriving(Reply(fault="hang"))
    models.add(*decisions(("coder", "Do it")), worker("Do it", arriving))
    created = await api.client.post("/v1/runs", json={"task": "Do it"})
    run_id = created.json()["id"]
    await arriving.wait()
    async with following(worker_, run_id) as there:
        cancelled = await api.client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "enough"})
        assert cancelled.status_code == 202
        assert (await there.end()).of("run.cancelled")[0]["data"]["reason"] == "enough"
    async with asyncio.timeout(SECONDS):
        active = worker_.services.dispatcher._active  # type: ignore[attr-defined]
        while active:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0)
    assert (await api.client.get(f"/v1/runs/{run_id}")).json()["status"] == "cancelled"


async def test_a_stream_outlives_the_loss_of_every_connection(
    pair: tuple[Product, Product],
    models: FakeModelServer,
    postgres: PostgresServer,
    postgres_url: str,
) -> None:
    """The sessions that listen are ended in the middle of a message: no stored event is missing."""
    api, _ = pair
    models.add(*solo(Reply(text=TEXT, chunks=CHUNKS), gate="half", gate_after=HALF + 1))
    gate = models.event("half")
    created = await api.client.post("/v1/runs", json={"task": "Write"})
    run_id = created.json()["id"]
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    async with following(api, run_id) as stream:
        stream.view.lossy = (
            True  # what was said meanwhile is not said again before the message's end
        )
        await stream.until(half_said)
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{name}' AND query LIKE '%LISTEN signalbox%'"
        )
        gate.set()
        view = await stream.end()
    last = view.of("run.completed")[0]["seq"]
    assert view.seqs == list(range(1, last + 1))
    assert view.messages["msg_1.coder.0"] == TEXT


@pytest.mark.slow
async def test_the_queue_is_empty_when_all_is_done(
    pair: tuple[Product, Product],
    models: FakeModelServer,
    postgres: PostgresServer,
    postgres_url: str,
) -> None:
    """Ten runs at once leave no job behind."""
    api, worker_ = pair
    models.add(*solo())
    answers = await asyncio.gather(*(api.run("Do it") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    async with asyncio.timeout(SECONDS):
        while postgres.execute("SELECT 1 FROM procrastinate_jobs", name):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0)
    runs = [answer.json() for answer in answers]
    assert {run["attempt"] for run in runs} == {1}
    for run in runs[:3]:
        assert (await followed(worker_, run["id"])).of("run.completed")


async def test_a_worker_without_a_model_leaves_a_models_runs_alone(
    postgres_url: str, tmp_path: Path, knowledge: Path, models: FakeModelServer
) -> None:
    """It could only end them: they wait for a worker that has one, and its own go on meanwhile."""
    models.add(*solo())
    plain: dict[str, Any] = {
        "database_url": postgres_url,
        "database_pool": 4,
        "knowledge_dir": knowledge,
    }
    modelled = {**plain, "OPENAI_BASE_URL": models.base_url}
    async with (
        running(tmp_path / "a", **plain) as offline,
        running(tmp_path / "b", executes=False, **modelled) as api,
    ):
        waiting = (await api.client.post("/v1/runs", json={"task": "Do it"})).json()["id"]
        done = await offline.finished("What is 6 * 7?")
        assert done["engine"] == "offline"
        assert (await api.client.get(f"/v1/runs/{waiting}")).json()["status"] == "queued"
        async with running(tmp_path / "c", **modelled):
            run = await api.ended(waiting)
    assert (run["status"], run["engine"], run["attempt"]) == ("completed", "model", 1)


async def test_a_note_reaches_a_run_that_another_process_executes(
    pair: tuple[Product, Product], models: FakeModelServer
) -> None:
    """Both processes' readers see it at its place, and the worker's next decision reads it."""
    api, worker_ = pair
    working = Arriving(Reply(text="Done."))
    models.add(*solo(working, gate="work"))
    gate = models.event("work")
    created = await api.client.post("/v1/runs", json={"task": "Work"})
    run_id = created.json()["id"]
    async with following(api, run_id) as here, following(worker_, run_id) as there:
        await working.wait()
        path = f"/v1/runs/{run_id}/notes"
        note = (await api.client.post(path, json={"text": "Hurry up."})).json()
        gate.set()
        views = await asyncio.gather(here.end(), there.end())
    for view in views:
        last = view.of("run.completed")[0]["seq"]
        assert view.seqs == list(range(1, last + 1))
        assert [event["data"]["note"] for event in view.of("note.added")] == [note]
        read = [event["data"].get("notes") for event in view.of("supervisor.decision")]
        assert read == [None, [note["id"]]]
    assert "Hurry up." in models.requests[-1].user
