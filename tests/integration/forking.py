"""What tests of forks share: the requests."""

from __future__ import annotations

from typing import Any

import httpx

from tests.fakes.running import Product


async def history(product: Product, run_id: str, **query: Any) -> list[dict[str, Any]]:
    """Return a run's checkpoints, newest first."""
    response = await product.client.get(
        f"/v1/runs/{run_id}/history", params={"limit": 100, **query}
    )
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["data"]
    return rows


async def fork(product: Product, run_id: str, **body: Any) -> httpx.Response:
    """Fork a run."""
    return await product.client.post(f"/v1/runs/{run_id}/fork", json=body)


async def forked(product: Product, run_id: str, **body: Any) -> str:
    """Fork a run; return the id of the new one."""
    response = await fork(product, run_id, **body)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])
