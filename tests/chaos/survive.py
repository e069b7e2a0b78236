"""What must survive with two API processes and two workers on one Postgres: each case breaks something."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

import httpx

from tests.chaos.faults import Plan, arm, counted, disarm
from tests.chaos.places import Places
from tests.chaos.script import AGENTS, Held, asked_again, script
from tests.chaos.site import POLL_SECONDS, Client, Outcome, Site, alive, until
from tests.e2e.models import Models
from tests.e2e.processes import Process, Service
from tests.fakes.postgres import PostgresServer

STARTED: Final = "Segment started"
"""What a worker logs when it has claimed a run."""

MANY: Final = 100
"""Runs that are under way while workers come and go."""

RESTART_SECONDS: Final = 3.0
"""How often a worker is ended meanwhile."""

MANY_SECONDS: Final = 400.0


@dataclass(frozen=True)
class Row:
    """What came of one case."""

    name: str
    checked: str
    seconds: float
    """From the disturbance to the first sign that the run goes on."""
    faults: tuple[str, ...]

    def line(self) -> str:
        """Return the row as a line."""
        verdict = "ok" if not self.faults else "FAILED: " + "; ".join(self.faults)
        return f"{self.name:44} {self.seconds:6.2f}s  {verdict}  ({self.checked})"


class Cluster:
    """Two API processes and two workers; whoever has died is replaced before the next case."""

    def __init__(self, site: Site, postgres: PostgresServer, models: Models) -> None:
        self.site = site
        self.postgres = postgres
        self.models = models
        self.apis: list[Service] = []
        self.workers: list[Process] = []
        self._numbers = count(1)
        self.fill()
        client = self.client("undisturbed")
        assert client.reach_end(self.apis[0]), client.told
        self._undisturbed = site.outcome(self.apis[0].run(client.post(self.apis[0])))

    def client(self, label: str) -> Client:
        """Return a client with a label of its own."""
        return Client(f"{label} #{next(self._numbers)}")

    def fill(self) -> None:
        """Start what is missing, all at the same time."""
        self.apis = [api for api in self.apis if alive(api.process)]
        self.workers = [worker for worker in self.workers if alive(worker)]
        serving = [
            self.site.start("serve", "--port", "0", "--no-worker")
            for _ in range(2 - len(self.apis))
        ]
        working = [
            self.site.start("worker", module="tests.chaos.launcher")
            for _ in range(2 - len(self.workers))
        ]
        self.apis += [self.site.listening(process) for process in serving]
        for worker in working:
            worker.says("takes runs")
        self.workers += working

    def owner(self, run_id: str) -> Process:
        """Return the worker that executes a run, as soon as one does."""

        def found() -> Process | None:
            return next((w for w in self.workers if started(w, run_id)), None)

        worker: Process = until(found, f"a worker starts {run_id}")
        return worker

    def differences(self, client: Client, *, attempt: int, again: int) -> list[str]:
        """Return what is not as in the undisturbed run, or was done more often than allowed."""
        run_id = str(client.run_id)
        run = self.apis[-1].run(run_id)
        faults = self.outcome(run_id).differences(self._undisturbed)
        faults += client.complaints(self.site)
        if run["attempt"] != attempt:
            faults.append(f"attempt {run['attempt']} instead of {attempt}")
        asked = asked_again(self.models, f"[{client.label}]")
        if len(asked) > again:
            faults.append(f"made again: {', '.join(asked)}; {again} such calls were to be expected")
        return faults

    def outcome(self, run_id: str) -> Outcome:
        """Return what a run has left behind."""
        return self.site.outcome(self.apis[-1].run(run_id))


class Following:
    """A client that follows its run in a thread of its own, for as long as its server lives."""

    def __init__(self, client: Client, service: Service) -> None:
        self._client = client
        self._service = service
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        with suppress(httpx.TransportError):
            self._client.follow(self._service)

    def left(self) -> None:
        """Wait until the stream has ended, for whatever reason."""
        self._thread.join(60)
        assert not self._thread.is_alive(), [event["type"] for event in self._client.told]


@dataclass
class Scene:
    """A run in the middle of its first round: the coder waits for a model, the analyst has finished."""

    client: Client
    held: Held
    following: Following
    owner: Process

    def goes_on_after(self, moment: float) -> float:
        """Return how long after a moment the client heard of the next event."""
        later = [at for at in self.client.told_at if at > moment]
        return later[0] - moment if later else float("inf")


def _begin(cluster: Cluster, label: str) -> Scene:
    cluster.fill()
    client = cluster.client(label)
    held = Held(cluster.models, client.label, "coder", after_tool=True)
    run_id = client.post(cluster.apis[0])
    following = Following(client, cluster.apis[0])
    held.wait()
    until(lambda: any(e["type"] == "agent.completed" for e in client.told), "the analyst finishes")
    # It is told before it is saved: a kill in between makes the analyst's last call again as well.
    until(lambda: _finished_tasks(cluster, run_id), "what the analyst has found is saved")
    return Scene(client, held, following, cluster.owner(run_id))


def started(worker: Process, run_id: str) -> bool:
    """Return whether a worker has ever claimed a run."""
    return any(STARTED in line and run_id in line for line in worker.stderr.splitlines())


def worker_killed(cluster: Cluster) -> Row:
    """Kill the worker of a run; the client notices nothing but a pause."""
    scene = _begin(cluster, "worker killed")
    moment = time.monotonic()
    scene.owner.kill()
    scene.following.left()
    faults = cluster.differences(scene.client, attempt=2, again=1)
    return Row(
        "kill -9 of the run's worker",
        "the other one goes on; only the call under way is made again; one stream, no gap",
        scene.goes_on_after(moment),
        tuple(faults),
    )


def api_killed(cluster: Cluster) -> Row:
    """Kill the API process that holds the stream; the client goes on at the other one."""
    scene = _begin(cluster, "api killed")
    moment = time.monotonic()
    cluster.apis[0].process.kill()
    scene.following.left()
    scene.held.release()
    scene.client.follow(cluster.apis[1])
    faults = cluster.differences(scene.client, attempt=1, again=0)
    return Row(
        "kill -9 of the API process with the stream",
        "rejoined at the other one with Last-Event-ID: no gap, no repetition, the run undisturbed",
        scene.goes_on_after(moment),
        tuple(faults),
    )


def all_killed(cluster: Cluster) -> Row:
    """Kill all four processes at once and start four new ones."""
    scene = _begin(cluster, "all killed")
    moment = time.monotonic()
    for process in (*cluster.workers, *(api.process for api in cluster.apis)):
        process.send(signal.SIGKILL)
    scene.following.left()
    for process in (*cluster.workers, *(api.process for api in cluster.apis)):
        process.ended()
    cluster.fill()
    scene.client.follow(cluster.apis[0])
    faults = cluster.differences(scene.client, attempt=2, again=1)
    return Row(
        "kill -9 of all four processes",
        "new ones go on (their start is in the time); only the call under way is made again",
        scene.goes_on_after(moment),
        tuple(faults),
    )


def worker_frozen(cluster: Cluster) -> Row:
    """Stop a worker until its run has ended in the other one, then let it run again."""
    scene = _begin(cluster, "worker frozen")
    moment = time.monotonic()
    scene.owner.send(signal.SIGSTOP)
    faults = _thaw_after_the_end(cluster, scene)
    return Row(
        "SIGSTOP of a worker, SIGCONT after the takeover",
        "its writes are refused: no fork, no event, no file, no call twice; it stays in service",
        scene.goes_on_after(moment),
        tuple(faults),
    )


def worker_frozen_in_transaction(cluster: Cluster) -> Row:
    """Stop a worker between its check that it owns the run and its COMMIT, with the row locked."""
    scene = _begin(cluster, "worker frozen in transaction")
    plan = Plan(scene.client.label, 1, "frozen")
    arm(cluster.site.folder, plan)
    moment = time.monotonic()
    scene.held.release()
    until(lambda: counted(cluster.site.folder, plan.name), "the worker comes to a write")
    # The other worker reads the same plan, and must not stop as well.
    disarm(cluster.site.folder)
    faults = _thaw_after_the_end(cluster, scene)
    return Row(
        "SIGSTOP of a worker right before a COMMIT",
        "Postgres ends its transaction, which held the run's row; then as above",
        scene.goes_on_after(moment),
        tuple(faults),
    )


def _thaw_after_the_end(cluster: Cluster, scene: Scene) -> list[str]:
    """Wait until the run has ended elsewhere, wake its first worker, and see what that one does."""
    try:
        scene.following.left()
        run_id = str(scene.client.run_id)
        outcome, checkpoints = cluster.outcome(run_id), _checkpoints(cluster, run_id)
        scene.held.release()  # what the frozen worker asked for is there when it wakes
    finally:
        scene.owner.send(signal.SIGCONT)
    scene.owner.says(rf"belongs to somebody else.*{run_id}")
    faults = cluster.differences(scene.client, attempt=2, again=1)
    faults += [f"afterwards {d}" for d in cluster.outcome(run_id).differences(outcome)]
    saved = _checkpoints(cluster, run_id) - checkpoints
    if saved:
        faults.append(f"the thawed worker has saved {sorted(saved)}")
    if _forks(cluster, run_id):
        faults.append(f"the checkpoints fork: {_forks(cluster, run_id)}")
    if not alive(scene.owner):
        faults.append("the thawed worker has ended")
    return faults


def _checkpoints(cluster: Cluster, run_id: str) -> set[str]:
    sql = "SELECT checkpoint_ns || checkpoint_id FROM checkpoints WHERE thread_id = :run"
    return {name for (name,) in cluster.site.rows(sql, run=run_id)}


def _finished_tasks(cluster: Cluster, run_id: str) -> list[tuple[object, ...]]:
    """Return the tasks of a run's step under way that have ended and are saved."""
    return cluster.site.rows(
        "SELECT DISTINCT task_id FROM checkpoint_writes WHERE thread_id = :run "
        "AND checkpoint_ns = '' AND checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints "
        "WHERE thread_id = :run AND checkpoint_ns = '')",
        run=run_id,
    )


