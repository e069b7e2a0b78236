"""What a run leaves in Postgres and takes of the processors: what docs/deployment.md reckons with.

    python -m bench.volume --runs 200

A run has all three agents in one round, a decision before and after it and a composed answer, against a
zero-latency model server whose texts have 60 words each; two API processes and two workers on a Postgres that
waits for the disk, sixteen runs at a time. Sizes do not depend on how busy the machine is, seconds of the
processor hardly; runs per second do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.overhead import model_server
from bench.queue import durable_postgres, product

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.postgres import PostgresServer

AT_ONCE = 16
WARM_UP = 16
SIZES = "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables"
TICKS = os.sysconf("SC_CLK_TCK")


def run_once(port: int, number: int) -> float:
    """Have a run end; return the seconds that it takes."""
    begun = time.perf_counter()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/runs?wait=60",
        json.dumps({"task": f"Say what signal box {number} is.", "validation": "off"}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        run = json.load(response)
    assert run["status"] == "completed", run
    return time.perf_counter() - begun


def seconds_and_memory(pid: int) -> tuple[float, float]:
    """Return what a process has taken of the processors, and the MiB that it holds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    held = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return (int(fields[11]) + int(fields[12])) / TICKS, int(held) * os.sysconf(
        "SC_PAGE_SIZE"
    ) / 2**20


def children() -> list[int]:
    """Return the processes that this one has started."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@contextmanager
def processes(base: Mapping[str, str]) -> Iterator[tuple[list[int], dict[str, list[int]]]]:
    """Start two API processes and two workers; yield the ports, and the pids of each kind."""
    with ExitStack() as stack:
        before = set(children())
        for _ in range(2):
            stack.enter_context(product("worker", **base))
        workers = [pid for pid in children() if pid not in before]
        args = ("serve", "--no-worker", "--port", "0")
        ports = [stack.enter_context(product(*args, **base)) for _ in range(2)]
        servers = [pid for pid in children() if pid not in before and pid not in workers]
        yield ports, {"API": servers, "worker": workers}


def tables(server: PostgresServer, name: str) -> dict[str, int]:
    """Return the bytes of each table, its indexes with it and without what is deleted already."""
    server.execute("VACUUM FULL", name)
    return dict(server.execute(SIZES, name))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    count = parser.parse_args().runs
    with ExitStack() as stack:
        folder, server = stack.enter_context(durable_postgres())
        url = server.create()
        name = urlsplit(url).path[1:]
        base = {
            "OPENAI_BASE_URL": stack.enter_context(model_server()),
            "SIGNALBOX_DATA_DIR": str(folder / "data"),
            "SIGNALBOX_DATABASE_URL": url,
        }
        ports, pids = stack.enter_context(processes(base))
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        list(pool.map(lambda n: run_once(ports[n % 2], -n), range(1, WARM_UP + 1)))
        sizes = tables(server, name)
        wal = server.execute("SELECT pg_current_wal_lsn() - '0/0'")[0][0]
        used = {kind: [seconds_and_memory(pid)[0] for pid in of] for kind, of in pids.items()}
        begun = time.perf_counter()
        taken = list(pool.map(lambda n: run_once(ports[n % 2], n), range(count)))
        lasted = time.perf_counter() - begun
        print(f"{count / lasted:.1f} runs a second, median {statistics.median(taken):.2f} s")
        for kind, of in pids.items():
            now = [seconds_and_memory(pid) for pid in of]
            spent = sum(n[0] - b for n, b in zip(now, used[kind], strict=True))
            print(
                f"{kind}: {spent / count * 1000:.0f} ms of a processor a run, {now[0][1]:.0f} MiB"
            )
        written = server.execute("SELECT pg_current_wal_lsn() - '0/0'")[0][0] - wal
        print(f"write-ahead log: {float(written) / count / 1024:.0f} KiB a run")
        rows = server.execute("SELECT count(*) FROM events", name)[0][0]
        print(f"events: {rows / (count + WARM_UP):.1f} a run")
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = '" + name + "'"
        print(f"connections: {server.execute(sessions)[0][0]} for four processes")
        grown = {t: size - sizes.get(t, 0) for t, size in tables(server, name).items()}
        print(f"database: {sum(grown.values()) / count / 1024:.1f} KiB a run")
        for table, size in sorted(grown.items(), key=lambda each: -each[1])[:8]:
            print(f"  {table:<24} {size / count / 1024:6.1f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
