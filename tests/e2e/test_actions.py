"""An action whose process is killed, stopped or frozen: never made twice, and the run says what is known."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from domain.approval import action_id
from tests.chaos.faults import Plan, When, arm, counted, disarm
from tests.chaos.places import Places
from tests.chaos.site import Site, until
from tests.e2e.conftest import StartService
from tests.e2e.models import Models, agent
from tests.e2e.processes import Process, Run, Service
from tests.fakes.http_target import CountingTarget, target_in_thread
from tests.fakes.model_server import Reply, Rule
from tests.fakes.model_server import When as Asked

pytestmark = [
    pytest.mark.timeout(120),
    # The product upgrades a database in this process, in a thread and a loop of its own.
    pytest.mark.may_block,
]

TASK: Final = "Send the order"
BUSY: Final = "Keep the one place taken"
BODY: Final = '{"order":7}'
UNASKED: Final = [{"tool": "http_request", "when": {"path": "/unasked"}, "gate": "auto"}]


@pytest.fixture
def target() -> Iterator[CountingTarget]:
    """Run the server that counts what reaches it; it outlives the product's processes."""
    with target_in_thread() as server:
        yield server


@pytest.fixture
def start(serve: StartService, models: Models, target: CountingTarget) -> Callable[..., Service]:
    """Return how to start a server that may send to the target."""
    return lambda **env: serve(models=models, **_settings(target), **env)


def _settings(target: CountingTarget) -> dict[str, str]:
    return {
        "SIGNALBOX_HTTP_ALLOW": target.address,
        "SIGNALBOX_GATES": orjson.dumps(UNASKED).decode(),
    }


