"""A retry that was accepted is carried out once, however often the process dies."""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.e2e.conftest import StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import Service, completed, seen_type
from tests.fakes.model_server import Reply, Rule, When

pytestmark = pytest.mark.slow

TASK = "Compare three ways to keep time at sea"

REFUSAL = Rule(when=When(), reply=Reply.error(401, message="no"))


def retry(service: Service, run_id: str) -> httpx.Response:
    """Have a run go on."""
    return httpx.post(f"{service.base_url}/v1/runs/{run_id}/retry", trust_env=False, timeout=20)


def failed(service: Service, models: Models) -> str:
    """Return a run whose model failed for good; by then it has been mended."""
    models.server.rules.insert(0, REFUSAL)
    run = service.ended(service.create(TASK))
    assert (run["status"], run["error"]["code"]) == ("failed", "model-error")
    models.server.rules.remove(REFUSAL)
    models.server.requests.clear()
    return str(run["id"])


def test_a_retry_outlives_a_kill_right_after_its_202(serve: StartService, models: Models) -> None:
    """Whoever starts next goes on with it."""
    service = serve(models=models)
    run_id = failed(service, models)
    assert retry(service, run_id).status_code == 202
    service.process.kill()
    service = serve(models=models)
    run = service.ended(run_id)
    assert run["status"] == "completed"
    told = service.events(run_id)
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    types = [event["type"] for event in told]
    assert types.count("run.failed") == types.count("run.completed") == 1
    assert types[-1] == "run.completed"
    assert types.count("agent.completed") == 3
    assert retry(service, run_id).status_code == 409


def test_killed_again_and_again_it_reenters_once(serve: StartService, models: Models) -> None:
    """What the retry has come to by then stays: no agent with a result works a second time."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="By the stars."))
    service = serve(models=models)
    run_id = failed(service, models)
    models.server.rules[:0] = hanging.rules
    assert retry(service, run_id).status_code == 202
    hanging.wait()
    service.follow_until(run_id, completed("analyst", "coder"))
    service.process.send(signal.SIGKILL)
    service.process.kill()
    service = serve(models=models)
    run = service.ended(run_id)
    assert (run["status"], run["attempt"], run["rounds"]) == ("completed", 3, 1)
    asked = {name: models.asked(system=agent(name)) for name in ("analyst", "coder", "researcher")}
    assert asked == {"analyst": 1, "coder": 1, "researcher": 2}
    told = service.follow_until(run_id, seen_type("run.completed"))
    causes = [event["data"]["cause"] for event in told if event["type"] == "run.resumed"]
    assert causes == ["retry", "recovery"]
    decisions = [event for event in told if event["type"] == "supervisor.decision"]
    assert len(decisions) == 2
