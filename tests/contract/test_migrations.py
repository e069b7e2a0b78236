"""The tables a database has, whichever way it came by them; and what a migration may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, inspect

from domain.ports import RunRef
from service.store import Database, SqlRunStore, open_database
from service.store.migrations import read_scripts, upgrade
from service.store.tables import metadata
from tests.contract.factories import NOW, run_id
from tests.fakes.postgres import PostgresServer

REF = RunRef("ada", run_id(1))
OF_RUN = {"run_id": REF.run_id, "tenant_id": REF.tenant_id}
ROWS: dict[str, dict[str, Any]] = {
    "runs": {
        "id": REF.run_id,
        "tenant_id": REF.tenant_id,
        "thread_id": "t",
        "status": "queued",
        "task": "Count the trains.",
        "degraded": [],
        "actions": [],
        "max_rounds": 4,
        "last_seq": 1,
        "graph_version": "g1",
        "rounds": 0,
        "attempt": 0,
        "engine": "model",
        "created_at": NOW,
        "metadata": {},
        "tags": ["red"],
    },
    "run_tags": {**OF_RUN, "tag": "red"},
    "events": {
        **OF_RUN,
        "seq": 1,
        "key": "k",
        "type": "run.created",
        "ts": NOW,
        "round": 0,
        "attempt": 0,
        "data": {},
    },
    "usage": {
        **OF_RUN,
        "key": "k",
        "ts": NOW,
        "agent": "coder",
        "model": "m",
        "tier": "fast",
        "input_tokens": 1,
        "output_tokens": 1,
        "cached_tokens": 0,
        "cost_usd": "0.1",
    },
    "idempotency": {
        **OF_RUN,
        "scope": "POST",
        "key": "k",
        "digest": "d",
        "created_at": NOW,
    },
}
"""A row for each table of revision 0001, as its processes write it."""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_urls(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Return the URLs of two databases without any table."""
    if request.param == "sqlite":
        yield ["memory://", "memory://"]
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    urls = [postgres.create(prepared=False) for _ in range(2)]
    yield urls
    for url in urls:
        postgres.drop(url)


@pytest.fixture
async def empty(empty_urls: list[str]) -> AsyncIterator[list[Database]]:
    """Open two databases without any table."""
    databases = [open_database(url) for url in empty_urls]
    yield databases
    for database in databases:
        await database.close()


def insert_rows(connection: Connection) -> None:
    """Insert as a process of revision 0001 does: naming its columns and no others."""
    old = MetaData()
    for name, row in ROWS.items():
        connection.execute(Table(name, old, autoload_with=connection).insert(), row)


def description(connection: Connection) -> dict[str, Any]:
    """Return all that a database says about our tables, in an order that does not matter."""
    look = inspect(connection)
    dialect = connection.dialect
    return {
        name: {
            "columns": {
                column["name"]: (
                    column["type"].compile(dialect),
                    column["nullable"],
                    column["default"],
                )
                for column in look.get_columns(name)
            },
            "primary key": look.get_pk_constraint(name),
            "foreign keys": by_name(look.get_foreign_keys(name)),
            "unique": by_name(look.get_unique_constraints(name)),
            "indexes": by_name(look.get_indexes(name)),
        }
        for name in metadata.tables
    }


def by_name(items: Any) -> dict[str, Any]:
    return {item["name"]: item for item in items}


def columns(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return the columns of each table there is."""
    look = inspect(connection)
    return {
        table: {column["name"]: column for column in look.get_columns(table)}
        for table in look.get_table_names()
    }


def revisions(scripts: ScriptDirectory) -> list[str]:
    """Return the revisions, oldest first."""
    return [script.revision for script in scripts.walk_revisions()][::-1]


async def test_an_upgraded_database_is_a_fresh_one_and_keeps_its_rows(
    empty: list[Database],
) -> None:
    upgraded, fresh = empty
    await fresh.write(metadata.create_all)
    scripts = await asyncio.to_thread(read_scripts)
    for revision in revisions(scripts):
        await upgraded.write(upgrade, scripts, revision)
        if revision == "0001":
            await upgraded.write(insert_rows)
    assert await upgraded.read(description) == await fresh.read(description)
    run = await SqlRunStore(upgraded).get(REF)
    assert run is not None
    assert (run.task, run.tags, run.usage.calls) == ("Count the trains.", ["red"], 1)
    assert len(await SqlRunStore(upgraded).events(REF, after=0, limit=9)) == 1


async def test_a_process_of_revision_0001_can_go_on_writing(empty: list[Database]) -> None:
    database, _ = empty
    scripts = await asyncio.to_thread(read_scripts)
    await database.write(upgrade, scripts)
    await database.write(insert_rows)
    assert await SqlRunStore(database).get(REF) is not None


async def test_a_column_that_is_added_may_be_left_out(empty: list[Database]) -> None:
    """Processes of the version before go on inserting while a release is rolled out."""
    database, _ = empty
    scripts = await asyncio.to_thread(read_scripts)
    first, *later = revisions(scripts)
    await database.write(upgrade, scripts, first)
    before = await database.read(columns)
    for revision in later:
        await database.write(upgrade, scripts, revision)
        after = await database.read(columns)
        wrong = [
            f"{revision}: {table}.{name} needs a server default, or may be NULL"
            for table in before.keys() & after.keys()
            for name in after[table].keys() - before[table].keys()
            if not after[table][name]["nullable"] and after[table][name]["default"] is None
        ]
        assert not wrong
        before = after
