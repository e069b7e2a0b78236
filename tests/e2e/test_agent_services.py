"""Agents in processes of their own that are killed: the run goes on, nothing happens twice, nothing is lost."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.chaos.site import until
from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import Process, outline, seen_type
from tests.e2e.test_outside_agents import ASKING, write_module
from tests.fakes.http_target import CountingTarget, target_in_thread
from tests.fakes.model_server import Reply, Rule, When

pytestmark = pytest.mark.timeout(120)

SECRET: Final = "the-secret-of-these-tests"
KEY: Final = {"authorization": f"Bearer {SECRET}"}
TASK: Final = "Do it"


class Instance:
    """A process that serves an agent."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    def busy(self) -> bool:
        """Return whether it works on something."""
        text = httpx.get(f"{self.url}/metrics", headers=KEY, trust_env=False).text
        found = re.search(r"^signalbox_agent_service_in_work\S* (\S+)", text, re.MULTILINE)
        assert found, text
        return float(found[1]) > 0

    def gone(self) -> bool:
        """Return whether it takes no connections any more."""
        try:
            httpx.get(f"{self.url}/health", trust_env=False)
        except httpx.ConnectError:
            return True
        return False


Host = Callable[..., list[Instance]]


@pytest.fixture
def host(signalbox: StartProcess, models: Models) -> Host:
    """Return how to start so many instances of the service of an agent."""

    def start(count: int = 2, name: str = "coder", **env: str) -> list[Instance]:
        given = {"OPENAI_BASE_URL": models.base_url, "SIGNALBOX_AGENT_SECRET": SECRET, **env}
        processes = [signalbox("agent", name, "--port", "0", **given) for _ in range(count)]
        return [Instance(each, each.says(r"is at (http://[^\s\"]+)\.")[1]) for each in processes]

    return start


@pytest.fixture
def target() -> Iterator[CountingTarget]:
    """Run the server that counts what reaches it."""
    with target_in_thread() as server:
        yield server


def where(instances: list[Instance], name: str = "coder") -> dict[str, str]:
    """Return the settings of a server whose agent is there."""
    urls = ",".join(each.url for each in instances)
    return {f"SIGNALBOX_AGENT_{name.upper()}_URL": urls, "SIGNALBOX_AGENT_SECRET": SECRET}


def routed(models: Models, *agents: str) -> None:
    """Teach the models a supervisor that has each of these agents do it."""
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route(), optional=True),
        Rule(when=When(schema=True), reply=Reply.route(*((each, TASK) for each in agents))),
    )


def test_an_instance_that_is_killed_amid_a_call_is_replaced_by_another(
    serve: StartService, host: Host, models: Models
) -> None:
    routed(models, "coder")
    hanging = Hanging(When(system=agent("coder"), after_tool=True), Reply(text="All done."))
    write = ("write_file", {"path": "a.txt", "content": "Forty-two."})
    models.add(
        *hanging.rules,
        Rule(when=When(system=agent("coder"), after_tool=False), reply=Reply.calls(write)),
    )
    instances = host()
    service = serve(models=models, **where(instances))
    run_id = service.create(TASK)
    hanging.wait()
    [busy] = [each for each in instances if each.busy()]
    busy.process.kill()
    run = service.ended(run_id)
    assert run["status"] == "completed"
    assert run["result"]["output"] == "All done."
    assert [each["name"] for each in run["result"]["artifacts"]] == ["a.txt"]
    # The one that was cut off may have been paid: it is counted, and at the most that it could come to.
    assert run["usage"]["unmetered_calls"] == 1
    events = service.events(run_id)
    undisturbed = service.create(TASK)
    assert service.ended(undisturbed)["status"] == "completed"
    again = [e for e in events if e["type"] == "agent.retrying"]
    assert ["broke off" in e["data"]["reason"] for e in again] == [True]
    rest = [e for e in events if e["type"] != "agent.retrying"]
    assert outline(rest) == outline(service.events(undisturbed))


def test_where_no_instance_is_left_the_answer_does_without_the_agent_and_says_so(
    serve: StartService, host: Host, models: Models
) -> None:
    routed(models, "coder", "analyst")
    hanging = Hanging(When(system=agent("coder")), Reply(text="Never said."))
    models.add(*hanging.rules, Rule(when=When(system=agent("analyst")), reply=Reply(text="Half.")))
    instances = host()
    service = serve(models=models, **where(instances))
    run_id = service.create(TASK)
    hanging.wait()
    for each in instances:
        each.process.kill()
    run = service.ended(run_id)
    assert run["status"] == "completed"
    [missing] = run["degraded"]
    assert missing["agent"] == "coder"
    assert "The service of the agent coder cannot be reached" in missing["reason"]
    assert SECRET not in json.dumps(service.events(run_id)) + service.process.stderr
    assert models.asked(system=agent("coder")) == 1
    ready = service.client.get("/health/ready").json()
    assert ready["checks"]["agents"] == "2 of 2 instances of coder: cannot be reached"


