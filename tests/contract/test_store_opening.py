"""Opening a store: which URLs there are, who owns a file, and what its tables are."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, select, text

from domain.errors import ConfigurationError
from domain.events import EventDraft
from domain.ports import RunQuery
from service.store import SqlRunStore, open_database, open_store, sqlite_path
from service.store.migrations import make_config, migrate, options
from service.store.tables import metadata
from tests.contract.factories import (
    add_run,
    add_running,
    append,
    finish,
    make_call,
    make_key,
    make_run,
)

ROOT = Path(__file__).parents[2]
HOLDER = """
import asyncio, sys
from service.store import open_store

async def main():
    async with open_store(sys.argv[1]):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/deep/er/signalbox.db"


@pytest.fixture(params=["sqlite", "postgres"])
def lasting_url(request: pytest.FixtureRequest, file_url: str) -> str:
    """Return the URL of a database that outlives its store."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else file_url


@asynccontextmanager
async def holder(url: str) -> AsyncIterator[Process]:
    """Another process that has the database open; its input's end closes it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, url),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            assert await process.stdout.readline() == b"open\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data/signalbox.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite+aiosqlite:///a.db",
        "memory:///x",
        "mysql://host/db",
    ],
)
def test_an_unknown_url_is_refused_in_one_line_that_says_what_it_may_be(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_database(url)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(url) in message
    assert "memory://" in message
    assert "sqlite:///" in message
    assert "postgresql://" in message


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:secret@host/db",
        "postgresql://ada:se@secret@host/db",
        "postgresql://ada:se/secret@host/db",
        "postgresql://ada:p@secret/secret@host/db",
        "postgresql://ada:secret@host/db?unknown=1",
    ],
)
def test_a_password_in_a_refused_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_database(url)
    assert "***@host/db" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_file_of_a_url_can_be_asked_for() -> None:
    assert sqlite_path("memory://") is None
    assert sqlite_path("postgresql://ada@host/db") is None
    assert sqlite_path("sqlite:////var/lib/signalbox.db") == Path("/var/lib/signalbox.db")
    assert sqlite_path("sqlite:///data/a.db") == Path.cwd() / "data" / "a.db"


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="folder"):
        async with open_store(f"sqlite:///{tmp_path}/file/signalbox.db"):
            pass


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(ConfigurationError, match=r"notes\.txt.*not a database"):
        async with open_store(f"sqlite:///{tmp_path}/notes.txt"):
            pass


def _pragma(connection: Connection, name: str) -> Any:
    return connection.execute(text(f"PRAGMA {name}")).scalar_one()


async def test_a_file_database_is_tuned_on_every_connection(file_url: str) -> None:
    expected = {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 5000, "foreign_keys": 1}
    async with open_store(file_url) as store:
        for pragma, value in expected.items():
            for use in (store.database.write, store.database.read):
                found = await use(_pragma, pragma)
                assert found == value


# Whose file it is


async def test_a_second_owner_in_the_same_process_is_refused(file_url: str) -> None:
    async with open_store(file_url):
        with pytest.raises(ConfigurationError, match=f"pid {os.getpid()}"):
            async with open_store(file_url):
                pass
    async with open_store(file_url) as store:
        await store.ping()


async def test_another_name_of_the_file_is_refused_too(file_url: str, tmp_path: Path) -> None:
    path = sqlite_path(file_url)
    assert path is not None
    async with open_store(file_url):
        (tmp_path / "alias").symlink_to(path.parent)
        with pytest.raises(ConfigurationError, match="in use"):
            async with open_store(f"sqlite:///{tmp_path}/alias/{path.name}"):
                pass


async def test_two_memory_stores_are_two_databases() -> None:
    async with open_store("memory://") as one, open_store("memory://") as other:
        await add_run(one)
        assert await other.find("ada", RunQuery()) == []


@pytest.mark.slow
async def test_a_second_process_is_refused_with_the_holder_and_the_remedies(file_url: str) -> None:
    async with holder(file_url) as process:
        with pytest.raises(ConfigurationError) as caught:
            async with open_store(file_url):
                pass
        message = str(caught.value)
        assert "\n" not in message
        for part in (f"pid {process.pid}", "signalbox run --server", "SIGNALBOX_DATABASE_URL"):
            assert part in message
        await process.communicate(b"")
        assert process.returncode == 0
    async with open_store(file_url) as store:
        await store.ping()


@pytest.mark.slow
async def test_a_killed_process_frees_its_file(file_url: str) -> None:
    async with holder(file_url) as process:
        process.kill()
        await process.wait()
        async with open_store(file_url) as store:
            await store.ping()


async def test_a_database_survives_being_closed_and_opened(lasting_url: str) -> None:
    async with open_store(lasting_url) as store:
        ref = await add_running(store)
        await append(store, ref, "a")
        ended = await finish(store, ref)
    async with open_store(lasting_url) as store:
        assert await store.get(ref) == ended
        assert len(await store.events(ref, after=0, limit=9)) == 3


# Tables


def _differences(connection: Connection) -> list[Any]:
    # The same options as the migrations, as Alembic takes them outside `env.py`.
    context = MigrationContext.configure(connection, opts=options())
    return list(compare_metadata(context, metadata))


