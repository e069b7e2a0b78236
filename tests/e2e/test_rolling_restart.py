"""A rolling restart: processes of two versions beside each other on one Postgres lose nothing."""

from __future__ import annotations

import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from domain.events import TERMINAL_EVENTS
from tests.chaos.script import Pace
from tests.chaos.site import Client
from tests.conftest import ROOT
from tests.e2e import processes
from tests.e2e.conftest import StartProcess
from tests.e2e.models import Models, agent
from tests.e2e.other_version import (
    NEW_CHANNELS,
    OTHER_SCHEMA,
    RENAMED_AGENT,
    Change,
    Edit,
    write_version,
)
from tests.e2e.processes import Event, Process, Run, Service
from tests.fakes import model_server
from tests.fakes.model_script import message_text
from tests.fakes.model_server import ModelRequest, Reply, Rule, When
from tests.fakes.postgres import postgres, postgres_url  # noqa: F401 - fixtures

pytestmark = [
    pytest.mark.timeout(180),
    # The product upgrades a database in this process, in a thread and a loop of its own.
    pytest.mark.may_block,
]

ALL: Change = (*RENAMED_AGENT, *OTHER_SCHEMA, *NEW_CHANNELS)
KEYS: Final = "SELECT run_id, count(*), count(DISTINCT key) FROM events GROUP BY run_id"
GONE: Final = "is no longer part of this server"
NEWER: Final = "is newer than this version of Signalbox"
PATIENCE: Final = 60.0
"""Seconds after which a wait fails."""
PACE_SECONDS: Final = 0.1
"""What an answer takes, so that there are runs under way at every moment."""

WRITER_BEGINS: Final = When(system=r"\AYou are the (coder|programmer) ", after_tool=False)
ANALYST_BEGINS: Final = When(system=agent("analyst"), after_tool=False)
ANALYST_ENDS: Final = When(system=agent("analyst"), after_tool=True)

MEAN: Final = "print('mean', sum([120, 135, 150, 149, 171]) / 5)"
WRITTEN: Final = 'status="completed">\nA program.'
TOWER: Final = "The tower is of granite [1]."

EXPANDED: Change = (
    Edit(
        "service/store/tables.py",
        '    Column("tidied", Integer, nullable=False, server_default="0"),\n)\n',
        '    Column("tidied", Integer, nullable=False, server_default="0"),\n'
        '    Column("mood", String),\n)\n\n'
        'moods: Final = Table("moods", metadata, Column("mood", String, primary_key=True))\n',
    ),
    Edit(
        "service/store/rows.py",
        '        "max_rounds": run.budget.max_rounds,\n        "budget"',
        '        "mood": "calm",\n        "max_rounds": run.budget.max_rounds,\n        "budget"',
    ),
)
"""A run has a mood, which may be empty, and there is a table of moods."""

VERSIONS: Final = "service/store/migrations/versions"
HEAD: Final = max(path.name[:4] for path in (ROOT / VERSIONS).glob("0*.py"))
NEXT: Final = f"{int(HEAD) + 1:04}"

MIGRATION: Final = f'''\
"""Moods."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("mood", sa.String()))
    op.create_table("moods", sa.Column("mood", sa.String(), primary_key=True))


def downgrade() -> None:
    op.drop_table("moods")
    op.drop_column("runs", "mood")
'''


@dataclass(frozen=True)
class Version:
    """One commit of the product, and what is called differently in it."""

    root: Path
    writer: str = "coder"
    """The agent that writes programs."""
    notes: bool = False
    """Whether answers end with notes, which are channels of their own."""


@dataclass(frozen=True)
class Worker:
    """A process that executes runs."""

    process: Process
    version: Version

    def claims(self) -> set[tuple[str, int]]:
        """Return the runs that it has claimed, each with the attempt."""
        lines = [line for line in self.process.log if line.get("action") == "segment_started"]
        return {(line["run_id"], line["attempt"]) for line in lines}

    def had(self, run_id: str | None) -> bool:
        """Return whether it has ever claimed a run."""
        return any(claimed == run_id for claimed, _ in self.claims())

    def claimed(self, run_id: str | None) -> None:
        """Wait until it claims a run."""
        self.process.says(rf'"segment_started".*"run_id":"{run_id}"')