def test_an_approved_action_happens_once_though_the_instance_is_gone_that_wanted_it(
    serve: StartService, host: Host, models: Models, target: CountingTarget
) -> None:
    routed(models, "coder")
    call = {"method": "POST", "url": target.url("/order"), "body": "{}"}
    models.add(
        Rule(when=When(system=agent("coder"), after_tool=True), reply=Reply(text="Sent.")),
        Rule(when=When(system=agent("coder")), reply=Reply.calls(("http_request", call))),
    )
    first = host(1)
    settings = {"SIGNALBOX_HTTP_ALLOW": target.address}
    [spare] = host(1)
    service = serve(models=models, **where([*first, spare]), **settings)
    run_id = service.create(TASK)
    service.follow_until(run_id, seen_type("approval.requested"))
    assert service.client.get(f"/v1/runs/{run_id}?wait=20").json()["status"] == "requires_action"
    first[0].process.kill()
    [approval] = service.client.get("/v1/approvals", params={"run_id": run_id}).json()["data"]
    path = f"/v1/approvals/{approval['id']}/decision"
    assert service.client.post(path, json={"type": "approve"}).status_code == 200
    run = service.ended(run_id)
    assert run["result"]["output"] == "Sent."
    assert len(target.requests) == 1
    assert [each["status"] for each in run["actions"]] == ["done"]


def test_a_server_that_is_killed_amid_a_call_elsewhere_goes_on(
    serve: StartService, host: Host, models: Models
) -> None:
    routed(models, "coder")
    hanging = Hanging(When(system=agent("coder")), Reply(text="All done."))
    models.add(*hanging.rules)
    instances = host(1)
    service = serve(models=models, **where(instances))
    run_id = service.create(TASK)
    hanging.wait()
    service.process.kill()
    service = serve(models=models, **where(instances))
    assert service.ended(run_id)["result"]["output"] == "All done."
    # What nobody waits for any more is given up.
    instances[0].process.says(r"\"order_ended\".*\"cancelled\"")


def test_an_instance_that_falls_silent_is_given_up(
    serve: StartService, host: Host, models: Models
) -> None:
    routed(models, "coder")
    hanging = Hanging(When(system=agent("coder")), Reply(text="All done."))
    models.add(*hanging.rules)
    instances = host()
    service = serve(models=models, **where(instances))
    run_id = service.create(TASK)
    hanging.wait()
    [busy] = [each for each in instances if each.busy()]
    busy.process.send(signal.SIGSTOP)
    run = service.ended(run_id)
    assert run["result"]["output"] == "All done."
    assert "fell silent" in json.dumps(service.events(run_id))


def test_a_graph_from_outside_works_and_asks_from_its_own_service(
    serve: StartService, host: Host, folder: Path
) -> None:
    write_module(folder / "theirs" / "anvil.py", ASKING)
    env = {"SIGNALBOX_AGENTS": str(folder / "theirs")}
    instances = host(2, "acme", **env)
    service = serve(**where(instances, "acme"), **env)
    run_id = service.create("Ask me", agents=["acme"])
    run: dict[str, Any] = service.client.get(f"/v1/runs/{run_id}?wait=20").json()
    assert run["status"] == "requires_action", run
    # Where the graph has come to is with the run, whoever of the others is gone.
    instances[0].process.kill()
    service.process.kill()
    service = serve(**where(instances, "acme"), **env)
    [approval] = service.client.get("/v1/approvals", params={"run_id": run_id}).json()["data"]
    assert (approval["type"], approval["description"]) == ("input", "May I?")
    path = f"/v1/approvals/{approval['id']}/decision"
    answer = {"type": "respond", "message": "You may."}
    assert service.client.post(path, json=answer).status_code == 200
    assert service.ended(run_id)["result"]["output"] == "You may."


def test_what_others_could_reach_needs_a_secret(signalbox: StartProcess) -> None:
    line = signalbox("agent", "coder", "--host", "0.0.0.0", "--port", "0").refused()
    assert "set SIGNALBOX_AGENT_SECRET" in line


def test_an_instance_that_is_told_to_stop_ends_what_it_works_on(
    serve: StartService, host: Host, models: Models
) -> None:
    routed(models, "coder")
    opened = models.gate("go")
    models.add(Rule(when=When(system=agent("coder")), reply=Reply(text="All done."), gate="go"))
    instances = host()
    service = serve(models=models, **where(instances))
    run_id = service.create(TASK)
    [busy] = until(lambda: [each for each in instances if each.busy()], "one has the order")
    busy.process.send(signal.SIGTERM)
    until(busy.gone, "it takes no more")
    opened()
    assert busy.process.ended() == 0
    run = service.ended(run_id)
    assert run["result"]["output"] == "All done."
    assert run["usage"]["unmetered_calls"] == 0
    assert models.asked(system=agent("coder")) == 1


def test_a_server_says_at_its_start_that_others_can_read_along(serve: StartService) -> None:
    env = {"SIGNALBOX_AGENT_CODER_URL": "http://192.0.2.7:9", "SIGNALBOX_AGENT_SECRET": SECRET}
    service = serve(**env)
    service.process.says("agent_in_clear")
    [line] = [each for each in service.process.log if each["action"] == "agent_in_clear"]
    assert (line["level"], line["agent"], "192.0.2.7" in line["event"]) == (
        "warning",
        "coder",
        True,
    )
    assert SECRET not in service.process.stderr
