"""What tests of webhooks share: what a receiver was sent, checked as a receiver would, and time that passes."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import Connection, update
from standardwebhooks.webhooks import Webhook as Verifier

from service.store.webhook_tables import deliveries
from tests.fakes.http_target import CountingTarget, Received
from tests.fakes.running import Product
from tests.integration.team_script import SECONDS

SECRET_HEADER = "signalbox-webhook-secret"


def hook(target: CountingTarget, path: str = "/hook", **more: Any) -> dict[str, Any]:
    """Return the member of a create body that reports to a path."""
    return {"webhook": {"url": target.url(path), **more}}


async def create(product: Product, task: str, **body: Any) -> httpx.Response:
    """Create a run."""
    created = await product.client.post("/v1/runs", json={"task": task, **body})
    assert created.status_code == 202, created.text
    return created


async def secret_of(product: Product, target: CountingTarget, path: str = "/hook") -> str:
    """Return the secret of a path that nobody has named before; its run is of no matter."""
    created = await create(product, "What is 1 + 1?", **hook(target, path, events=["run.failed"]))
    return created.headers[SECRET_HEADER]


def received(target: CountingTarget, path: str = "/hook") -> list[Received]:
    """Return what arrived at a path so far."""
    return [each for each in target.requests if each.path == path]


def message(request: Received) -> dict[str, Any]:
    """Return what a delivery says."""
    document: dict[str, Any] = json.loads(request.body)
    assert document.keys() == {"type", "timestamp", "data"}
    return document


def verify(secret: str, request: Received) -> dict[str, Any]:
    """Check a delivery as a receiver does, with the library of the convention; return what it says."""
    checked: dict[str, Any] = Verifier(secret).verify(request.body, request.headers)
    return checked


async def log_of(product: Product, run_id: str) -> list[dict[str, Any]]:
    """Return the deliveries of a run, newest first."""
    response = await product.client.get(f"/v1/runs/{run_id}/deliveries?limit=100")
    assert response.status_code == 200, response.text
    page = response.json()
    assert page["has_more"] is False
    return list(page["data"])


async def delivery(product: Product, run_id: str, status: str, **more: Any) -> dict[str, Any]:
    """Return the one delivery of a run as soon as it stands like this."""
    wanted = {"status": status, **more}
    async with asyncio.timeout(SECONDS):
        while True:
            [found] = await log_of(product, run_id) or [{}]
            if wanted.items() <= found.items():
                return found


async def redeliver(product: Product, found: dict[str, Any], **headers: str) -> httpx.Response:
    """Ask for a delivery again."""
    path = f"/v1/runs/{found['run_id']}/deliveries/{found['id']}/redeliver"
    return await product.client.post(path, headers=headers)


async def pass_time(product: Product, by: timedelta) -> None:
    """Have time pass for the outbox: all that stands in it is so much older."""

    def shift(connection: Connection) -> None:
        for row in connection.execute(deliveries.select()).mappings().all():
            names = ("next_at", "claimed_until", "give_up_at")
            values: dict[str, datetime] = {n: row[n] - by for n in names if row[n] is not None}
            one = deliveries.c.id == row["id"]
            connection.execute(update(deliveries).where(one).values(**values))

    await product.services.store.database.write(shift)  # type: ignore[attr-defined]  # the store's own