class Front:
    """Where clients reach the service: one API process, after a while another one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._service: Service | None = None

    def now(self) -> Service:
        """Return the API process that clients go to."""
        assert self._service, "no API process has started"
        return self._service

    def move(self, service: Service) -> None:
        """Send clients to another process from now on."""
        with self._changed:
            self._service = service
            self._changed.notify_all()

    def after(self, service: Service) -> Service:
        """Wait until clients are sent to another process than the one that has gone."""
        with self._changed:
            moved = self._changed.wait_for(lambda: self._service is not service, PATIENCE)
        assert moved, f"a client was left by a server that goes on:\n{service.process.stderr}"
        return self.now()


class Held:
    """Model calls of one run that wait, each the first time it is made; tells when all are under way."""

    def __init__(self, models: Models, label: str, calls: Sequence[When]) -> None:
        self.client = Client(label)
        self._asked = [threading.Event() for _ in calls]
        gate = f"held {label}"
        self._open = models.gate(gate)
        for when, asked in zip(calls, self._asked, strict=True):
            ours = When(
                system=when.system, user=re.escape(f"[{label}]"), after_tool=when.after_tool
            )
            rule = Rule(when=ours, reply=partial(self._answer, asked), times=1, gate=gate)
            # In front: the first rule that matches answers.
            models.server.rules.insert(0, rule)

    def _answer(self, asked: threading.Event, request: ModelRequest) -> Reply:
        asked.set()
        return answer_as(request)

    def wait(self) -> None:
        """Wait until every one of the answers is being waited for."""
        assert all(asked.wait(PATIENCE) for asked in self._asked), f"not asked: {self.client.label}"

    def release(self) -> None:
        """Let the answers go to whoever still waits for them."""
        self._open()


@dataclass
class Fleet:
    """The processes on one database and the clients that want runs of them."""

    start: Callable[..., Process]
    """Starts a command of the product; keyword arguments are environment variables."""
    models: Models
    url: str
    places: int = 3
    """How many runs a worker executes at the same time."""
    front: Front = field(default_factory=Front)
    workers: list[Worker] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(32))
    asking: list[Future[None]] = field(default_factory=list)

    def begin(self, version: Version, *command: str) -> Process:
        """Start a command in a version."""
        places = str(self.places)
        return self.start(
            *command, PYTHONPATH=str(version.root), SIGNALBOX_MAX_CONCURRENT_RUNS=places
        )

    def work(self, version: Version) -> Worker:
        """Start a worker; it may take a while until it takes runs."""
        self.workers.append(Worker(self.begin(version, "worker"), version))
        return self.workers[-1]

    def serve(self, version: Version) -> Service:
        """Start an API process and send clients there."""
        process = self.begin(version, "serve", "--port", "0", "--no-worker")
        service = Service(process, process.says(r"Signalbox is at (http://\S+) ")[1])
        self.services.append(service)
        self.front.move(service)
        return service

    def want(self, client: Client) -> None:
        """Be a client that wants one run and goes on elsewhere where its server has gone."""
        self.clients.append(client)
        service = self.front.now()
        while not client.reach_end(service):
            service = self.front.after(service)

    def hold(self, number: int, name: str, *calls: When) -> list[Held]:
        """Create runs and wait until each of them waits for these model calls."""
        held = [Held(self.models, f"{name} {n}", calls) for n in range(number)]
        self.asking += [self.threads.submit(self.want, each.client) for each in held]
        for each in held:
            each.wait()
        return held

    @contextmanager
    def stream_of_runs(self, clients: int, *, least: int) -> Iterator[None]:
        """Let clients create run after run meanwhile; then wait until all that were created ended."""
        enough = threading.Event()

        def keep_asking(name: str) -> None:
            for number in count():
                if enough.is_set() and number >= least:
                    return
                self.want(Client(f"{name} {number}"))

        names = [f"stream {n}" for n in range(clients)]
        self.asking += [self.threads.submit(keep_asking, name) for name in names]
        try:
            yield
        finally:
            enough.set()
        for each in self.asking:
            each.result(PATIENCE)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query finds in the database."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql.encode()).fetchall()

    def stop(self) -> None:
        """Tell the processes that are left to stop, and see that all of them leave in order."""
        left = [*(each.process for each in self.workers), *(each.process for each in self.services)]
        for process in left:
            process.send(signal.SIGTERM)
        codes = [process.ended() for process in left]
        assert set(codes) <= {0, -signal.SIGKILL}, codes
        for process in left:
            assert "Traceback" not in process.stderr, process.stderr
        for worker in self.workers:
            assert '"level":"error"' not in worker.process.stderr, worker.process.stderr

    def close(self) -> None:
        """Leave the servers."""
        self.threads.shutdown(cancel_futures=True)
        for service in self.services:
            service.close()


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest,
    signalbox: StartProcess,
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Fleet]:
    """Return processes to be started on an empty database, with a scripted model."""
    # Up to seven processes share the machine, and answers are held back while others start.
    monkeypatch.setattr(model_server, "GATE_SECONDS", PATIENCE)
    monkeypatch.setattr(processes, "BOUND", PATIENCE)
    url = str(request.getfixturevalue("postgres_url"))
    script(models)
    start = partial(
        signalbox,
        OPENAI_BASE_URL=models.base_url,
        SIGNALBOX_DATABASE_URL=url,
        SIGNALBOX_TAKEOVER_SECONDS="1",
    )
    fleet = Fleet(start, models, url)
    yield fleet
    fleet.close()


@pytest.fixture
def this() -> Version:
    """Return the version that is tested."""
    return Version(ROOT)


@pytest.fixture
def other(tmp_path: Path) -> Version:
    """Return a version with an agent renamed, a tool's schema changed and two channels added."""
    return Version(write_version(tmp_path / "other", ALL), "programmer", notes=True)


