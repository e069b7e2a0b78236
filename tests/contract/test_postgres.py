"""What a store on Postgres promises beyond every store: who may open it, and what it survives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError, OperationalError

from domain.caller import HOSTED_TENANT
from domain.errors import ConfigurationError, DatabaseInUseError
from service.commands import db
from service.commands.doctor_database import database
from service.settings import Settings
from service.store import advisory, open_database, open_store, postgres
from service.store.parts import QUEUE, read_parts
from service.store.postgres import PostgresDatabase, bound_transactions, conninfo
from service.store.upgrading import needed, upgrade_store
from service.store.watch import SqlRunWatch
from tests.contract.factories import add_run, add_running, append, finish
from tests.fakes.postgres import LOCKED_USER, PostgresServer


@pytest.fixture
def bare_url(postgres: PostgresServer) -> Iterator[str]:
    """Return the URL of a database without any table."""
    url = postgres.create(prepared=False)
    yield url
    postgres.drop(url)


async def refusal(url: str, **how: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        async with asyncio.timeout(12), open_store(url, **how):
            pass
    assert "\n" not in str(caught.value)
    return caught.value


# URLs


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_url_becomes_what_libpq_takes(scheme: str) -> None:
    info = psycopg.conninfo.conninfo_to_dict(
        conninfo(
            f"{scheme}://ada:p%40ss@/name?host=/run/x&options=-csearch_path%3Da&connect_timeout=3"
        )
    )
    expected = {"user": "ada", "password": "p@ss", "dbname": "name", "host": "/run/x"}
    assert expected.items() <= info.items()
    assert str(info["connect_timeout"]) == "3"
    assert info["application_name"] == "signalbox"
    assert "idle_in_transaction_session_timeout=5s" in str(info["options"])
    assert str(info["options"]).endswith("-csearch_path=a")


async def test_every_connection_is_set_up(postgres_url: str) -> None:
    expected = {
        "TimeZone": "UTC",
        "idle_in_transaction_session_timeout": "5s",
        "application_name": "signalbox",
    }

    def look(connection: Connection, name: str) -> Any:
        return connection.execute(text(f"SHOW {name}")).scalar_one()

    async with open_store(postgres_url) as store:
        for use in (store.database.write, store.database.read):
            assert {name: await use(look, name) for name in expected} == expected
        assert await store.database.write(look, "transaction_timeout") == "30s"


async def test_a_queue_takes_up_what_fell_out_of_it_but_nothing_of_langgraphs_server(
    postgres_url: str,
) -> None:
    async with open_store(postgres_url) as store:
        await add_running(store, 1, tenant_id=HOSTED_TENANT)
        ours = await add_running(store, 2)
        watch = SqlRunWatch(store.database, engine="model")
        assert await watch.orphans(limit=9) == [ours]


# Whether it can be used


async def test_a_database_without_tables_is_refused_with_the_command(bare_url: str) -> None:
    for url in (bare_url, bare_url.replace("postgresql://", "postgres://")):
        assert "signalbox db upgrade" in str(await refusal(url))
    assert await needed(bare_url) == ["runs", "queue", "checkpoints"]


async def test_an_older_part_is_refused_with_the_command(
    postgres: PostgresServer, postgres_url: str
) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"])
    for table, old in (("signalbox_schema", "'0001'"), ("signalbox_parts", "'00'")):
        column = "version_num" if table == "signalbox_schema" else "version"
        kept = postgres.execute(f"SELECT {column} FROM {table} LIMIT 1", name)[0][0]
        postgres.execute(f"UPDATE {table} SET {column} = {old}", name)
        assert "signalbox db upgrade" in str(await refusal(postgres_url))
        postgres.execute(f"UPDATE {table} SET {column} = '{kept}'", name)


async def test_upgrading_twice_changes_nothing(bare_url: str) -> None:
    settings = Settings(database_url=bare_url)
    assert (await db.check(settings)).missing
    shown, *made = await db.upgrade(settings)
    assert "***@" in shown
    assert [line.endswith(" made") for line in made] == [True] * 3
    assert [line.endswith(" already") for line in await upgrade_store(bare_url)] == [True] * 3
    assert not (await db.check(settings)).missing
    async with open_store(bare_url) as store:
        await add_run(store)


@pytest.mark.slow
async def test_three_upgrades_at_once_are_one(bare_url: str) -> None:
    """The waiting ones must not keep CREATE INDEX CONCURRENTLY of the working one from ending."""
    async with asyncio.timeout(30):
        done = await asyncio.gather(*(upgrade_store(bare_url) for _ in range(3)))
    assert sorted(lines[0].endswith(" made") for lines in done) == [False, False, True]
    assert await needed(bare_url) == []


async def test_the_queues_later_migrations_are_applied(
    postgres: PostgresServer, bare_url: str
) -> None:
    """From a recorded version, what is newer runs, file by file, and comes to the same tables."""
    name = str(psycopg.conninfo.conninfo_to_dict(bare_url)["dbname"])
    parts = await asyncio.to_thread(read_parts)
    await upgrade_store(bare_url)
    fresh = _queue_tables(postgres, name)
    postgres.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", name)
    first = parts.queue[0]
    postgres.execute("CREATE TABLE signalbox_parts (name TEXT PRIMARY KEY, version TEXT)", name)
    postgres.execute(await asyncio.to_thread(first.read_text), name)
    postgres.execute(f"INSERT INTO signalbox_parts VALUES ('{QUEUE}', '{first.stem}')", name)
    lines = await upgrade_store(bare_url)
    assert lines[0] == f"queue: {first.stem} upgraded to {parts.queue[-1].stem}"
    assert _queue_tables(postgres, name) == fresh


def _queue_tables(postgres: PostgresServer, name: str) -> list[Any]:
    return postgres.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_name LIKE 'procrastinate%' ORDER BY 1, 2",
        name,
    )


async def test_the_queue_of_another_application_is_left_alone(
    postgres: PostgresServer, bare_url: str
) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(bare_url)["dbname"])
    postgres.execute("CREATE TABLE procrastinate_jobs (id INT)", name)
    with pytest.raises(ConfigurationError, match="another application"):
        await upgrade_store(bare_url)


async def test_what_cannot_be_reached_is_said_with_the_remedy(
    postgres: PostgresServer, postgres_url: str
) -> None:
    message = str(await refusal("postgresql://ada:secret@127.0.0.1:1/db"))
    assert "start the server" in message
    assert "secret" not in message
    message = str(await refusal(postgres.url("db", user=f"{LOCKED_USER}:secret")))
    assert "password" in message
    assert "correct the user and the password" in message
    assert "secret" not in message
    assert "createdb" in str(await refusal(postgres.url("nothing")))
    assert "correct the user" in str(await refusal(postgres.url("postgres", user="nobody")))


# Who may use it


async def test_one_process_alone_or_any_number_together(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisory, "GRACE_SECONDS", 0.2)
    async with open_store(postgres_url):
        alone = await refusal(postgres_url)
        shared = await refusal(postgres_url, owner="shared")
        assert isinstance(alone, DatabaseInUseError)
        assert "this machine" in str(alone)
        assert "SIGNALBOX_DISPATCH=queue" in str(shared)
    one, other = (open_store(postgres_url, owner="shared") for _ in range(2))
    async with one, other as store:
        await store.ping()
        assert isinstance(await refusal(postgres_url), DatabaseInUseError)
    async with open_store(postgres_url) as store:
        await store.ping()


async def test_a_lost_lock_is_taken_again(
    postgres: PostgresServer,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(advisory, "CHECK_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "signalbox.store")
    name = str(psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"])
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    async with open_store(postgres_url) as store:
        await asyncio.to_thread(postgres.execute, cut)
        async with asyncio.timeout(10):
            while "held again" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.02)
        assert isinstance(await refusal(postgres_url), DatabaseInUseError)
        await store.ping()


async def test_the_doctor_shows_no_password(postgres_url: str) -> None:
    url = postgres_url.replace("postgres:@", "postgres:secret@")
    stored = await database(Settings(database_url=url))
    finding = stored.findings[0]
    assert (finding.subject, finding.level, "***@" in finding.text) == ("database", "ok", True)
    assert "PostgreSQL" in finding.text
    assert "secret" not in "".join(each.line() for each in stored.findings)


# What it survives


async def test_a_reader_cannot_write(postgres_url: str) -> None:
    def write(connection: Connection) -> None:
        connection.execute(text("DELETE FROM runs"))

    async with open_store(postgres_url) as store:
        with pytest.raises(DBAPIError, match="read-only"):
            await store.database.read(write)
        await store.database.write(write)


async def test_work_can_use_the_drivers_connection_in_its_transaction(postgres_url: str) -> None:
    def work(connection: Connection, *, fail: bool) -> None:
        adapted: Any = connection.connection.dbapi_connection
        connection.execute(text("CREATE TABLE IF NOT EXISTS scratch (n INT)"))
        adapted.run_async(lambda raw: raw.execute("INSERT INTO scratch VALUES (1)"))
        if fail:
            raise LookupError

    def count(connection: Connection) -> Any:
        return connection.execute(text("SELECT count(*) FROM scratch")).scalar_one()

    async with open_store(postgres_url) as store:
        await store.database.write(work, fail=False)
        with pytest.raises(LookupError):
            await store.database.write(work, fail=True)
        assert await store.database.read(count) == 1


async def test_connections_closed_by_the_server_are_replaced(
    postgres: PostgresServer, postgres_url: str
) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"])
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    async with open_store(postgres_url) as store:
        ref = await add_running(store)
        await asyncio.gather(*(store.ping() for _ in range(5)))
        await asyncio.to_thread(postgres.execute, cut)
        await append(store, ref, "a")
        await asyncio.gather(*(store.get(ref) for _ in range(20)))
        assert await finish(store, ref) is not None


async def test_a_transaction_whose_connection_is_lost_is_done_again(postgres_url: str) -> None:
    tries: list[int] = []

    def work(connection: Connection, times: int) -> None:
        connection.execute(text("CREATE TABLE made (n INT)"))
        tries.append(len(tries))
        if len(tries) <= times:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async with open_store(postgres_url) as store:
        await store.database.write(work, 1)
        assert len(tries) == 2
        tries.clear()
        with pytest.raises(DBAPIError):
            await store.database.write(work, 9)
        await store.ping()


async def test_a_cancelled_caller_leaves_whole_transactions_and_no_connection_behind(
    postgres: PostgresServer, postgres_url: str
) -> None:
    def work(connection: Connection, number: int) -> None:
        for _ in range(2):
            connection.execute(text("INSERT INTO pairs VALUES (:n)"), {"n": number})

    def create(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE pairs (n INT)"))

    def odd(connection: Connection) -> list[Any]:
        counted = "SELECT n FROM pairs GROUP BY n HAVING count(*) <> 2"
        return list(connection.execute(text(counted)))

    async with open_store(postgres_url, pool_size=4) as store:
        database = store.database
        assert isinstance(database, PostgresDatabase)
        await database.write(create)
        tasks = [asyncio.create_task(database.write(work, number)) for number in range(60)]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0.0007 * (number % 5))
            task.cancel()
        await asyncio.wait(tasks)
        assert await database.read(odd) == []
        await asyncio.gather(*(database.write(work, 100 + number) for number in range(8)))
        pool: Any = database._writers.pool
        assert pool.checkedout() == 0
        name = str(psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"])
        held = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
        for _ in range(100):
            if (await asyncio.to_thread(postgres.execute, held))[0][0] <= 5:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("connections of cancelled callers stayed open")


async def test_waiting_for_a_connection_has_an_end(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.postgres.RECONNECT_SECONDS", 0.1)
    database = open_database(postgres.url("not_there"))
    with pytest.raises(OperationalError, match="does not exist"):
        async with asyncio.timeout(5):
            await database.read(lambda connection: connection.execute(text("SELECT 1")).close())
    await database.close()


@pytest.mark.slow
async def test_a_store_survives_a_restart_of_its_server() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = PostgresServer(Path(folder) / "own")
        await asyncio.to_thread(stack.enter_context, server)
        url = await asyncio.to_thread(server.create)
        async with open_store(url) as store:
            ref = await add_running(store)
            await append(store, ref, "a")
            await asyncio.to_thread(server.restart, "immediate")
            await append(store, ref, "b")
            restarting = asyncio.create_task(asyncio.to_thread(server.restart, "immediate"))
            for number in range(10):
                assert await store.get(ref) is not None
                await asyncio.sleep(0.02 * number)
            await restarting
            assert await finish(store, ref) is not None


async def test_whoever_is_frozen_amid_statements_keeps_no_lock(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent together is no idle transaction, so it is not ended as one."""
    monkeypatch.setattr(postgres, "TRANSACTION_SECONDS", 1)
    lock = text("LOCK TABLE runs IN EXCLUSIVE MODE")
    held = text("SELECT count(*) FROM pg_locks WHERE pid = :pid AND mode = 'ExclusiveLock'")
    async with open_store(postgres_url) as store:
        frozen = await psycopg.AsyncConnection.connect(conninfo(postgres_url))
        await bound_transactions(frozen)
        await frozen.commit()
        await frozen.pipeline().__aenter__()  # left with the connection
        await frozen.execute(lock.text)
        frozen.pgconn.send_flush_request()
        frozen.pgconn.flush()
        pid = {"pid": frozen.info.backend_pid}
        async with asyncio.timeout(10):
            while not await store.database.read(_count, held, pid):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
            await store.database.write(lambda connection: connection.execute(lock))
        frozen.pgconn.finish()


def _count(connection: Connection, statement: TextClause, values: dict[str, Any]) -> int:
    return int(connection.execute(statement, values).scalar_one())
