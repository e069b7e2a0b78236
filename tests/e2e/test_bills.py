"""The ledger is the bill although the process is taken away again and again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.conftest import StartService
from tests.e2e.models import Models
from tests.e2e.processes import Service
from tests.fakes.billing import PRICES, Provider, bills_of, budget, check, raised, task_of
from tests.fakes.model_script import ModelRequest, Reply, Rule

RUNS: Final = 40
SEED: Final = 20261129
KILLS: Final = (5, 19, 20, 41, 77, 120, 150)
"""At which questions to the model the process goes, before it has the answer."""


class Killing:
    """A provider during whose answers the process that asked is killed."""

    def __init__(self) -> None:
        self._provider = Provider(SEED)
        self._asked = 0
        self.kill: Callable[[], None] = lambda: None
        self.kills = 0

    def __call__(self, request: ModelRequest) -> Reply:
        self._asked += 1
        if self._asked in KILLS:
            self.kills += 1
            self.kill()
        return self._provider(request)


@pytest.mark.timeout(240)
def test_the_ledger_is_the_bill_whatever_is_killed(
    serve: StartService, models: Models, tmp_path: Path
) -> None:
    """What was under way counts as calls that nobody metered, for the most they could use."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    killing = Killing()
    models.add(Rule(reply=killing))

    def begin() -> Service:
        service = serve(
            models=models,
            SIGNALBOX_PRICES=str(tmp_path / "prices.yaml"),
            SIGNALBOX_MODEL_MAX_OUTPUT="900",
        )
        killing.kill = service.process.kill
        return service

    chance = random.Random(SEED)
    bodies = [{"task": task_of(number), "budget": budget(chance)} for number in range(RUNS)]
    ids: list[str] = []
    ended: list[dict[str, Any]] = []
    service, settled = begin(), 0
    while len(ended) < RUNS:
        try:
            while len(ids) < RUNS:
                key = {"Idempotency-Key": f"run-{len(ids)}"}
                made = service.client.post("/v1/runs", json=bodies[len(ids)], headers=key)
                ids.append(made.json()["id"])
            while len(ended) < RUNS:
                ended.append(lead(service, ids[len(ended)], chance))
        except httpx.TimeoutException:
            continue  # nothing is lost by asking again
        except httpx.TransportError:
            assert killing.kills > settled, service.process.stderr
            settled = killing.kills
            service = begin()
    ended = [service.run(run_id) for run_id in ids]
    bills = bills_of(models.server.bills)
    for number, run in enumerate(ended):
        check(run, bills[number])
    assert killing.kills == len(KILLS)
    assert any(run["attempt"] > 1 for run in ended)
    assert any(run["usage"]["unmetered_calls"] for run in ended)
    assert any(not run["usage"]["unmetered_calls"] for run in ended)
    sums = service.client.get("/v1/usage?group_by=agent").json()["total"]
    for name in ("input_tokens", "output_tokens", "calls", "unmetered_calls"):
        assert sums[name] == sum(run["usage"][name] for run in ended), name


def lead(service: Service, run_id: str, chance: random.Random) -> dict[str, Any]:
    """Bring a run to its end: raise what was reached by a half, or finish."""
    run: dict[str, Any] = {}
    for _ in range(60):
        run = service.client.get(f"/v1/runs/{run_id}?wait=20").json()
        if run["ended_at"]:
            return run
        path = f"/v1/approvals?status=pending&run_id={run_id}"
        for approval in service.client.get(path).json()["data"]:
            answer: dict[str, Any] = {"type": "reject"}
            if chance.random() < 0.6:
                args = raised(approval["action"]["args"])
                answer = {
                    "type": "edit",
                    "edited_action": {"name": "raise_budget", "args": args},
                }
            service.client.post(f"/v1/approvals/{approval['id']}/decision", json=answer)
    msg = f"the run does not end: {run}"
    raise AssertionError(msg)
