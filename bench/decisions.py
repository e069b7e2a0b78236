"""How soon a run goes on after a decision: in one process on SQLite, and over the queue on Postgres.

    python -m bench.decisions --runs 60

A run of the offline planner asks before it runs a program (`approvals.mode` is `always`). The clock
starts when the decision is sent, as soon as the client has read `run.requires_action`, and stops when
the same client reads `run.resumed` from the event stream. Postgres keeps its promises here
(`fsync = on`). The two take turns, so a drifting machine hits both.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import time
from contextlib import ExitStack
from typing import Any

from bench.queue import durable_postgres, product

LIMITS_MS = {"embedded": 50.0, "queue": 150.0}
WARM_UP = 5
BODY = json.dumps({"task": "What is 17% of 80?", "approvals": {"mode": "always"}})
JSON = {"content-type": "application/json"}


def call(port: int, method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """Return what a request is answered with."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, JSON if body else {})
    response = connection.getresponse()
    document: dict[str, Any] = json.loads(response.read())
    assert response.status < 300, document
    connection.close()
    return document


def decide_once(port: int) -> float:
    """Return the milliseconds between a decision and the run's going on."""
    run_id = call(port, "POST", "/v1/runs", BODY)["id"]
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    stream.request("GET", f"/v1/runs/{run_id}/events", headers={"accept": "text/event-stream"})
    response = stream.getresponse()
    sent = taken = 0.0
    for line in iter(response.readline, b""):
        if line.startswith(b"event: run.resumed"):
            taken = (time.perf_counter() - sent) * 1000
        elif line.startswith(b"data: ") and b'"type":"run.requires_action"' in line:
            asked = json.loads(line[6:])["data"]["required_action"]["approval_ids"]
            sent = time.perf_counter()
            call(port, "POST", f"/v1/approvals/{asked[0]}/decision", '{"type": "approve"}')
    stream.close()
    assert taken, "the run did not go on"
    return taken


def main() -> int:
    """Measure; exit 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder, server = stack.enter_context(durable_postgres())
        shared = {"SIGNALBOX_DATA_DIR": str(folder), "SIGNALBOX_DATABASE_URL": server.create()}
        alone = {
            "SIGNALBOX_DATA_DIR": str(folder / "alone"),
            "SIGNALBOX_DATABASE_URL": f"sqlite:///{folder}/runs.db",
        }
        stack.enter_context(product("worker", **shared))
        ports = {
            "embedded": stack.enter_context(product("serve", "--port", "0", **alone)),
            "queue": stack.enter_context(product("serve", "--no-worker", "--port", "0", **shared)),
        }
        samples: dict[str, list[float]] = {name: [] for name in ports}
        for number in range(WARM_UP + arguments.runs):
            for name, port in ports.items():
                taken = decide_once(port)
                if number >= WARM_UP:
                    samples[name].append(taken)
    missed = False
    for name, found in samples.items():
        middle, p95 = statistics.median(found), statistics.quantiles(found, n=20)[-1]
        kept = p95 <= LIMITS_MS[name]
        missed = missed or not kept
        verdict = "kept" if kept else "MISSED"
        print(
            f"{name:<9} median {middle:6.1f} ms, p95 {p95:6.1f} ms, "
            f"limit {LIMITS_MS[name]:.0f} {verdict}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
