"""A run that is deleted leaves nothing behind but what it has cost."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, inspect, text

from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.fakes.search_server import FakeWeb, html, result
from tests.integration.conftest import Start, database
from tests.integration.people import asked, decided, pending, start_run, turns, waiting
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import Arriving, composer, decisions, solo, worker

CANARY: Final = "canary7e1b55d0c9"
KEY: Final = {"idempotency-key": f"order-{CANARY}"}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of each database in turn."""
    return database(request, tmp_path)


@pytest.fixture
async def product(
    start: Start, models: FakeModelServer, web: FakeWeb, place: dict[str, Any]
) -> AsyncIterator[Product]:
    """Run the product with a search service, and a site that it may also send requests to."""
    given = {"TAVILY_BASE_URL": web.base_url, "search_keyless": True, "http_allow": web.address}
    async with start(models=models, cache_seconds=3600, **given, **place) as running_product:
        yield running_product


def script(models: FakeModelServer, web: FakeWeb) -> None:
    """Have an agent write files, read the web and post something, all about the canary."""
    page = web.page("/page", html("Page", f"<p>{f'It is {CANARY}. ' * 40}</p>"))
    web.found(result("Page", page, f"About {CANARY}."))
    post = {"method": "POST", "url": web.url("/orders"), "body": f'{{"id": "{CANARY}"}}'}
    models.add(
        *decisions(("coder", "Do it"), ("researcher", "Find it")),
        turns(
            "Do it",
            Reply.calls(
                ("write_file", {"path": f"{CANARY}.csv", "content": f"n\n{CANARY}\n"}),
                ("read_file", {"path": "given.txt"}),
            ),
            Reply.calls(("http_request", post)),
            Reply(text=f"Done {CANARY}."),
        ),
        turns(
            "Find it",
            Reply.calls(("web_search", {"query": "where"})),
            Reply.calls(("open_page", {"url": page})),
            Reply(text=f"Found {CANARY}."),
        ),
        composer(Reply(text=f"All about {CANARY}.")),
    )


async def rich_run(product: Product) -> dict[str, Any]:
    """Return an ended run that has everything a run can have."""
    content = base64.b64encode(f"given {CANARY}".encode()).decode()
    body = {
        "task": f"Do {CANARY}",
        "files": [{"name": "given.txt", "content_base64": content}],
        "tags": [CANARY],
        "metadata": {"about": CANARY},
    }
    created = await product.client.post("/v1/runs", json=body, headers=KEY)
    assert created.status_code == 202, created.text
    run_id = created.json()["id"]
    await waiting(product, run_id)
    for approval in await pending(product, run_id):
        await decided(product, approval, type="approve", comment=f"I looked at {CANARY}.")
    run = await product.ended(run_id)
    assert run["status"] == "completed", run
    assert run["result"]["artifacts"]
    return run


def rows_with(connection: Connection, wanted: str) -> Iterator[str]:
    """Yield the tables with a row in which a text stands somewhere."""
    look = inspect(connection)
    for table in look.get_table_names():
        for row in connection.execute(text(f'SELECT * FROM "{table}"')):
            if wanted in " ".join(shown(value) for value in row):
                yield table


def shown(value: object) -> str:
    raw = isinstance(value, bytes | memoryview)
    return bytes(value).decode("latin-1") if raw else str(value)  # type: ignore[call-overload]


async def traces(product: Product, wanted: str, folder: Path) -> set[str]:
    """Return where a text is found: tables, what memory holds, files by content, name or folder."""
    store: Any = product.services.store
    found = set(await store.database.read(lambda c: list(rows_with(c, wanted))))
    memory = getattr(product.services.erasure, "_memory", None)
    if memory is not None:
        saver = memory.saver
        kept = f"{dict(saver.storage)}{dict(saver.writes)}{dict(saver.blobs)}"
        found |= {"memory"} if wanted in kept else set()
    return found | await asyncio.to_thread(files_with, wanted, folder)


def files_with(wanted: str, folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if wanted in path.name or (path.is_file() and wanted.encode() in path.read_bytes())
    }


