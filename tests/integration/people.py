"""What tests of approvals share: agents that take turns, and the person who decides."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import ModelRequest, Reply, Rule, When
from tests.fakes.running import Product
from tests.integration.team_script import SECONDS


def turns(task: str, *replies: Reply, gate: str | None = None) -> Rule:
    """Return the rule of an agent that answers its assignment turn by turn."""

    def reply(request: ModelRequest) -> Reply:
        done: int = sum(message.get("role") == "assistant" for message in request.body["messages"])
        return replies[done]

    when = When(schema=False, user=f"<assignment>\n{task}\n")
    return Rule(when=when, reply=reply, gate=gate)


def post(target: CountingTarget, path: str, body: str = "{}") -> tuple[str, dict[str, Any]]:
    """Return a call that sends something, which asks."""
    return "http_request", {"method": "POST", "url": target.url(path), "body": body}


def get(target: CountingTarget, path: str) -> tuple[str, dict[str, Any]]:
    """Return a call that only reads, which does not ask."""
    return "http_request", {"method": "GET", "url": target.url(path)}


async def start_run(product: Product, task: str = "Do it", **body: Any) -> str:
    """Create a run and return its id."""
    created = await product.client.post("/v1/runs", json={"task": task, **body})
    assert created.status_code == 202, created.text
    return str(created.json()["id"])


async def waiting(product: Product, run_id: str) -> dict[str, Any]:
    """Return a run that waits for a person, as soon as it does."""
    run: dict[str, Any] = (await product.client.get(f"/v1/runs/{run_id}?wait=20")).json()
    assert run["status"] == "requires_action", run
    return run


async def pending(product: Product, run_id: str) -> list[dict[str, Any]]:
    """Return the open approvals of a run, the oldest first."""
    path = f"/v1/approvals?status=pending&run_id={run_id}&limit=100"
    page = (await product.client.get(path)).json()
    return list(reversed(page["data"]))


async def asked(product: Product, run_id: str) -> dict[str, Any]:
    """Return the one approval a run waits for."""
    await waiting(product, run_id)
    [approval] = await pending(product, run_id)
    return approval


async def decide(product: Product, approval: dict[str, Any] | str, **body: Any) -> httpx.Response:
    """Post a decision."""
    approval_id = approval if isinstance(approval, str) else approval["id"]
    return await product.client.post(f"/v1/approvals/{approval_id}/decision", json=body)


async def decided(product: Product, approval: dict[str, Any] | str, **body: Any) -> dict[str, Any]:
    """Post a decision that is taken; return the approval."""
    response = await decide(product, approval, **body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def seen_pending(product: Product, run_id: str, count: int) -> list[dict[str, Any]]:
    """Return the open approvals of a run as soon as there are so many, whatever the run does."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = await pending(product, run_id)
            if len(found) >= count:
                return found


def results(request: ModelRequest) -> list[str]:
    """Return the tool results that a model was given."""
    messages = request.body["messages"]
    return [str(message["content"]) for message in messages if message.get("role") == "tool"]