def _forks(cluster: Cluster, run_id: str) -> list[tuple[object, ...]]:
    return cluster.site.rows(
        "SELECT parent_checkpoint_id, count(*) FROM checkpoints WHERE thread_id = :run "
        "AND checkpoint_ns = '' GROUP BY 1 HAVING count(*) > 1",
        run=run_id,
    )


def worker_stopped(cluster: Cluster) -> Row:
    """Tell a worker to stop in the middle of a step: it ends the step and hands the run over."""
    scene = _begin(cluster, "worker stopped")
    said = len(scene.owner.stderr)
    scene.owner.send(signal.SIGTERM)
    scene.owner.says("Stopping")
    moment = time.monotonic()
    scene.held.release()
    code = scene.owner.ended()
    handed_over = time.monotonic()
    scene.following.left()
    faults = cluster.differences(scene.client, attempt=2, again=0)
    if code != 0 or "Traceback" in scene.owner.stderr[said:]:
        faults.append(f"the worker ended with {code}: {scene.owner.stderr[said:]}")
    resumed = [
        at
        for event, at in zip(scene.client.told, scene.client.told_at, strict=True)
        if event["type"] == "run.resumed"
    ]
    late = resumed[0] - handed_over if resumed else float("inf")
    if late > 1:
        faults.append(f"the other worker went on only {late:.1f} s after the hand-over")
    return Row(
        "SIGTERM of a worker in the middle of a step",
        "it ends the step and exits 0, the other one goes on within a second; no call is made again",
        resumed[0] - moment if resumed else float("inf"),
        tuple(faults),
    )