def _sends(models: Models, target: CountingTarget, path: str) -> None:
    """Teach the models a run that sends one thing."""
    call = {"method": "POST", "url": target.url(path), "body": BODY}
    models.add(
        Rule(when=Asked(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=Asked(schema=True, user=TASK), reply=Reply.route(("coder", "Send it"))),
        Rule(when=Asked(system=agent("coder"), after_tool=True), reply=Reply(text="That is all.")),
        Rule(when=Asked(system=agent("coder")), reply=Reply.calls(("http_request", call))),
    )


def _waiting(service: Service, run_id: str) -> dict[str, Any]:
    """Wait until a run asks; return the approval."""
    run: Run = service.client.get(f"/v1/runs/{run_id}?wait=20").json()
    assert run["status"] == "requires_action", run
    page = service.client.get("/v1/approvals", params={"run_id": run_id}).json()
    [approval] = page["data"]
    assert approval["status"] == "pending"
    return dict(approval)


def _approve(service: Service, approval: dict[str, Any]) -> None:
    path = f"/v1/approvals/{approval['id']}/decision"
    response = service.client.post(path, json={"type": "approve"})
    assert response.status_code == 200, response.text


def _types(service: Service, run_id: str) -> Counter[str]:
    events = service.events(run_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return Counter(event["type"] for event in events)


def _done_once(run: Run, target: CountingTarget, approval: dict[str, Any]) -> None:
    """Check that an approved action was made, once."""
    action = action_id(approval["id"])
    assert run["status"] == "completed", run
    assert [(each["id"], each["status"]) for each in run["actions"]] == [(action, "done")]
    assert run["degraded"] == []
    assert target.keys() == {action: 1}
    assert target.requests[0].body == BODY


def _in_doubt(service: Service, run_id: str) -> str:
    """Wait for the end of a run whose action is in doubt, and see that it says so; return the action's id."""
    run = service.ended(run_id)
    [action] = run["actions"]
    assert (run["status"], action["status"]) == ("completed", "in_doubt"), run
    assert action["id"] in run["degraded"][0]["reason"]
    assert action["id"] in run["result"]["output"]
    told = [e["data"] for e in service.events(run_id) if e["type"] == "action.in_doubt"]
    assert [data["action"]["id"] for data in told] == [action["id"]]
    return str(action["id"])


def test_an_action_cut_off_by_a_kill_is_in_doubt_until_a_person_settles_it(
    start: Callable[..., Service], models: Models, target: CountingTarget
) -> None:
    """The server has the request, its answer never came: it is not sent again, and nobody pretends."""
    _sends(models, target, "/unasked")
    target.hold("/unasked")
    service = start()
    run_id = service.create(TASK)
    target.wait_for("/unasked")
    service.process.kill()
    target.forget("/unasked")

    service = start()
    action = _in_doubt(service, run_id)
    assert target.keys() == {action: 1}
    path = f"/v1/actions/{action}/resolution"
    for _ in range(2):
        settled = service.client.post(path, json={"outcome": "done", "result": "order 7 is there"})
        assert (settled.status_code, settled.json()["actions"][0]["status"]) == (200, "done")
    other = service.client.post(path, json={"outcome": "not_done"})
    assert (other.status_code, other.json()["code"]) == (409, "action-not-in-doubt")
    assert target.keys() == {action: 1}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_waits_needs_no_process(
    start: Callable[..., Service],
    models: Models,
    target: CountingTarget,
    how: signal.Signals,
) -> None:
    """Its server ends while it waits, and comes back: the same question, asked once, open as long."""
    _sends(models, target, "/orders")
    service = start()
    run_id = service.create(TASK)
    approval = _waiting(service, run_id)
    service.process.send(how)
    assert service.process.ended() == (0 if how == signal.SIGTERM else -how)

    service = start()
    assert _waiting(service, run_id) == approval
    assert service.run(run_id)["attempt"] == 1, "the restart has taken the run for one to continue"
    assert not target.requests
    _approve(service, approval)
    _done_once(service.ended(run_id), target, approval)
    types = _types(service, run_id)
    assert types["approval.requested"] == types["approval.resolved"] == 1
    assert (types["run.requires_action"], types["run.resumed"]) == (1, 1)


def test_a_decision_that_was_answered_survives_a_kill(
    start: Callable[..., Service], models: Models, target: CountingTarget
) -> None:
    """Another run has the only place, so that the decided one has to queue; then the server is killed."""
    _sends(models, target, "/orders")
    opened = models.gate("busy")
    models.add(Rule(when=Asked(schema=True, user=BUSY), reply=Reply.route(), gate="busy"))
    service = start(SIGNALBOX_MAX_CONCURRENT_RUNS="1")
    run_id = service.create(TASK)
    approval = _waiting(service, run_id)
    service.create(BUSY)
    until(lambda: models.asked(schema=True, user=BUSY), "the other run has the place")
    _approve(service, approval)
    assert service.run(run_id)["status"] == "queued"
    service.process.kill()
    opened()

    service = start(SIGNALBOX_MAX_CONCURRENT_RUNS="1")
    _done_once(service.ended(run_id), target, approval)
    assert _types(service, run_id)["approval.resolved"] == 1


def test_a_stop_in_the_middle_of_an_action_waits_for_its_end(
    start: Callable[..., Service], models: Models, target: CountingTarget
) -> None:
    """SIGTERM: the answer that is under way is waited for, and the next process goes on behind it."""
    _sends(models, target, "/unasked")
    gate = target.hold("/unasked")
    service = start()
    run_id = service.create(TASK)
    target.wait_for("/unasked")
    service.process.send(signal.SIGTERM)
    service.process.says("Stopping")
    gate.open()
    assert service.process.ended() == 0

    service = start()
    run = service.ended(run_id)
    assert [action["status"] for action in run["actions"]] == ["done"], run
    assert target.count("/unasked") == 1
    assert _types(service, run_id)["action.in_doubt"] == 0


# Several processes on one Postgres.


@pytest.fixture
def site(models: Models, target: CountingTarget) -> Iterator[Site]:
    """Return a Postgres with a folder; each process that is started can be frozen at a write."""
    # Not pytest's folder: another pytest may close it to the user as whom Postgres runs.
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Places(Path(folder)) as places:
        site = places.site("site", "postgres", models, **_settings(target))
        yield site
        site.close()


class Team:
    """An API process that executes nothing, and two workers that can be frozen at a write."""

    def __init__(self, site: Site) -> None:
        api = site.start("serve", "--port", "0", "--no-worker")
        self.workers = [site.start("worker", module="tests.chaos.launcher") for _ in range(2)]
        self.api = site.listening(api)
        for worker in self.workers:
            worker.says("takes runs")

    def owner(self, run_id: str, attempt: int) -> Process:
        """Return the worker that has claimed a run, as soon as one has."""

        def found() -> Process | None:
            claim = {"action": "segment_started", "run_id": run_id, "attempt": attempt}
            lines = [(worker, line) for worker in self.workers for line in worker.log]
            return next((w for w, line in lines if claim.items() <= line.items()), None)

        worker: Process = until(found, f"attempt {attempt} of {run_id} is claimed")
        return worker


def test_a_worker_frozen_in_an_action_learns_that_it_is_no_longer_its_own(
    site: Site, models: Models, target: CountingTarget
) -> None:
    """The other worker finds it started: in doubt. The first one wakes with the answer: too late."""
    _sends(models, target, "/unasked")
    gate = target.hold("/unasked")
    team = Team(site)
    run_id = team.api.create(TASK)
    target.wait_for("/unasked")
    frozen = team.owner(run_id, 1)
    frozen.send(signal.SIGSTOP)
    try:
        action = _in_doubt(team.api, run_id)
        gate.open()
    finally:
        frozen.send(signal.SIGCONT)
    frozen.says(f"belongs to somebody else.*{run_id}")
    assert _in_doubt(team.api, run_id) == action
    assert target.keys() == {action: 1}
    assert team.api.run(run_id)["attempt"] == 2


@pytest.mark.parametrize(
    ("when", "status"), [("frozen", "done"), ("frozen after", "in_doubt")], ids=["before", "after"]
)
def test_a_worker_frozen_where_it_starts_an_approved_action_does_not_double_it(
    site: Site, models: Models, target: CountingTarget, when: When, status: str
) -> None:
    """Right before its commit the other worker makes the action, and the first one's commit is refused.
    Right after it nobody can know: when it wakes it may send it, before it learns that it is too late."""
    _sends(models, target, "/orders")
    team = Team(site)
    run_id = team.api.create(TASK)
    approval = _waiting(team.api, run_id)
    plan = Plan("start", 1, when, of="actions")
    arm(site.folder, plan)
    _approve(team.api, approval)
    until(lambda: counted(site.folder, plan.name), "a worker starts the action")
    disarm(site.folder)  # the other worker reads the same plan, and must not stop as well
    frozen = team.owner(run_id, 2)
    try:
        run = team.api.ended(run_id)
        assert (run["attempt"], run["actions"][0]["status"]) == (3, status), run
        assert target.count("/orders") == (1 if status == "done" else 0)
    finally:
        frozen.send(signal.SIGCONT)
    frozen.says(f"belongs to somebody else.*{run_id}")
    action = action_id(approval["id"])
    assert target.keys() in ([{action: 1}] if status == "done" else [{}, {action: 1}])
    run = team.api.run(run_id)
    assert [(each["id"], each["status"]) for each in run["actions"]] == [(action, status)]


def test_a_decision_needs_no_worker(site: Site, models: Models, target: CountingTarget) -> None:
    """All workers are gone when it is answered, then so is the API process; new ones go on by themselves."""
    _sends(models, target, "/orders")
    team = Team(site)
    run_id = team.api.create(TASK)
    approval = _waiting(team.api, run_id)
    for worker in team.workers:
        worker.kill()
    _approve(team.api, approval)
    team.api.process.kill()
    _done_once(Team(site).api.ended(run_id), target, approval)
