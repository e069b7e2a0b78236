"""What the service adds to a run: wall time and CPU as ratios to our own compiled graph, run bare.

    python bench/overhead.py                 memory and SQLite, against a zero-latency model server
    python bench/overhead.py --runs 60

The bare graph is the same workflow with the same agents and model clients, without a checkpointer,
called with `ainvoke` in the same process. A served run is a POST over loopback HTTP from a client in
another process: `waited` for its JSON, which has a limit, or `followed` token by token over SSE,
which has none and is shown. A run makes 6 model calls, 4 of them in sequence, with answers of 60
words. Bare and served runs alternate, so a drifting machine hits both. The model server is the fake
one of the tests, in a process of its own; its CPU is in neither figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
TASK = "Compare the three approaches and say which one is best."
LIMITS = {"memory": 1.15, "sqlite": 1.25}
WARM_UP = 8


class Sample(NamedTuple):
    """One run: seconds on the clock and of this process's CPU."""

    wall: float
    cpu: float


@contextmanager
def model_server() -> Iterator[str]:
    """Start the fake model server in a process of its own; yield its base URL."""
    with open_socket() as port:
        command = [
            sys.executable,
            "-m",
            "tests.fakes.model_server",
            "--port",
            str(port),
            "--words",
            "60",
        ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def open_socket() -> Iterator[int]:
    """Yield a port that is free now."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def wait_for(port: int) -> None:
    """Return when something listens on a port."""
    import socket

    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    msg = "the model server did not start"
    raise SystemExit(msg)


CLIENT = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
followed = sys.argv[2] == "followed"
headers = {"content-type": "application/json"}
if followed:
    headers["accept"] = "text/event-stream"
for line in sys.stdin:
    connection.request("POST", "/v1/runs" if followed else "/v1/runs?wait=60", line.encode(), headers)
    response = connection.getresponse()
    body = response.read()
    ended = b"event: run.completed" in body if followed else json.loads(body)["status"] == "completed"
    print(response.status, "completed" if ended else "not", flush=True)
"""


async def measure(
    url: str, base_url: str, runs: int, folder: Path, how: str
) -> dict[str, list[Sample]]:
    """Alternate bare and served runs in this process."""
    from graph.workflow import build_workflow
    from service.bootstrap import open_services
    from service.http.application import open_app
    from service.parts import open_gateway, open_team, open_toolbox
    from service.server import open_socket as bind
    from service.server import serving
    from service.settings import read_settings
    from tools.sandbox.unsafe_local import UnsafeLocal

    settings = read_settings(
        database_url=url,
        data_dir=folder,
        OPENAI_BASE_URL=base_url,
        cache_seconds=0,
        _env_file=None,
    )
    toolbox = open_toolbox(settings, UnsafeLocal())
    team = open_team(settings, toolbox)
    gateway = open_gateway(settings, team)
    bare = build_workflow(team=team, gateway=gateway, toolbox=toolbox, checkpointer=None)
    sock = bind("127.0.0.1", 0)
    samples: dict[str, list[Sample]] = {"bare": [], "served": []}
    async with open_services(settings) as services, serving(open_app(services), services, sock):
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CLIENT,
            str(sock.getsockname()[1]),
            how,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        body = json.dumps({"task": TASK}).encode() + b"\n"
        assert client.stdin
        assert client.stdout
        for number in range(WARM_UP + runs):
            wall, cpu = time.perf_counter(), time.process_time()
            state: Any = await bare.ainvoke({"task": TASK}, {"recursion_limit": 50})
            one = Sample(time.perf_counter() - wall, time.process_time() - cpu)
            assert state["final"]["status"] == "completed", state["final"]
            wall, cpu = time.perf_counter(), time.process_time()
            client.stdin.write(body)
            answer = (await client.stdout.readline()).decode().split()
            two = Sample(time.perf_counter() - wall, time.process_time() - cpu)
            assert answer[:2] == ["200", "completed"], answer
            if number >= WARM_UP:
                samples["bare"].append(one)
                samples["served"].append(two)
        client.stdin.close()
        await client.wait()
        await gateway.aclose()
    return samples


def report(name: str, how: str, samples: dict[str, list[Sample]]) -> bool:
    """Print one row; return whether it keeps its limit."""
    ratios = {}
    for field in ("wall", "cpu"):
        pairs = zip(samples["served"], samples["bare"], strict=True)
        ratios[field] = statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs)
    bare = statistics.median(s.wall for s in samples["bare"]) * 1000
    served = statistics.median(s.wall for s in samples["served"]) * 1000
    limit = LIMITS[name] if how == "waited" else float("inf")
    kept: bool = ratios["wall"] <= limit
    verdict = f"limit x{limit:.2f} {'kept' if kept else 'MISSED'}" if how == "waited" else "shown"
    print(
        f"{name:<7} {how:<9} bare {bare:6.1f} ms   served {served:6.1f} ms   "
        f"wall x{ratios['wall']:.2f}   cpu x{ratios['cpu']:.2f}   "
        f"{verdict}"
    )
    return kept


def main() -> int:
    """Measure both storages; exit 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--only", choices=sorted(LIMITS))
    arguments = parser.parse_args()
    os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
    os.environ["LANGSMITH_TRACING"] = "false"
    sys.path.insert(0, str(ROOT))
    from sse_starlette.sse import AppStatus

    kept = True
    with model_server() as base_url, tempfile.TemporaryDirectory() as folder:
        for name in ("memory", "sqlite"):
            if arguments.only not in {None, name}:
                continue
            url = "memory://" if name == "memory" else f"sqlite:///{folder}/bench.db"
            for how in ("waited", "followed"):
                # The last server's end, which sse-starlette keeps for the whole process.
                AppStatus.should_exit = False
                samples = asyncio.run(measure(url, base_url, arguments.runs, Path(folder), how))
                kept = report(name, how, samples) and kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