@pytest.fixture
def expanded(tmp_path: Path) -> Version:
    """Return a version that needs a column and a table more, with the migration that makes them."""
    root = write_version(tmp_path / "expanded", EXPANDED)
    (root / VERSIONS / f"{NEXT}_moods.py").write_text(MIGRATION)
    return Version(root)


def script(models: Models) -> None:
    """Teach the model a run of two rounds, more where what was to be written is not there."""
    models.server.gates["pace"] = Pace(PACE_SECONDS)
    models.add(Rule(when=When(), reply=answer_as, gate="pace"))


def answer_as(request: ModelRequest) -> Reply:
    """Answer whoever asks: the supervisor, one of the agents, or the answer's author."""
    who = role(request)
    if who == "supervisor":
        return _route(request)
    if who == "analyst":
        return _compute(request)
    if who == "answer":
        return Reply(text="The mean is 145, and the tower is of granite [1].")
    if who == "researcher":
        search = Reply.calls(("search_documents", {"query": "Fastnet lighthouse granite"}))
        return Reply(text=TOWER) if request.after_tool else search
    write = Reply.calls(("write_file", {"path": "program.py", "content": "print(145)\n"}))
    return Reply(text="A program.") if request.after_tool else write


def role(request: ModelRequest) -> str:
    """Return who asks."""
    if request.schema:
        return "supervisor"
    found = re.match(r"You are the (\w+) of a team", request.system)
    return found[1] if found else "answer"


def _route(request: ModelRequest) -> Reply:
    assert request.schema
    known = request.schema["properties"]["assignments"]["items"]["properties"]["agent"]["enum"]
    writer = "coder" if "coder" in known else "programmer"
    if "<results>" not in request.user:
        return Reply.route(("analyst", "Compute the mean"), (writer, "Write a program"))
    if WRITTEN not in request.user:
        return Reply.route((writer, "Write it once more"))
    if TOWER not in request.user:
        return Reply.route(("researcher", "Look up the tower"))
    return Reply.route()


def _compute(request: ModelRequest) -> Reply:
    """Call the tool with the argument that it has, once more where the call was an error."""
    if request.after_tool and "mean 145" in message_text(request.body["messages"][-1]):
        return Reply(text="The mean is 145.")
    functions = [tool["function"] for tool in request.body["tools"]]
    schema = next(f["parameters"] for f in functions if f["name"] == "run_python")
    return Reply.calls(("run_python", {next(iter(schema["properties"])): MEAN}))


def asked_again(models: Models, client: Client) -> Counter[str]:
    """Return whose model calls of a run were made more than once, and how often beyond that."""
    calls = Counter(
        (role(request), request.user, len(request.body["messages"]))
        for request in models.requests
        if f"[{client.label}]" in request.user
    )
    again: Counter[str] = Counter()
    for (who, *_), times in calls.items():
        again[who] += times - 1
    return +again


