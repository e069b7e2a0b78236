"""Where an exercise takes place: folders below one folder, and a Postgres of its own where it needs one."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.chaos.site import Site
from tests.e2e.models import Models
from tests.fakes.postgres import PostgresServer


class Places:
    """Makes sites, each in a folder and with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._postgres: PostgresServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def postgres(self) -> PostgresServer:
        """Return the Postgres, which is started when it is first asked for."""
        with self._lock:
            if self._postgres is None:
                server = PostgresServer(self._folder / "postgres")
                self._postgres = self._stack.enter_context(server)
                # The tests' server may lose what it has committed when it is killed; this one is.
                self._postgres.execute("ALTER SYSTEM SET synchronous_commit = on")
                self._postgres.execute("SELECT pg_reload_conf()")
            return self._postgres

    def site(self, name: str, database: str, models: Models, **env: str) -> Site:
        """Return a new site on a kind of database; keyword arguments are settings of its processes."""
        url = self.postgres().create() if database == "postgres" else None
        return Site(self._folder / name, models, database_url=url, **env)