async def test_nothing_is_left_of_a_deleted_run(
    product: Product, models: FakeModelServer, web: FakeWeb, tmp_path: Path
) -> None:
    script(models, web)
    run = await rich_run(product)
    before = await traces(product, CANARY, tmp_path)
    assert {"runs", "run_tags", "events", "actions", "artifacts", "cache", "idempotency"} <= before
    assert any("checkpoint" in each or each == "memory" for each in before), before
    for kind in ("workspaces", "artifacts", "sources"):
        assert any(each.startswith(f"data/{kind}") for each in before), before
    usage = (await product.client.get("/v1/usage?group_by=agent,model,key")).json()
    deleted = await product.client.delete(f"/v1/runs/{run['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert await traces(product, CANARY, tmp_path) == set()
    assert await traces(product, run["id"], tmp_path) - {"runs.db"} == {"erased_runs"}, (
        "for a month"
    )
    assert (await product.client.get("/v1/usage?group_by=agent,model,key")).json() == usage
    assert usage["total"]["calls"] > 5
    for path in ("", "/events", "/artifacts", "/receipt"):
        assert_problem(await product.client.get(f"/v1/runs/{run['id']}{path}"), "not-found")
    assert (await product.client.get(f"/v1/runs?tag={CANARY}")).json()["data"] == []
    assert (await product.client.get("/v1/approvals")).json()["data"] == []
    assert_problem(await product.client.delete(f"/v1/runs/{run['id']}"), "not-found")


async def test_a_run_that_has_not_ended_is_not_deleted(
    product: Product, models: FakeModelServer
) -> None:
    """Nor one that waits for a person."""
    gate = models.event("go")
    models.add(
        *decisions(("coder", "Do it"), task="<task>\nDo it"),
        worker("Do it", Reply(text="Done it."), gate="go"),
    )
    run_id = await start_run(product)
    problem = assert_problem(await product.client.delete(f"/v1/runs/{run_id}"), "run-not-terminal")
    assert problem["run_id"] == run_id
    gate.set()
    assert (await product.ended(run_id))["status"] == "completed"
    models.add(
        *decisions(("coder", "Ask"), task="Ask"),
        turns("Ask", Reply.calls(("ask_user", {"question": "Which?"})), Reply(text="That.")),
    )
    asking = await start_run(product, "Ask")
    approval = await asked(product, asking)
    assert_problem(await product.client.delete(f"/v1/runs/{asking}"), "run-not-terminal")
    await decided(product, approval, type="respond", message="The red one.")
    await product.ended(asking)
    for each in (run_id, asking):
        assert (await product.client.delete(f"/v1/runs/{each}")).status_code == 204


async def test_a_run_is_deleted_right_after_it_was_cancelled(
    product: Product, models: FakeModelServer, tmp_path: Path
) -> None:
    """What its segment writes late is awaited; runs after it are executed as ever."""
    for number in range(5):
        reached = Arriving(Reply(text="Done it."))
        models.event(f"never {number}")
        models.add(
            *decisions(("coder", f"Do {number}"), task=f"{CANARY} {number}"),
            worker(f"Do {number}", reached, gate=f"never {number}"),
        )
        run_id = await start_run(product, f"{CANARY} {number}")
        await reached.wait()
        assert (await product.client.post(f"/v1/runs/{run_id}/cancel")).status_code == 202
        assert (await product.client.delete(f"/v1/runs/{run_id}")).status_code == 204
        assert await traces(product, CANARY, tmp_path) == set()
    models.add(*solo())
    assert (await product.finished("Do it"))["status"] == "completed"
    await product.services.erasure.scrub()
    assert await traces(product, CANARY, tmp_path) == set()


async def test_what_another_run_has_from_a_deleted_one_stays_with_it(
    product: Product, models: FakeModelServer
) -> None:
    """A reused answer is that run's own; where it is from is told by an id that leads nowhere now."""
    models.add(
        *decisions(("coder", "Write it")),
        turns(
            "Write it",
            Reply.calls(("write_file", {"path": "a.txt", "content": "kept"})),
            Reply(text="Written."),
        ),
    )
    first = await product.finished("Write", cache=True)
    second = await product.finished("Write", cache=True)
    assert second["cache"]["run_id"] == first["id"]
    assert (await product.client.delete(f"/v1/runs/{first['id']}")).status_code == 204
    again = (await product.client.get(f"/v1/runs/{second['id']}")).json()
    assert again == second
    file = await product.client.get(again["result"]["artifacts"][0]["url"])
    assert (file.status_code, file.text) == (200, "kept")
    asked_for = len(models.requests)
    third = await product.finished("Write", cache=True)
    assert third["cache"] is None, "what has its answer from another is no source"
    assert len(models.requests) > asked_for


async def test_a_key_whose_run_was_deleted_makes_no_second_run(
    product: Product, models: FakeModelServer
) -> None:
    models.add(*solo())
    first = await product.client.post("/v1/runs?wait=20", json={"task": "Do it"}, headers=KEY)
    assert first.status_code == 200, first.text
    assert (await product.client.delete(f"/v1/runs/{first.json()['id']}")).status_code == 204
    for task in ("Do it", "Do something else"):
        again = await product.client.post("/v1/runs", json={"task": task}, headers=KEY)
        assert_problem(again, "run-deleted")
    assert (await product.client.get("/v1/runs")).json()["data"] == []
    other = await product.run("Do it")
    assert other.status_code == 200, "without the key it is another request"


async def test_an_earlier_turn_that_was_deleted_is_told_to_nobody(
    product: Product, models: FakeModelServer
) -> None:
    models.add(*solo(Reply(text=f"It is {CANARY}.")))
    first = await product.finished("Do it")
    assert (await product.client.delete(f"/v1/runs/{first['id']}")).status_code == 204
    second = await product.client.post(
        "/v1/runs", json={"task": "Do it", "thread_id": first["thread_id"]}
    )
    assert_problem(second, "not-found")
    third = await product.finished("Do it")
    fourth = await product.finished("Do it", thread_id=third["thread_id"])
    assert (await product.client.delete(f"/v1/runs/{third['id']}")).status_code == 204
    asked_for = len(models.requests)
    fifth = await product.finished("Do it", thread_id=third["thread_id"])
    told = "".join(request.transcript for request in models.requests[asked_for:])
    assert told.count(f"It is {CANARY}.") < 4
    page = (await product.client.get(f"/v1/threads/{third['thread_id']}")).json()
    assert [run["id"] for run in page["data"]] == [fourth["id"], fifth["id"]]


async def test_a_file_of_sqlite_has_no_byte_of_a_deleted_run(
    start: Start, models: FakeModelServer, web: FakeWeb, tmp_path: Path
) -> None:
    """Neither the pages nor the write-ahead log."""
    file = tmp_path / "bytes.db"
    given = {"TAVILY_BASE_URL": web.base_url, "search_keyless": True, "http_allow": web.address}
    script(models, web)
    async with start(models=models, database_url=f"sqlite:///{file}", **given) as product:
        run = await rich_run(product)
        assert f"{file.name}-wal" in await asyncio.to_thread(files_with, CANARY, tmp_path)
        assert (await product.client.delete(f"/v1/runs/{run['id']}")).status_code == 204
        assert await asyncio.to_thread(files_with, CANARY, tmp_path) == set()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
