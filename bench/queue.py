"""What a run costs over the queue of many machines, beside one process that executes its runs itself.

    python -m bench.queue --runs 60

A run is a POST over loopback HTTP that waits for its end: one agent, a decision before and after it,
against a zero-latency model server. `queue` is an API process and a worker on Postgres, `embedded` one
process on the same Postgres (`SIGNALBOX_DISPATCH=local`), `sqlite` one process on SQLite. They take
turns, so a drifting machine hits all of them. Postgres keeps its promises here (`fsync = on`).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.overhead import ROOT, model_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.postgres import PostgresServer

LIMIT_MS = 20.0
WARM_UP = 8
BODY = json.dumps({"task": "Say what a signal box is.", "agents": ["coder"]})


@contextmanager
def product(*args: str, **env: str) -> Iterator[int]:
    """Run a process of the product; yield the port it serves at, 0 where it does not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *args],
        cwd=ROOT,
        # The same task over and over again, to be worked on each time.
        env={
            "PATH": os.environ["PATH"],
            "SIGNALBOX_SEARCH_KEYLESS": "false",
            "SIGNALBOX_CACHE_SECONDS": "0",
            **env,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        for line in process.stderr:
            if found := re.search(r"Signalbox is at \S+:(\d+) |worker \S+ (takes)", line):
                yield int(found[1] or 0)
                return
        msg = f"{args} did not start"
        raise SystemExit(msg)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def run_once(connection: http.client.HTTPConnection) -> float:
    """Return the milliseconds a run takes."""
    begun = time.perf_counter()
    connection.request("POST", "/v1/runs?wait=60", BODY, {"content-type": "application/json"})
    response = connection.getresponse()
    run = json.loads(response.read())
    assert run["status"] == "completed", run
    return (time.perf_counter() - begun) * 1000


@contextmanager
def durable_postgres() -> Iterator[tuple[Path, PostgresServer]]:
    """Yield a folder and a Postgres in it that waits for the disk, unlike the one of the tests."""
    from tests.fakes.postgres import PostgresServer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres runs as a user of its own
        with PostgresServer(folder / "postgres") as server:
            server.execute("ALTER SYSTEM SET fsync = on")
            server.execute("ALTER SYSTEM SET full_page_writes = on")
            server.restart("fast")
            yield folder, server


def main() -> int:
    """Measure; exit 1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder, server = stack.enter_context(durable_postgres())
        base = {"OPENAI_BASE_URL": stack.enter_context(model_server())}
        base["SIGNALBOX_DATA_DIR"] = str(folder / "data")
        queue = {**base, "SIGNALBOX_DATABASE_URL": server.create()}
        alone = {**base, "SIGNALBOX_DATABASE_URL": server.create(), "SIGNALBOX_DISPATCH": "local"}
        file = {**base, "SIGNALBOX_DATABASE_URL": f"sqlite:///{folder}/runs.db"}
        stack.enter_context(product("worker", **queue))
        ports = {
            "queue": stack.enter_context(product("serve", "--no-worker", "--port", "0", **queue)),
            "embedded": stack.enter_context(product("serve", "--port", "0", **alone)),
            "sqlite": stack.enter_context(product("serve", "--port", "0", **file)),
        }
        clients = {n: http.client.HTTPConnection("127.0.0.1", port) for n, port in ports.items()}
        samples: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(WARM_UP + arguments.runs):
            for name, client in clients.items():
                taken = run_once(client)
                if number >= WARM_UP:
                    samples[name].append(taken)
    for name, taken_by_it in samples.items():
        print(f"{name:<9} median {statistics.median(taken_by_it):6.1f} ms")
    beyond = statistics.median(
        a - b for a, b in zip(samples["queue"], samples["embedded"], strict=True)
    )
    kept = beyond <= LIMIT_MS
    print(
        f"the queue costs {beyond:.1f} ms a run, limit {LIMIT_MS:.0f} {'kept' if kept else 'MISSED'}"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
