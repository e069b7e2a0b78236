"""What tests of retries share: a model that is mended, and requests to go on."""

from __future__ import annotations

from typing import Any, Final

import httpx

from tests.fakes.model_script import Reply, Rule
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.team_script import decisions, worker

REFUSED: Final = Reply.error(401, message="no")


def mend(models: FakeModelServer, *rules: Rule) -> None:
    """Put other rules in the place of those there are, and forget what was asked."""
    models.rules.clear()
    models.requests.clear()
    models.add(*rules)


async def retry(product: Product, run_id: str, **body: Any) -> httpx.Response:
    """Have a run go on."""
    return await product.client.post(f"/v1/runs/{run_id}/retry", json=body)


async def retried(product: Product, run_id: str, **body: Any) -> dict[str, Any]:
    """Have a run go on, and return it when it has ended again."""
    response = await retry(product, run_id, **body)
    assert response.status_code == 202, response.text
    return await product.ended(run_id)


async def types_of(product: Product, run_id: str) -> list[str]:
    """Return the types of a run's events, whose numbers have no hole."""
    events = await product.events(run_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return [event["type"] for event in events]


def half() -> list[Rule]:
    """Return the rules of a round of which one agent has a result and the other fails."""
    return [
        *decisions(("analyst", "Count it"), ("coder", "Write it")),
        worker("Count it", Reply(text="There are five.")),
        worker("Write it", REFUSED),
    ]
