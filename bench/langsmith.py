"""What a run takes longer where LangSmith cannot be reached: as a ratio to the same run without traces.

    python -m bench.langsmith --runs 60

A run is a POST over loopback HTTP that waits for its end. `model`: two rounds of decisions around one agent, six
model calls in all, against a model server that answers at once, which is the worst case: a model that takes its
time makes the share smaller. `offline`: the planner, with a program that is run. LangSmith `refused` is an address
where nobody listens, `hangs` one that takes connections and never answers, `taken` a server that takes everything.
`off` is the same process without traces. They take turns, so a drifting machine hits all of them; some runs come
first, so that what is measured is an outage and not its first seconds. On Linux the processor time is compared too,
which tells more on a busy machine; that of the thread that sends is part of it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from bench.overhead import model_server, open_socket
from bench.queue import product

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1.05
WARM_UP = 60
BODIES = {
    "model": {"task": "Compare the three approaches and say which one is best."},
    "offline": {"task": "What is 17% of 80?"},
}


@contextmanager
def hanging() -> Iterator[int]:
    """Yield a port where connections are taken by the kernel and never answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening.getsockname()[1]


class _Taking(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"[]")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def taking() -> Iterator[int]:
    """Yield the port of a server that takes everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def run_once(connection: http.client.HTTPConnection, body: bytes) -> float:
    """Return the milliseconds a run takes."""
    begun = time.perf_counter()
    connection.request("POST", "/v1/runs?wait=60", body, {"content-type": "application/json"})
    run = json.loads(connection.getresponse().read())
    assert run["status"] == "completed", run
    return (time.perf_counter() - begun) * 1000


def children() -> set[str]:
    """Return the processes of this one, where the system tells."""
    listed = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return set(listed.read_text().split()) if listed.exists() else set()


def cpu_of(process: str | None) -> float:
    """Return the seconds of processor time that a process has taken."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(kind: str, runs: int) -> bool:
    """Measure one kind of run; return whether the limit is kept where LangSmith cannot be reached."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with open_socket() as port:
            closed = port
        places = {
            "refused": closed,
            "hangs": stack.enter_context(hanging()),
            "taken": stack.enter_context(taking()),
        }
        base = {"OPENAI_BASE_URL": stack.enter_context(model_server())} if kind == "model" else {}
        clients, processes = {}, {}
        for name in ("off", *places):
            env = {
                **base,
                "SIGNALBOX_DATA_DIR": str(folder / name),
                "SIGNALBOX_DATABASE_URL": f"sqlite:///{folder}/{name}.db",
            }
            if name != "off":
                env |= {
                    "LANGSMITH_TRACING": "true",
                    "LANGSMITH_API_KEY": "lsv2_bench_0123456789",
                    "LANGSMITH_ENDPOINT": f"http://127.0.0.1:{places[name]}",
                }
            before = children()
            port = stack.enter_context(product("serve", "--port", "0", **env))
            processes[name] = next(iter(children() - before), None)
            clients[name] = http.client.HTTPConnection("127.0.0.1", port)
        body = json.dumps(BODIES[kind]).encode()
        samples: dict[str, list[float]] = {name: [] for name in clients}
        cpu: dict[str, float] = {}
        for number in range(WARM_UP + runs):
            if number == WARM_UP:
                cpu = {name: -cpu_of(process) for name, process in processes.items()}
            for name, client in clients.items():
                taken = run_once(client, body)
                if number >= WARM_UP:
                    samples[name].append(taken)
        cpu = {name: cpu[name] + cpu_of(process) for name, process in processes.items()}
    off = statistics.median(samples["off"])
    print(f"{kind:<8} off      median {off:6.1f} ms   cpu {cpu['off'] / runs * 1000:.1f} ms")
    kept = True
    for name in places:
        pairs = zip(samples[name], samples["off"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        verdict = ""
        if name != "taken":
            kept = kept and ratio <= LIMIT
            verdict = f"limit x{LIMIT:.2f} {'kept' if ratio <= LIMIT else 'MISSED'}"
        median = statistics.median(samples[name])
        share = cpu[name] / cpu["off"] if cpu["off"] else 1.0
        print(
            f"{kind:<8} {name:<8} median {median:6.1f} ms   x{ratio:.3f}   cpu x{share:.3f}   {verdict}".rstrip()
        )
    return kept


def main() -> int:
    """Measure; exit 1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--only", choices=sorted(BODIES))
    arguments = parser.parse_args()
    kinds = [arguments.only] if arguments.only else list(BODIES)
    results = [measure(kind, arguments.runs) for kind in kinds]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
