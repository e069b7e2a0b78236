"""A fork that was accepted is carried out, whatever becomes of the process and of the run it is of."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Models, agent
from tests.e2e.processes import Service

pytestmark = pytest.mark.slow

TASK = "Compare three ways to keep time at sea"


def before_the_answer(service: Service, run_id: str) -> str:
    """Return the checkpoint at which only the answer was missing."""
    url = f"{service.base_url}/v1/runs/{run_id}/history"
    page = httpx.get(url, trust_env=False, timeout=20).json()
    [found] = [each["checkpoint_id"] for each in page["data"] if each["next"] == ["answer"]]
    return str(found)


def test_a_fork_outlives_a_kill_right_after_its_202(serve: StartService, models: Models) -> None:
    """Also where the other run is deleted before the fork begins; no agent works again."""
    service = serve(models=models)
    run = service.ended(service.create(TASK))
    assert run["status"] == "completed"
    body = {"checkpoint_id": before_the_answer(service, run["id"])}
    models.server.requests.clear()
    url = f"{service.base_url}/v1/runs/{run['id']}"
    made = httpx.post(f"{url}/fork", json=body, trust_env=False, timeout=20)
    assert made.status_code == 202
    service.process.kill()
    service = serve(models=models)
    deleted = httpx.delete(f"{service.base_url}/v1/runs/{run['id']}", trust_env=False, timeout=20)
    assert deleted.status_code == 204
    fork = service.ended(made.json()["id"])
    assert (fork["status"], fork["forked_from"]["run_id"]) == ("completed", run["id"])
    assert fork["result"]["agents"].keys() == run["result"]["agents"].keys()
    told = service.events(fork["id"])
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert "agent.completed" not in [event["type"] for event in told]
    for name in ("analyst", "coder", "researcher"):
        assert models.asked(system=agent(name)) == 0


def test_the_commands_speak_to_a_server(
    signalbox: StartProcess, serve: StartService, models: Models
) -> None:
    """As processes of their own: what is asked for on stdout, what goes on on stderr."""
    service = serve(models=models)
    run_id = service.create(TASK)
    at = ("--url", service.base_url)
    watching = signalbox("runs", "watch", run_id, *at)
    assert watching.ended() == 0
    answer = service.run(run_id)["result"]["output"]
    assert watching.stdout.split() == answer.split()
    assert "completed after" in watching.stderr
    forking = signalbox("runs", "fork", run_id, "--watch", *at)
    assert forking.ended() == 0
    assert f"of {run_id}" in forking.stderr
    drawing = signalbox("graph")
    assert drawing.ended() == 0
    assert "supervisor -.-> coder" in drawing.stdout
