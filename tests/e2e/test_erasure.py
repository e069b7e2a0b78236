"""A process that is killed between the rows of a deleted run and its files: the next one removes them."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx

from tests.e2e.conftest import StartService
from tests.e2e.processes import BOUND

FILES = 20_000


def wait_until_deleted(file: Path, run_id: str) -> None:
    """Return when the row of a run is gone."""
    deadline = time.monotonic() + BOUND
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        while database.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
            assert time.monotonic() < deadline, "the row is still there"


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + BOUND
    while folder.exists():
        assert time.monotonic() < deadline, "the files are still there"


def test_files_of_a_deleted_run_go_also_when_the_process_was_killed(
    serve: StartService, folder: Path
) -> None:
    service = serve()
    run = service.ended(service.create("What is 12 * 12?"))
    data = folder / "data"
    workspace = data / "workspaces" / "default" / run["id"]
    # So many that the process is killed while it removes them.
    for number in range(FILES):
        (workspace / f"{number}.txt").touch()

    def delete() -> None:
        with suppress(httpx.TransportError):
            service.client.delete(f"/v1/runs/{run['id']}")

    deleting = threading.Thread(target=delete)
    deleting.start()
    wait_until_deleted(data / "signalbox.db", run["id"])
    service.process.kill()
    deleting.join(BOUND)
    assert workspace.is_dir(), "the rows went first"
    again = serve()
    assert again.client.get(f"/v1/runs/{run['id']}").status_code == 404
    for kind in ("workspaces", "artifacts", "sources"):
        wait_until_gone(data / kind / "default" / run["id"])