def postgres_restarted(cluster: Cluster) -> Row:
    """Restart Postgres as after a crash, in the middle of a run."""
    scene = _begin(cluster, "postgres restarted")
    moment = time.monotonic()
    cluster.postgres.restart()
    scene.held.release()
    scene.following.left()
    until(lambda: scene.client.reach_end(cluster.apis[0]), "the run ends", seconds=60)
    run = cluster.apis[0].run(str(scene.client.run_id))
    # A dead connection is met when it is used next, in this step or a later one: that step's calls.
    faults = cluster.differences(scene.client, attempt=run["attempt"], again=len(AGENTS))
    gone = [p for p in (*cluster.workers, *(a.process for a in cluster.apis)) if not alive(p)]
    if gone:
        faults.append(f"{len(gone)} processes ended: {gone[0].stderr[-2000:]}")
    return Row(
        "Postgres stopped `immediate` and started",
        "the run ends as if nothing had been; no process has ended",
        scene.goes_on_after(moment),
        tuple(faults),
    )


def cancelled_without_owner(cluster: Cluster) -> Row:
    """Cancel a run whose worker has just died: nobody is there to be told."""
    scene = _begin(cluster, "cancelled")
    run_id = str(scene.client.run_id)
    scene.owner.kill()
    moment = time.monotonic()
    response = cluster.apis[1].client.post(f"/v1/runs/{run_id}/cancel", json={})
    scene.following.left()
    faults = []
    if response.status_code >= 300 or cluster.apis[0].run(run_id)["status"] != "cancelled":
        faults.append(f"{response.status_code}: {response.text}")
    asked = len(cluster.models.requests)
    # The queue's word for "some worker has looked at the dead one's run".
    jobs = "SELECT id FROM procrastinate_jobs WHERE lock = :run"
    until(lambda: not cluster.site.rows(jobs, run=run_id), "the dead worker's run is taken over")
    stored = [event["type"] for event in cluster.apis[0].events(run_id)]
    if stored[-1] != "run.cancelled" or "run.resumed" in stored:
        faults.append(f"events: {stored}")
    if len(cluster.models.requests) != asked:
        faults.append("a model was asked after the cancellation")
    return Row(
        "cancel after the owner has died",
        "cancelled at once; whoever takes the run over leaves it alone",
        scene.goes_on_after(moment),
        tuple(faults),
    )