@dataclass(frozen=True)
class Record:
    """What is known of a run when all is over."""

    client: Client
    run: Run
    events: list[Event]
    versions: dict[int, Version]
    """Which version executed each attempt."""
    killed: set[int]
    """The attempts that ended with a kill."""
    again: Counter[str]
    """Whose model calls were made more than once."""

    def of_type(self, type_: str) -> list[Event]:
        """Return its events of a type."""
        return [event for event in self.events if event["type"] == type_]

    @property
    def degraded(self) -> list[str]:
        """Return the agents that are missing from its answer."""
        return [part["agent"] for part in self.run["degraded"]]

    @property
    def changed_hands(self) -> bool:
        """Return whether it was begun by one version and ended by the other."""
        return len(set(self.versions.values())) == 2

    def check(self) -> None:
        """Check that it completed, that its log is whole, and that nothing was done twice."""
        assert self.run["status"] == "completed", self.run
        assert [event["seq"] for event in self.events] == list(range(1, len(self.events) + 1))
        ends = [event for event in self.events if event["type"] in TERMINAL_EVENTS]
        assert [each["type"] for each in ends] == ["run.completed"]
        assert ends[0] is self.events[-1]
        assert self.client.told == self.events, "the client was told something else"
        assert set(self.versions) == set(range(1, self.run["attempt"] + 1))
        ended_by = self.versions[self.run["attempt"]]
        assert ("Notes: " in self.run["result"]["output"]) is ended_by.notes
        decided = [event["round"] for event in self.of_type("supervisor.decision")]
        assert len(set(decided)) == len(decided)
        done = Counter(event["agent"] for event in self.of_type("agent.completed"))
        assert done == {"analyst": 1, "researcher": 1, self.writer: 1}
        self._check_repetitions()
        self._check_failures()

    @property
    def writer(self) -> str:
        """Return the agent whose program the answer is from."""
        agents = {str(event["agent"]) for event in self.of_type("agent.completed")}
        return next(iter(agents - {"analyst", "researcher"}))

    def _check_repetitions(self) -> None:
        """Check that no call was made again but those that were under way at a kill."""
        if not self.killed:
            reasons = [event["data"] for event in self.of_type("agent.retrying")]
            assert not self.again, (self.client.label, self.again, reasons)
            return
        resumed = min(
            e["seq"] for e in self.of_type("run.resumed") if e["attempt"] - 1 in self.killed
        )
        completed = {e["agent"] for e in self.of_type("agent.completed") if e["seq"] < resumed}
        assert not completed & self.again.keys(), (self.client.label, completed, self.again)
        assert set(self.again.values()) <= {1}, (self.client.label, self.again)
        assert self.again.total() <= 2, "at most two agents are at work at once"

    def _check_failures(self) -> None:
        """Check that only work of the renamed agent failed, where the other version went on with it."""
        failed = self.of_type("agent.failed")
        assert self.degraded == [event["agent"] for event in failed]
        for event in failed:
            # Not by the attempt of the decision: its event may be told later than it was made.
            before = {
                v.writer for attempt, v in self.versions.items() if attempt < event["attempt"]
            }
            now = self.versions[event["attempt"]].writer
            assert (event["agent"] in before, event["agent"] == now) == (True, False)
            assert self.writer == now
        assert all(GONE in part["reason"] for part in self.run["degraded"])
        assert not [event for event in self.of_type("tool.failed") if not self.changed_hands]


def read_records(fleet: Fleet, *killed: Worker) -> dict[str, Record]:
    """Return what is known of each run, by the client's label; no request has two runs."""
    keys = {run: (n, keys) for run, n, keys in fleet.rows(KEYS)}
    assert len(keys) == len(fleet.clients) == fleet.rows("SELECT count(*) FROM runs")[0][0]
    lost = {claim for worker in killed for claim in worker.claims()}
    records = {}
    for client in fleet.clients:
        run_id = str(client.run_id)
        run, events = fleet.front.now().run(run_id), fleet.front.now().events(run_id)
        assert keys[run_id] == (len(events), len(events)), "the keys of events are unique"
        versions = {
            attempt: worker.version
            for worker in fleet.workers
            for claimed, attempt in worker.claims()
            if claimed == run_id
        }
        ended_by = {attempt for claimed, attempt in lost if claimed == run_id}
        records[client.label] = Record(
            client,
            run,
            events,
            versions,
            ended_by - {run["attempt"]},
            asked_again(fleet.models, client),
        )
    return records


def roll(fleet: Fleet, old: Version, new: Version) -> dict[str, Record]:
    """Replace one worker by SIGTERM, the API, and the other worker by `kill -9`; return all runs."""
    first, second = fleet.work(old), fleet.work(old)
    fleet.serve(old)
    for worker in (first, second):
        worker.process.says("takes runs")
    with fleet.stream_of_runs(fleet.places, least=fleet.places + 1):
        # As many runs as there are places: both workers are full of them.
        begun = fleet.hold(2 * fleet.places, "begun", WRITER_BEGINS, ANALYST_BEGINS)
        theirs = [each for each in begun if first.had(each.client.run_id)]
        assert len(theirs) == fleet.places
        first.process.send(signal.SIGTERM)
        first.process.says("Stopping")
        for each in theirs:
            each.release()
        assert first.process.ended() == 0
        third = fleet.work(new)
        for each in theirs:
            third.claimed(each.client.run_id)
        for each in begun:
            each.release()

        streamed = fleet.hold(2, "streamed", ANALYST_ENDS)
        gone = fleet.front.now()
        gone.process.send(signal.SIGTERM)
        assert gone.process.ended() == 0
        fleet.serve(new)
        for each in streamed:
            each.release()

        ending = fleet.hold(2 * fleet.places, "ending", ANALYST_ENDS)
        for each in ending:
            fleet.front.now().follow_until(str(each.client.run_id), somebody_wrote)
        second.process.kill()
        fourth = fleet.work(new)
        for each in ending:
            each.release()
        fourth.process.says("takes runs")
    records = read_records(fleet, second)
    for each in theirs:
        assert records[each.client.label].versions == {1: old, 2: new}
    for each in ending:
        taken_over = second.had(each.client.run_id)
        assert records[each.client.label].versions == ({1: old, 2: new} if taken_over else {1: new})
    return records


