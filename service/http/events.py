"""The route of a run's events: a page of stored ones, or the live stream."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from domain.ports import RunRef
from service.http.caller import Parts, Tenant, needs
from service.http.negotiation import start_cursor, wanted_format
from service.http.openapi import problems
from service.http.parameters import PLAIN, SEQ, RunId, described_by
from service.http.runs import json_response, page
from service.http.schemas import EventPage
from service.http.sse import STREAM, make_filter, stream_run
from service.notices import Notice

router: Final = APIRouter(prefix="/v1/runs", tags=["events"])


@router.get(
    "/{run_id}/events",
    operation_id="list_events",
    summary="Follow a run",
    dependencies=[needs("runs:read")],
    response_model=EventPage,
    responses={
        200: {"content": {**STREAM}},
        204: {"description": "The run has ended and you have seen its last event"},
        **problems(400, 404, 406, 500),
    },
)
async def list_events(
    run_id: RunId,
    request: Request,
    parts: Parts,
    tenant: Tenant,
    after: Annotated[str | None, Query(json_schema_extra=described_by(SEQ))] = None,
    types: Annotated[str | None, Query(max_length=500)] = None,
    *,
    tokens: bool = True,
    limit: Annotated[int, Query(ge=1, le=1000), PLAIN] = 200,
) -> Response:
    """Return stored events as JSON, or as server-sent events: replay, then live."""
    sse = wanted_format(request) == "sse"
    cursor = start_cursor(request, after)
    run = await parts.runs.get(tenant, run_id)
    wanted = make_filter(types, tokens=tokens)
    if not sse:
        # Filtered after reading: a page may be short, its cursor still leads on.
        events = await parts.runs.events(tenant, run_id, after=cursor, limit=limit + 1)
        result = page([event.envelope() for event in events], limit, "seq")
        shown = events[:limit]
        result["data"] = [event.envelope() for event in shown if wanted(Notice(event))]
        return json_response(result)
    if run.terminal and cursor >= run.last_seq:
        return Response(status_code=204)
    return stream_run(parts.store, parts.hub, RunRef(tenant, run_id), after=cursor, wanted=wanted)