def rejoined(cluster: Cluster) -> Row:
    """Rejoin a finished run after each of its events, at both API processes."""
    cluster.fill()
    client = cluster.client("rejoined")
    assert client.reach_end(cluster.apis[0]), client.told
    moment = time.monotonic()
    faults = cluster.differences(client, attempt=1, again=0)
    for api in cluster.apis:
        for seen in range(len(client.told)):
            again = Client(client.label, client.run_id, client.told[:seen])
            again.follow(api)
            if again.told != client.told:
                faults.append(f"after event {seen}: {again.told[seen:]}")
    seconds = (time.monotonic() - moment) / (2 * len(client.told))
    return Row(
        "Last-Event-ID after the end, at both",
        "after each event exactly the ones that follow, the same at both; time for one",
        seconds,
        tuple(faults),
    )


def claimed_at_once(cluster: Cluster) -> Row:
    """Post runs at both API processes at once while both workers wait for work."""
    cluster.fill()
    clients = [cluster.client(f"claimed {number}") for number in range(12)]
    moment = time.monotonic()
    with ThreadPoolExecutor(len(clients)) as threads:
        ended = threads.map(
            lambda n: clients[n].reach_end(cluster.apis[n % 2]), range(len(clients))
        )
        faults = [f"{c.label} did not end" for c, e in zip(clients, ended, strict=True) if not e]
    seconds = time.monotonic() - moment
    for client in clients:
        faults += cluster.differences(client, attempt=1, again=0)
        claims = [w for w in cluster.workers if started(w, str(client.run_id))]
        if len(claims) != 1:
            faults.append(f"{client.label} was claimed by {len(claims)} workers")
    return Row(
        "twelve runs at once for two waiting workers",
        "each claimed by exactly one, once; time for all",
        seconds,
        tuple(faults),
    )


def workers_come_and_go(cluster: Cluster) -> Row:
    """End a worker every few seconds, by turns with and without warning, until many runs are done."""
    cluster.fill()
    clients = [cluster.client(f"many {number}") for number in range(MANY)]
    moment = time.monotonic()
    for number, client in enumerate(clients):
        client.post(cluster.apis[number % 2])
    restarts = 0
    while _unfinished(cluster) and time.monotonic() < moment + MANY_SECONDS:
        victim = cluster.workers[0]
        victim.send(signal.SIGKILL if restarts % 2 else signal.SIGTERM)
        assert victim.ended() in {0, -signal.SIGKILL}, victim.stderr
        cluster.fill()
        restarts += 1
        pause = time.monotonic() + RESTART_SECONDS
        while _unfinished(cluster) and time.monotonic() < pause:
            time.sleep(10 * POLL_SECONDS)
    seconds = time.monotonic() - moment
    left = _unfinished(cluster)
    faults = [f"{left} have not ended in {MANY_SECONDS:g} s"] if left else []
    for client in () if left else clients:
        client.follow(cluster.apis[0])
        attempt = cluster.apis[0].run(str(client.run_id))["attempt"]
        wrong = cluster.differences(client, attempt=attempt, again=2 * (attempt - 1))
        faults += [f"{client.label}: {fault}" for fault in wrong]
    return Row(
        f"{MANY} runs while workers come and go",
        f"{restarts} times a worker ended, by turns SIGTERM and SIGKILL; all complete, nothing twice",
        seconds,
        tuple(faults),
    )


def _unfinished(cluster: Cluster) -> int:
    return int(cluster.site.rows("SELECT count(*) FROM runs WHERE ended_at IS NULL")[0][0])


CASES: Final[tuple[Callable[[Cluster], Row], ...]] = (
    worker_killed,
    api_killed,
    all_killed,
    worker_frozen,
    worker_frozen_in_transaction,
    worker_stopped,
    postgres_restarted,
    cancelled_without_owner,
    rejoined,
    claimed_at_once,
    workers_come_and_go,
)


def survive(
    places: Places,
    cases: Sequence[Callable[[Cluster], Row]] = CASES,
    *,
    say: Callable[[str], None],
) -> list[Row]:
    """Go through the cases, one after the other, with the same four processes or their successors."""
    rows = []
    with closing(Models()) as models:
        script(models)
        with closing(places.site("survive", "postgres", models)) as site:
            cluster = Cluster(site, places.postgres(), models)
            for case in cases:
                rows.append(_survive_one(case, cluster))
                say(rows[-1].line())
    return rows


def _survive_one(case: Callable[[Cluster], Row], cluster: Cluster) -> Row:
    try:
        return case(cluster)
    except (AssertionError, httpx.HTTPError) as error:
        return Row(case.__name__, "broke off", 0, (f"{type(error).__name__}: {error}",))


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the results as a table."""
    lines = ["| Broken | Checked | Time | |", "|---|---|---|---|"]
    for row in rows:
        verdict = "fails" if row.faults else "ok"
        lines.append(f"| {row.name} | {row.checked} | {row.seconds:.1f} s | {verdict} |")
    return "\n".join(lines)