def somebody_wrote(events: list[Event]) -> bool:
    """Return whether the agent that writes programs has completed, whatever it is called."""
    done = {event["agent"] for event in events if event["type"] == "agent.completed"}
    return bool(done & {"coder", "programmer"})


def assert_replaced_without_loss(
    records: Mapping[str, Record], *, old: Version, new: Version
) -> None:
    """Check every run, and that each kind of change of hands has taken place."""
    for record in records.values():
        record.check()
    begun = [r for label, r in records.items() if label.startswith("begun") and r.changed_hands]
    ending = [r for label, r in records.items() if label.startswith("ending") and r.changed_hands]
    assert begun
    for record in begun:
        assert (record.degraded, record.writer, record.again) == ([old.writer], new.writer, {})
        assert [e["agent"] for e in record.of_type("tool.failed")] == ["analyst"]
    assert ending
    for record in ending:
        assert (record.degraded, record.writer) == ([], old.writer)
        assert record.again == {"analyst": 1}
    assert all(r.degraded == [] for r in records.values() if r not in begun)


def test_a_rolling_restart_of_two_versions_loses_nothing(
    fleet: Fleet, this: Version, other: Version
) -> None:
    """The newer one has an agent renamed, a tool's schema changed, and two channels more."""
    records = roll(fleet, this, other)
    assert len(records) >= 24
    assert_replaced_without_loss(records, old=this, new=other)
    fleet.stop()


def test_a_roll_back_loses_nothing(fleet: Fleet, this: Version, other: Version) -> None:
    """The same in the opposite direction: what the newer version began, the older one goes on with."""
    fleet.places = 2
    records = roll(fleet, other, this)
    assert_replaced_without_loss(records, old=other, new=this)
    fleet.stop()


def test_processes_of_two_versions_share_tables_that_were_expanded(
    fleet: Fleet, this: Version, expanded: Version
) -> None:
    """The newer one waits for its upgrade; the older one goes on through it and starts after it."""
    fleet.places = 2
    early = fleet.work(this)
    gone = fleet.serve(this)
    early.process.says("takes runs")
    with fleet.stream_of_runs(1, least=2):
        before = fleet.hold(1, "before", ANALYST_BEGINS)
        for command in (["worker"], ["serve", "--port", "0", "--no-worker"]):
            assert "run `signalbox db upgrade`" in fleet.begin(expanded, *command).refused()
        upgrading = fleet.begin(expanded, "db", "upgrade")
        assert upgrading.ended() == 0, upgrading.stderr
        assert f"runs: {HEAD} upgraded to {NEXT}" in upgrading.stdout
        before[0].release()

        late = fleet.work(this)
        late.process.says("takes runs")
        for process in (early.process, gone.process):
            process.send(signal.SIGTERM)
            assert process.ended() == 0
        fleet.serve(this)
        alone = fleet.hold(2, "alone", ANALYST_BEGINS)
        older = (late.process, fleet.front.now().process)
        newest = fleet.work(expanded)
        fleet.serve(expanded)
        beside = fleet.hold(2, "beside", ANALYST_ENDS)
        for each in (*alone, *beside):
            each.release()
    records = read_records(fleet)
    for record in records.values():
        record.check()
        assert (record.degraded, record.again) == ([], {})
    assert [process.stderr.count(NEWER) for process in older] == [1, 1]
    assert all(late.had(each.client.run_id) for each in alone)
    assert all(newest.had(each.client.run_id) for each in beside)
    moods = dict(fleet.rows("SELECT id, mood FROM runs"))
    assert {moods[each.client.run_id] for each in (*before, *alone)} == {None}
    assert {moods[each.client.run_id] for each in beside} == {"calm"}
    fleet.stop()