async def test_the_migrated_tables_are_those_of_the_code(store: SqlRunStore) -> None:
    assert await store.database.read(_differences) == []


@pytest.mark.may_block  # Alembic's commands read their files where they run
async def test_alembics_own_commands_find_nothing_to_migrate(store: SqlRunStore) -> None:
    await store.database.write(lambda connection: command.check(make_config(connection)))


@pytest.mark.may_block  # Alembic's commands read their files where they run
async def test_migrations_can_be_undone_and_done_again(store: SqlRunStore) -> None:
    def undo_and_redo(connection: Connection) -> list[Any]:
        command.downgrade(make_config(connection), "base")
        command.upgrade(make_config(connection), "head")
        return _differences(connection)

    assert await store.database.write(undo_and_redo) == []


async def test_tables_of_others_are_left_alone(store: SqlRunStore) -> None:
    def add_tables(connection: Connection) -> list[Any]:
        connection.execute(text("CREATE TABLE theirs (id TEXT)"))
        connection.execute(text("CREATE INDEX ix_theirs ON theirs (id)"))
        return _differences(connection)

    assert await store.database.write(add_tables) == []


async def test_migrating_again_changes_nothing_and_leaves_logging_alone(
    store: SqlRunStore,
) -> None:
    await add_run(store)
    before = logging.root.level, list(logging.root.handlers), logging.getLogger("service").disabled
    await migrate(store.database)
    after = logging.root.level, list(logging.root.handlers), logging.getLogger("service").disabled
    assert before == after
    assert len(await store.find("ada", RunQuery())) == 1


NEWER = "UPDATE signalbox_schema SET version_num = '9999'"


async def change(url: str, *statements: str) -> None:
    def execute(connection: Connection) -> None:
        for sql in statements:
            connection.execute(text(sql))

    async with open_store(url) as store:
        await store.database.write(execute)


async def test_a_newer_database_that_has_all_we_know_is_used(
    lasting_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    added = "ALTER TABLE runs ADD COLUMN colour VARCHAR NOT NULL DEFAULT 'red'"
    await change(lasting_url, NEWER, added, "CREATE TABLE later (id INTEGER NOT NULL)")
    async with open_store(lasting_url) as store:
        ref = await add_running(store)
        assert await finish(store, ref) is not None
    assert [r.levelname for r in caplog.records if "9999" in r.getMessage()] == ["WARNING"]


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["ALTER TABLE runs DROP COLUMN trace_url"], "there is no runs.trace_url"),
        (["DROP TABLE usage"], "there is no table usage"),
        (
            [
                "DROP TABLE run_tags",
                "CREATE TABLE run_tags (tenant_id TEXT, tag TEXT, run_id TEXT, must TEXT NOT NULL)",
            ],
            "run_tags.must has to be filled",
        ),
    ],
    ids=["column", "table", "filled"],
)
async def test_a_newer_database_that_lacks_something_is_refused_in_one_line(
    lasting_url: str, statements: list[str], reason: str
) -> None:
    await change(lasting_url, NEWER, *statements)
    with pytest.raises(ConfigurationError, match=f"another version.*9999.*{reason}") as caught:
        async with open_store(lasting_url):
            pass
    assert "\n" not in str(caught.value)


async def test_a_deleted_run_takes_all_its_rows_along(store: SqlRunStore) -> None:
    ref = await add_running(store, tags=["red"])
    calls = [make_call("c")]
    await store.append(ref, attempt=1, drafts=[], calls=calls, now=make_run().created_at)
    draft = EventDraft(type="run.created", data={})
    await store.create(make_run(2), draft, idempotency=make_key())

    def delete_and_look(connection: Connection) -> list[Any]:
        connection.execute(text("DELETE FROM runs"))
        return [row for t in metadata.sorted_tables for row in connection.execute(select(t))]

    assert await store.database.write(delete_and_look) == []


async def test_no_query_reads_a_whole_table(file_url: str) -> None:
    statements: list[tuple[str, Any]] = []
    async with open_store(file_url) as store:
        ref = await add_running(store, thread_id="t", tags=["red"])

        @event.listens_for(Engine, "before_cursor_execute")
        def _note(*call: Any) -> None:
            statements.append((call[2], call[3]))

        await append(store, ref, "a")
        await store.claim(ref, now=make_run().created_at)
        await store.get(ref)
        await store.events(ref, after=0, limit=9)
        for query in (
            RunQuery(),
            RunQuery(status="queued"),
            RunQuery(thread_id="t"),
            RunQuery(tag="red"),
            RunQuery(created_after=make_run().created_at),
        ):
            await store.find("ada", query)
        await store.runnable(limit=9, exclude=[])
        await store.unfinished()
        await store.earlier_turns(make_run(9, thread_id="t"), limit=9)
        await finish(store, ref, attempt=2)
        event.remove(Engine, "before_cursor_execute", _note)
    path = sqlite_path(file_url)
    assert path is not None
    assert len(statements) > 15
    with sqlite3.connect(path) as raw:
        plans = [
            row[3]
            for sql, values in statements
            if not isinstance(values, list)
            for row in raw.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    raw.close()
    whole = {f"SCAN {table}" for table in [*metadata.tables, "earlier"]}
    assert whole.isdisjoint(" ".join(plan.split()[:2]) for plan in plans)
