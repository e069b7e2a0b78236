"""Tenants do not see each other: every route is asked for what another tenant has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.tenant_scope import is_scoped

TASK: Final = {"task": "What is 17% of 80? Ask for the owner's secret."}

DECIDE: Final = {"type": "approve"}

OWNED: Final[dict[tuple[str, str], Any]] = {
    ("get", "/v1/runs/{run_id}"): None,
    ("patch", "/v1/runs/{run_id}"): {"metadata": {"mine": 1}},
    ("get", "/v1/runs/{run_id}/events"): None,
    ("get", "/v1/runs/{run_id}/artifacts"): None,
    ("get", "/v1/runs/{run_id}/artifacts/{name}"): None,
    ("get", "/v1/runs/{run_id}/sources/{sha256}"): None,
    ("post", "/v1/runs/{run_id}/notes"): {"text": "Stop."},
    ("post", "/v1/runs/{run_id}/cancel"): {},
    ("post", "/v1/runs/{run_id}/retry"): {},
    ("get", "/v1/runs/{run_id}/history"): None,
    ("post", "/v1/runs/{run_id}/fork"): {},
    ("post", "/v1/runs/{run_id}/decisions"): {"decisions": [{"approval_id": "APPROVAL", **DECIDE}]},
    ("get", "/v1/runs/{run_id}/receipt"): None,
    ("get", "/v1/runs/{run_id}/export"): None,
    ("post", "/v1/runs/{run_id}/feedback"): {"key": "helpful"},
    ("get", "/v1/runs/{run_id}/deliveries"): None,
    ("post", "/v1/runs/{run_id}/deliveries/{delivery_id}/redeliver"): None,
    ("delete", "/v1/runs/{run_id}"): None,
    ("get", "/v1/threads/{thread_id}"): None,
    ("delete", "/v1/threads/{thread_id}"): None,
    ("get", "/v1/approvals/{approval_id}"): None,
    ("post", "/v1/approvals/{approval_id}/decision"): DECIDE,
    ("post", "/v1/actions/{action_id}/resolution"): {"outcome": "done"},
}
"""Routes of something that somebody has, with a body that its owner could send."""

LISTS: Final = {
    ("get", "/v1/runs"),
    ("get", "/v1/approvals"),
    ("get", "/v1/usage"),
}
"""Routes that list what a tenant has."""

SHARED: Final = {
    ("post", "/v1/runs"),
    ("get", "/v1/agents"),
    ("get", "/v1/models"),
    ("get", "/v1/tools"),
    ("get", "/v1/info"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
    ("get", "/metrics"),
    ("post", "/api/workflow"),
    ("post", "/api/workflow/stream"),
}
"""Routes about nobody's property: what they make is the caller's own."""


@pytest.fixture
async def shared(start: Start) -> AsyncIterator[Product]:
    """Run the product with the offline planner."""
    async with start() as product:
        yield product


async def waiting(product: Product, headers: dict[str, str]) -> dict[str, str]:
    """Create a run that asks a person; return the ids of what its tenant has."""
    body = {**TASK, "approvals": {"mode": "always"}}
    created = await product.client.post("/v1/runs?wait=20", json=body, headers=headers)
    run = created.json()
    assert run["status"] == "requires_action", run
    (approval_id,) = run["required_action"]["approval_ids"]
    return {
        "run_id": run["id"],
        "approval_id": approval_id,
        "action_id": approval_id.replace("apr_", "act_", 1),
        "thread_id": run["thread_id"],
        "name": "x.csv",
        "sha256": "0" * 64,
        "delivery_id": f"whd_{'0' * 32}",
    }


async def test_every_route_is_known_here(shared: Product) -> None:
    """A new route has to say whose things it is about, and is then tried with another tenant's."""
    schema = (await shared.client.get("/openapi.json")).json()
    found = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    assert found == set(OWNED) | LISTS | SHARED


async def test_another_tenants_things_are_not_there(shared: Product) -> None:
    """Whatever it is and whatever is done with it, with every scope there is; and nothing changes."""
    _, owner = await issue(shared, tenant="ours")
    _, other = await issue(shared, "admin", tenant="theirs")
    ids = await waiting(shared, owner)
    for (method, path), body in OWNED.items():
        url = path.format(**ids)
        sent = body
        if path.endswith("/decisions"):
            sent = {"decisions": [{"approval_id": ids["approval_id"], **DECIDE}]}
        response = await shared.client.request(method, url, json=sent, headers=other)
        problem = assert_problem(response, "not-found")
        assert "secret" not in str(problem), path
    run = (await shared.client.get(f"/v1/runs/{ids['run_id']}", headers=owner)).json()
    assert run["status"] == "requires_action"
    assert run["metadata"] == {}


async def test_no_list_shows_another_tenants_things(shared: Product) -> None:
    """Neither plainly nor by a filter that names them."""
    _, owner = await issue(shared, tenant="ours")
    _, other = await issue(shared, "admin", tenant="theirs")
    ids = await waiting(shared, owner)
    queries = ("", f"?run_id={ids['run_id']}", f"?thread_id={ids['thread_id']}")
    for _, path in LISTS:
        for query in queries:
            page = (await shared.client.get(f"{path}{query}", headers=other)).json()
            assert page["data"] == [], (path, query)
    mine = await shared.client.get("/v1/runs", headers=owner)
    assert [row["id"] for row in mine.json()["data"]] == [ids["run_id"]]


async def test_no_run_follows_another_tenants_thread(shared: Product) -> None:
    """A thread's earlier tasks are told to its next run, so it has to be the tenant's own."""
    _, owner = await issue(shared, tenant="ours")
    _, other = await issue(shared, "admin", tenant="theirs")
    ids = await waiting(shared, owner)
    body = {"task": "What was asked?", "thread_id": ids["thread_id"]}
    response = await shared.client.post("/v1/runs", json=body, headers=other)
    assert_problem(response, "not-found")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT runs.id, runs.tenant_id FROM runs WHERE runs.id = ?",
        "SELECT runs.id\nFROM runs ORDER BY runs.id",
        "UPDATE actions SET approval=? WHERE actions.id = %(id_1)s::VARCHAR",
        "DELETE FROM runs WHERE runs.thread_id IN (?, ?)",
        "INSERT INTO events (run_id, seq) VALUES (?, ?)",
        "UPDATE runs SET tenant_id=? WHERE runs.id = ?",
        "SELECT runs.id FROM runs JOIN usage ON 1 = 1 WHERE usage.tenant_id = runs.tenant_id",
        "SELECT runs.id FROM runs WHERE EXISTS (SELECT 1 FROM usage WHERE usage.tenant_id = ?)",
    ],
)
def test_a_statement_that_asks_for_no_tenant_is_noticed(statement: str) -> None:
    """Every statement of the tests beside this one is looked at so."""
    assert not is_scoped(statement)
