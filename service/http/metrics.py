"""The route that Prometheus reads."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from monitoring.metrics import MEDIA_TYPE
from service.health import in_time
from service.http.caller import Parts, needs
from service.http.openapi import problems
from service.services import Services

router: Final = APIRouter(tags=["service"])


def introduce(services: Services) -> None:
    """Have the metrics say what this process is."""
    services.metrics.tell(
        version=services.version,
        graph_version=services.graph_version,
        engine=services.gateway.engine,
        sandbox=services.sandbox.state.backend,
    )


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="What this process counts",
    dependencies=[needs("admin")],
    response_class=Response,
    responses={
        200: {
            "description": "Counters, gauges and histograms in Prometheus' text format",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(500),
    },
)
async def get_metrics(parts: Parts) -> Response:
    """Return the metrics of this process, and how many runs of all tenants stand how in the database."""
    introduce(parts)
    standing, _ = await in_time(parts.store.standing())
    # What the process itself uses is read from files of the system.
    text = await asyncio.to_thread(parts.metrics.render, standing)
    return Response(text, media_type=MEDIA_TYPE)
