"""Starts the product as real processes and waits for what they say, never for time to pass."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import httpx
import orjson

BOUND: Final = 25.0
"""Seconds after which a wait fails: far beyond what anything here takes."""

PASSED_ON: Final = ("PATH", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")

Event = dict[str, Any]
Run = dict[str, Any]


class Process:
    """One process of the product; its output is read as it comes, so that no pipe fills up."""

    def __init__(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        program: str = sys.executable,
    ) -> None:
        self._changed = threading.Condition()
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._popen = subprocess.Popen(
            [program, *args],
            cwd=cwd,
            env=clean_environment(cwd, env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        streams = {"stdout": self._popen.stdout, "stderr": self._popen.stderr}
        self._open = len(streams)
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in streams.items()
            if stream
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._lines[name].append(line)
                    self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._popen.pid

    @property
    def stdout(self) -> str:
        """Return what was printed on stdout so far."""
        with self._changed:
            return "".join(self._lines["stdout"])

    @property
    def stderr(self) -> str:
        """Return what was printed on stderr so far."""
        with self._changed:
            return "".join(self._lines["stderr"])

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the log lines so far: those on stderr that are JSON."""
        return [orjson.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    def says(self, pattern: str, stream: str = "stderr") -> re.Match[str]:
        """Wait for a line; fails with all that was said when the process ends before."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, s) for s in self._lines[stream])), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or not self._open, BOUND)
            match = found()
        assert match, f"no {pattern!r} on {stream}:\n{self.stdout}{self.stderr}"
        return match

    def ended(self) -> int:
        """Wait for the end and return the exit code."""
        try:
            code = self._popen.wait(BOUND)
        except subprocess.TimeoutExpired:
            msg = f"the process did not end:\n{self.stderr}"
            raise AssertionError(msg) from None
        for reader in self._readers:
            reader.join(BOUND)
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Take the process away without warning, as `kill -9` and a power cut do."""
        self._popen.kill()
        self._popen.wait(BOUND)

    def close(self) -> None:
        """End the process and everything it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(BOUND)
        for reader in self._readers:
            reader.join(BOUND)

    def refused(self) -> str:
        """Wait for the end; return the one line of a process that would not start."""
        code = self.ended()
        lines = self.stderr.splitlines()
        assert code == 2, self.stderr
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("signalbox: ")
        assert self.stdout == ""
        return lines[0]


class Service:
    """A serving process and a client of it."""

    def __init__(self, process: Process, base_url: str) -> None:
        self.process = process
        self.base_url = base_url
        self.client = httpx.Client(base_url=base_url, timeout=BOUND, trust_env=False)

    def create(self, task: str, **body: Any) -> str:
        """Create a run and return its id."""
        response = self.client.post("/v1/runs", json={"task": task, **body})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def run(self, run_id: str) -> Run:
        """Return a run as it stands."""
        response = self.client.get(f"/v1/runs/{run_id}")
        assert response.status_code == 200, response.text
        return dict(response.json())

    def ended(self, run_id: str) -> Run:
        """Wait for a run's end and return it."""
        path = f"/v1/runs/{run_id}?wait=20"
        run: Run = self.client.get(path).json()
        if not run[
            "ended_at"
        ]:  # Postgres takes a run from a process that was frozen amid a write after 30 s
            run = self.client.get(path).json()
        assert run["ended_at"], (run, self.process.stderr)
        return run

    def events(self, run_id: str) -> list[Event]:
        """Return all stored events of a run."""
        page = self.client.get(f"/v1/runs/{run_id}/events?limit=1000").json()
        assert not page["has_more"]
        return list(page["data"])

    @contextmanager
    def stream(self, run_id: str) -> Iterator[Iterator[Event]]:
        """Open a run's event stream; yields its frames until it ends."""
        headers = {"accept": "text/event-stream"}
        path = f"/v1/runs/{run_id}/events"
        with self.client.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200, response.read()
            yield read_frames(response)

    def follow_until(self, run_id: str, reached: Callable[[list[Event]], bool]) -> list[Event]:
        """Read the event stream until what came so far satisfies the test."""
        seen: list[Event] = []
        with self.stream(run_id) as frames:
            for frame in frames:
                seen.append(frame)
                if reached(seen):
                    return seen
        msg = f"the stream ended before: {[event['type'] for event in seen]}"
        raise AssertionError(msg)

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()


def read_frames(response: httpx.Response) -> Iterator[Event]:
    """Yield the events of a stream. Pings keep it busy, so the wait is bounded here."""
    deadline = time.monotonic() + BOUND
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield orjson.loads(line.removeprefix("data: "))
        assert time.monotonic() < deadline, "the stream did not come to its point"


def clean_environment(cwd: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without anybody's keys and settings."""
    inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # A script of a model is for the calls it is about; those of the validator are for its own tests. And
    # nobody is asked for search results but by a test that has a server for it. What is asked twice is
    # meant to be worked on twice.
    own = {
        "SIGNALBOX_VALIDATION": "off",
        "SIGNALBOX_SEARCH_KEYLESS": "false",
        "SIGNALBOX_CACHE_SECONDS": "0",
    }
    return {**inherited, "HOME": str(cwd), "LANG": "C.UTF-8", **own, **env}


def completed(*agents: str) -> Callable[[list[Event]], bool]:
    """Return a test that those agents' completions were seen."""

    def reached(events: list[Event]) -> bool:
        done = {event["agent"] for event in events if event["type"] == "agent.completed"}
        return done.issuperset(agents)

    return reached


def seen_type(type_: str, count: int = 1) -> Callable[[list[Event]], bool]:
    """Return a test that so many events of a type were seen."""
    return lambda events: sum(event["type"] == type_ for event in events) >= count


def seen_stored(count: int) -> Callable[[list[Event]], bool]:
    """Return a test that so many stored events were seen; those that are not have no number."""
    return lambda events: sum("seq" in event for event in events) >= count


def outline(events: list[Event]) -> Counter[tuple[Any, ...]]:
    """Return which events there are, each with what identifies it; all but `run.resumed`."""
    return Counter(
        (
            event["type"],
            event["agent"],
            event["path"],
            event["round"],
            event["data"].get("message_id") or event["data"].get("call_id"),
        )
        for event in events
        if event["type"] != "run.resumed"
    )
