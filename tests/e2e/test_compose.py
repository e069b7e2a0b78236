"""The shapes of `docker-compose.yml`: each of their processes is killed in turn, and the run goes on."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from domain.approval import action_id
from tests.chaos.site import until
from tests.conftest import ROOT
from tests.e2e.composition import Composition, Instance
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import BOUND
from tests.fakes.http_target import CountingTarget, target_in_thread
from tests.fakes.model_server import Reply, Rule, When
from tests.fakes.postgres import PostgresServer

pytestmark = [
    pytest.mark.timeout(180),
    # The database is made in this process, in a thread and a loop of its own.
    pytest.mark.may_block,
]

TASK: Final = "Send the order and count"
CODER: Final = agent("coder")
SECRET: Final = "the-secret-of-these-tests"
PROGRAM: Final = "print('counted', sum(range(101)))"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose name is short: the path of a socket has 107 characters."""
    made = Path(tempfile.mkdtemp(prefix="sbx-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def models() -> Iterator[Models]:
    server = Models()
    yield server
    server.close()


@pytest.fixture
def target() -> Iterator[CountingTarget]:
    with target_in_thread() as server:
        yield server


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """Run a Postgres of the test's own: it is killed as well."""
    with PostgresServer(tmp_path) as server:
        yield server


@pytest.fixture
def composition(
    folder: Path, postgres: PostgresServer, models: Models, target: CountingTarget
) -> Iterator[Composition]:
    knowledge = folder / "knowledge"
    knowledge.mkdir()
    (knowledge / "note.md").write_text("# A note\n\nNothing that matters here.\n")
    dotenv = {
        "SIGNALBOX_KNOWLEDGE_DIR": str(knowledge),
        "SIGNALBOX_HTTP_ALLOW": target.address,
        # Eight seconds by default; a killed worker's run is to be elsewhere sooner here.
        "SIGNALBOX_TAKEOVER_SECONDS": "1",
    }
    made = Composition(
        folder,
        postgres.create(prepared=False),
        dotenv=dotenv,
        given={"OPENAI_BASE_URL": models.base_url, "SIGNALBOX_SEARCH_KEYLESS": "false"},
    )
    yield made
    made.close()


@pytest.fixture
def one_container(folder: Path, models: Models, target: CountingTarget) -> Iterator[Composition]:
    """Return the shape without a profile, with the coder in a container of its own."""
    lines = (ROOT / "deploy" / "agents.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line.startswith("SIGNALBOX_AGENT_CODER"))
    dotenv = {"SIGNALBOX_HTTP_ALLOW": target.address}
    secret = {"SIGNALBOX_AGENT_SECRET": SECRET}
    keyless = {"SIGNALBOX_SEARCH_KEYLESS": "false"}
    made = Composition(
        folder,
        "",
        dotenv=dotenv,
        given={**given, **secret, **keyless, "OPENAI_BASE_URL": models.base_url},
    )
    yield made
    made.close()


class Story:
    """A run that sends an order, once a person has allowed it, then runs a program, then answers."""

    def __init__(self, models: Models, target: CountingTarget) -> None:
        order = {"method": "POST", "url": target.url("/orders"), "body": '{"order":7}'}
        self.before_it_asks = Hanging(
            When(system=CODER, after_tool=False), Reply.calls(("http_request", order))
        )
        self.after_it_acted = Hanging(When(system=CODER, after_tool=True), Reply(text="not said"))
        hang_once = self.after_it_acted.rules[0]
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
            Rule(when=When(schema=True, user=TASK), reply=Reply.route(("coder", TASK))),
            *self.before_it_asks.rules,
            hang_once,
            Rule(
                when=When(system=CODER, after_tool=True),
                reply=Reply.calls(("run_python", {"code": PROGRAM})),
                times=1,
            ),
            Rule(
                when=When(system=CODER, after_tool=True),
                reply=lambda request: Reply(text=f"Sent, and {_counted(request.transcript)}."),
            ),
        )


def _counted(transcript: str) -> str:
    return "counted 5050" if "counted 5050" in transcript else "nothing was counted"


class Client:
    """Speaks to one API process, with a key."""

    def __init__(self, instance: Instance, key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(
            base_url=instance.address, headers=headers, timeout=BOUND, trust_env=False
        )

    def get(self, path: str) -> dict[str, Any]:
        response = self._http.get(path)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._http.post(path, json=body)
        assert response.status_code in {200, 202}, response.text
        return dict(response.json())

    def reaches(self, run_id: str, status: str) -> dict[str, Any]:
        """Wait until a run has a status; the server may be away meanwhile."""

        def reached() -> dict[str, Any] | None:
            response = self._http.get(f"/v1/runs/{run_id}?wait=20")
            run = response.json() if response.status_code == 200 else {}
            return run if run.get("status") == status else None

        return dict(until(reached, f"{run_id} is {status}", seconds=40))

    def close(self) -> None:
        self._http.close()


def executing(composition: Composition, run_id: str) -> Instance:
    """Return the worker that began the run's latest segment."""

    def attempts(worker: Instance) -> int:
        lines = worker.process.log
        return max((x.get("attempt", 0) for x in lines if x.get("run_id") == run_id), default=0)

    return max(composition.instances["worker"], key=attempts)


def test_each_process_is_killed_in_turn_and_the_run_goes_on(
    composition: Composition, postgres: PostgresServer, models: Models, target: CountingTarget
) -> None:
    """Workers, servers, the sandbox and the database: the action is made once, and nothing is lost."""
    story = Story(models, target)
    key = composition.once("api", "keys", "create", "--name", "me", "--scope", "admin").strip()
    composition.up("api", "worker")
    first, second = (Client(each, key) for each in composition.instances["api"])
    ready = first.get("/health/ready")
    assert ready["status"] == "ok", ready

    run_id = first.post("/v1/runs", {"task": TASK, "validation": "off"})["id"]
    story.before_it_asks.wait()
    worker = executing(composition, run_id)
    worker.process.kill()
    second.reaches(run_id, "requires_action")
    composition.restart(worker)

    # While it waits nothing of the run is in any process.
    api = composition.instances["api"][0]
    api.process.kill()
    [approval] = second.get(f"/v1/approvals?run_id={run_id}")["data"]
    composition.restart(api)
    sandbox = composition.instances["sandbox"][0]
    sandbox.process.kill()
    composition.restart(sandbox)
    postgres.restart("immediate")
    second.reaches(run_id, "requires_action")
    assert target.keys() == {}

    again = Client(composition.instances["api"][0], key)
    again.post(f"/v1/approvals/{approval['id']}/decision", {"type": "approve"})
    story.after_it_acted.wait()
    worker = executing(composition, run_id)
    worker.process.kill()
    run = second.reaches(run_id, "completed")
    composition.restart(worker)

    assert target.keys() == {action_id(approval["id"]): 1}
    assert [each["status"] for each in run["actions"]] == ["done"]
    assert run["result"]["output"] == "Sent, and counted 5050."
    assert run["degraded"] == []
    assert run["attempt"] >= 4
    events = again.get(f"/v1/runs/{run_id}/events?limit=1000")["data"]
    assert [event["seq"] for event in events] == list(range(1, run["last_seq"] + 1))
    assert sum(event["type"] == "run.completed" for event in events) == 1
    for client in (first, second, again):
        client.close()


def busy(instances: list[Instance]) -> Instance:
    """Return the instance of an agent's service that works on something."""
    secret = {"authorization": f"Bearer {SECRET}"}
    for instance in instances:
        text = httpx.get(f"{instance.address}/metrics", headers=secret, trust_env=False).text
        found = re.search(r"^signalbox_agent_service_in_work\S* (\S+)", text, re.MULTILINE)
        if found and float(found[1]) > 0:
            return instance
    msg = "no instance works on anything"
    raise AssertionError(msg)


def test_an_agent_and_the_one_container_are_killed_and_the_run_goes_on(
    one_container: Composition, models: Models, target: CountingTarget
) -> None:
    """The profile `agents` beside the shape without one: the agent's own process, then the server's."""
    composition = one_container
    story = Story(models, target)
    key = composition.once("signalbox", "keys", "create", "--name", "me", "--scope", "admin")
    composition.up("coder", "signalbox")
    [server] = composition.instances["signalbox"]
    client = Client(server, key.strip())
    run_id = client.post("/v1/runs", {"task": TASK, "validation": "off"})["id"]
    story.before_it_asks.wait()
    coder = busy(composition.instances["coder"])
    coder.process.kill()
    client.reaches(run_id, "requires_action")
    composition.restart(coder)

    [approval] = client.get(f"/v1/approvals?run_id={run_id}")["data"]
    client.post(f"/v1/approvals/{approval['id']}/decision", {"type": "approve"})
    story.after_it_acted.wait()
    server.process.kill()
    composition.restart(server)
    run = client.reaches(run_id, "completed")
    client.close()
    assert target.keys() == {action_id(approval["id"]): 1}
    assert run["result"]["output"] == "Sent, and counted 5050."
    assert (run["degraded"], run["attempt"]) == ([], 3)
