"""A Postgres that cannot be used is refused in one line that says what to do, and left as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from domain.errors import ConfigurationError
from service.store.upgrading import needed, upgrade_store
from tests.fakes.postgres import PostgresServer


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """Return the URL of a database without tables."""
    url = postgres.create(prepared=False)
    yield url
    postgres.drop(url)


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def tables(postgres: PostgresServer, url: str) -> set[str]:
    rows = postgres.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name_of(url)
    )
    return {name for (name,) in rows}


async def test_another_applications_tables_are_left_alone(
    postgres: PostgresServer, empty: str
) -> None:
    """Nothing is made beside a table that has the name of one of ours."""
    postgres.execute("CREATE TABLE runs (distance integer)", name_of(empty))
    with pytest.raises(ConfigurationError, match=r"another application's tables \(runs\)"):
        await upgrade_store(empty)
    assert tables(postgres, empty) == {"runs"}


async def test_a_user_who_may_make_no_tables_is_told_so(
    postgres: PostgresServer, empty: str
) -> None:
    """In one line, for both commands; the reason is the server's."""
    user = f"guest_{name_of(empty)}"
    postgres.execute(f"CREATE ROLE {user} LOGIN")
    try:
        url = empty.replace("postgres:@", f"{user}:@", 1)
        assert url != empty
        with pytest.raises(ConfigurationError, match="permission denied") as refused:
            await upgrade_store(url)
        assert "\n" not in str(refused.value)
        assert "let its user own the database" in str(refused.value)
        assert tables(postgres, empty) == set()
        await upgrade_store(empty)
        with pytest.raises(ConfigurationError, match="permission denied"):
            await needed(url)
    finally:
        postgres.execute(f"DROP ROLE {user}")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_of_another_encoding_is_refused(
    postgres: PostgresServer, encoding: str
) -> None:
    """It could not hold every text, and would say so only in the middle of a run."""
    name = f"test_{encoding.lower()}"
    postgres.execute(f"DROP DATABASE IF EXISTS {name}")
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    try:
        with pytest.raises(ConfigurationError, match=f"its encoding is {encoding}\\); make one"):
            await upgrade_store(postgres.url(name))
        with pytest.raises(ConfigurationError, match=f"its encoding is {encoding}"):
            await needed(postgres.url(name))
    finally:
        postgres.execute(f"DROP DATABASE {name}")
