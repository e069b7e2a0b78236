"""One installation of the product: a folder, a database, real processes, and a client of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from domain.events import TERMINAL_EVENTS
from tests.chaos.script import DOCUMENT, TASK
from tests.conftest import ROOT
from tests.e2e.models import Models
from tests.e2e.processes import BOUND, Event, Process, Run, Service, read_frames

POLL_SECONDS: Final = 0.02
"""How often a state that nobody tells of is looked at."""

COMPARED: Final = ("status", "error", "result", "keys", "calls", "files")

SHOWN_CHARS: Final = 200


@dataclass(frozen=True)
class Outcome:
    """What a run left behind, as far as a disturbance must not change it."""

    status: str
    error: Any
    """Why it failed, if it did."""
    result: Any
    """Answer, sources and what each agent contributed."""
    keys: Counter[str]
    """The keys of its events; all but those that tell of an attempt."""
    calls: frozenset[str]
    """The model calls that were booked: round, path and turn of each, under whatever attempt."""
    files: dict[str, str]
    """The files of its workspace."""

    def differences(self, undisturbed: Outcome) -> list[str]:
        """Return in words what is not as in another run."""
        found = []
        for name in COMPARED:
            mine, other = getattr(self, name), getattr(undisturbed, name)
            if mine == other:
                continue
            if name in {"keys", "calls"}:
                missing, extra = sorted(other - mine), sorted(mine - other)
                found.append(f"{name}: missing {missing}, too many {extra}")
            else:
                found.append(f"{name}: {mine!r:.{SHOWN_CHARS}} instead of {other!r:.{SHOWN_CHARS}}")
        return found


class Site:
    """A folder with a database; its processes are started, killed and started again."""

    def __init__(
        self, folder: Path, models: Models, *, database_url: str | None = None, **env: str
    ) -> None:
        self.folder = folder
        self._postgres = database_url
        knowledge = folder / "knowledge"
        knowledge.mkdir(parents=True, exist_ok=True)
        (knowledge / "lighthouse.md").write_text(DOCUMENT)
        self._env = {
            "PYTHONPATH": str(ROOT),
            "SIGNALBOX_KNOWLEDGE_DIR": str(knowledge),
            "OPENAI_BASE_URL": models.base_url,
            "SIGNALBOX_VALIDATION": "auto",
            **env,
        }
        if database_url:
            self._env |= {
                "SIGNALBOX_DATABASE_URL": database_url,
                "SIGNALBOX_TAKEOVER_SECONDS": "1",
            }
        self._open: list[Process | Service] = []

    def start(self, *command: str, module: str = "service", **env: str) -> Process:
        """Start a `signalbox` command."""
        self._forget_ended()
        values = {**self._env, **env}
        process = Process(("-m", module, *command), cwd=self.folder, env=values)
        self._open.append(process)
        return process

    def serve(self, *options: str, module: str = "service", **env: str) -> Service:
        """Start a server and wait until it listens."""
        return self.listening(self.start("serve", "--port", "0", *options, module=module, **env))

    def listening(self, process: Process) -> Service:
        """Wait until a process that serves has said where; return it with a client."""
        service = Service(process, process.says(r"Signalbox is at (http://\S+) ")[1])
        self._open.append(service)
        return service

    def close(self) -> None:
        """End everything that was started here."""
        self._forget_ended()
        for each in reversed(self._open):
            each.close()
        self._open.clear()

    def _forget_ended(self) -> None:
        # Their numbers may belong to others by now, whom `close` would end.
        for each in list(self._open):
            if not alive(each.process if isinstance(each, Service) else each):
                self._open.remove(each)
                if isinstance(each, Service):
                    each.close()

    @contextmanager
    def _database(self) -> Iterator[Engine]:
        path = self.folder / "data" / "signalbox.db"
        url = self._postgres or f"sqlite:///{path}"
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_engine(url, poolclass=NullPool)
        try:
            yield engine
        finally:
            engine.dispose()

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds in the database."""
        with self._database() as engine, engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def outcome(self, run: Run) -> Outcome:
        """Return what a finished run left behind."""
        keys = self.rows(
            "SELECT key FROM events WHERE run_id = :run"
            # Whose a file is that appears while two programs run, nobody can tell; that none is lost
            # shows in the result, which is made from what was written down with these events.
            " AND type NOT IN ('run.resumed', 'run.requires_action', 'artifact.created')",
            run=run["id"],
        )
        calls = self.rows("SELECT key FROM usage WHERE run_id = :run", run=run["id"])
        return Outcome(
            status=run["status"],
            error=run["error"],
            result=_comparable(run["result"]),
            keys=Counter(key for (key,) in keys),
            calls=frozenset(key.rpartition("|")[0] for (key,) in calls),
            files=self._files(run["id"]),
        )

    def _files(self, run_id: str) -> dict[str, str]:
        folders = list((self.folder / "data" / "workspaces").glob(f"*/{run_id}"))
        return {
            str(path.relative_to(folder)): path.read_text()
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def _comparable(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a result without what differs from run to run: its files' addresses, and whose they are."""
    if result is None:
        return None
    files = {artifact["name"]: artifact["sha256"] for artifact in result["artifacts"]}
    return {**result, "artifacts": files}


@dataclass
class Client:
    """Somebody who wants one run: posts it under one key, follows it, and comes back after a loss."""

    label: str
    """Stands in the task, so that the run's model calls can be told from others'."""
    run_id: str | None = None
    told: list[Event] = field(default_factory=list)
    """The stored events that the streams have shown, in the order they came."""
    told_at: list[float] = field(default_factory=list)
    """When each of them came."""

    @property
    def task(self) -> str:
        """Return the task."""
        return f"{TASK} [{self.label}]"

    def reach_end(self, service: Service) -> bool:
        """Post unless that was accepted, follow to the end; return whether it came."""
        try:
            self.post(service)
            if not self.ended:
                self.follow(service)
        except httpx.TransportError:
            return False
        return self.ended

    @property
    def ended(self) -> bool:
        """Return whether the client has seen its run end, however it did."""
        return bool(self.told) and self.told[-1]["type"] in TERMINAL_EVENTS

    def post(self, service: Service) -> str:
        """Post the run, unless it is known to be accepted; return its id."""
        if self.run_id is None:
            headers = {"idempotency-key": self.label.replace(" ", "-")}
            response = service.client.post("/v1/runs", json={"task": self.task}, headers=headers)
            assert response.status_code == 202, response.text
            self.run_id = str(response.json()["id"])
        return self.run_id

    def follow(self, service: Service) -> None:
        """Read the event stream from where the last one broke off to its end."""
        headers = {"accept": "text/event-stream"}
        if self.told:
            headers["last-event-id"] = str(self.told[-1]["seq"])
        path = f"/v1/runs/{self.run_id}/events"
        with service.client.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200, (response.status_code, response.read())
            for frame in read_frames(response):
                if "seq" in frame:
                    self.told.append(frame)
                    self.told_at.append(time.monotonic())
                    self.hear(service, frame)

    def hear(self, service: Service, event: Event) -> None:
        """Do what an event calls for while the stream goes on: nothing, for who only watches."""

    def complaints(self, site: Site) -> list[str]:
        """Return what is wrong with what the client was told, and with how often it has its run."""
        found = []
        stored = site.rows(
            "SELECT seq, type, agent FROM events WHERE run_id = :run ORDER BY seq", run=self.run_id
        )
        told = [(event["seq"], event["type"], event["agent"]) for event in self.told]
        if told != stored:
            found.append(f"told {told} but stored {stored}")
        if [seq for seq, *_ in stored] != list(range(1, len(stored) + 1)):
            found.append("the events' numbers are not 1, 2, 3 …")
        runs = site.rows("SELECT id FROM runs WHERE task = :task", task=self.task)
        if len(runs) != 1:
            found.append(f"there are {len(runs)} runs of one request")
        return found


def alive(process: Process) -> bool:
    """Return whether a process has not ended."""
    return process._popen.poll() is None


def until(reached: Callable[[], Any], what: str, *, seconds: float = BOUND) -> Any:
    """Wait for a state that nobody tells of; return what the test for it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            found = reached()
            if found:
                return found
        time.sleep(POLL_SECONDS)
    msg = f"{what}: not reached in {seconds:g} s"
    raise AssertionError(msg)
