"""The route by which a caller steers a run that is under way."""

from __future__ import annotations

from typing import Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from domain.notes import note_json
from domain.ports import RunRef
from service.http.caller import Caller, Parts, needs
from service.http.json_body import JsonRoute
from service.http.negotiation import idempotency_of
from service.http.note_schemas import NoteIn, NoteOut
from service.http.openapi import problems
from service.http.parameters import RunId

router: Final = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=JsonRoute)


@router.post(
    "/{run_id}/notes",
    operation_id="add_note",
    summary="Tell a run something that is under way",
    dependencies=[needs("runs:write")],
    response_model=NoteOut,
    status_code=202,
    responses=problems(400, 404, 409, 413, 415, 422, 500, 503),
)
async def add_note(
    run_id: RunId, request: Request, parts: Parts, caller: Caller, body: NoteIn
) -> Response:
    """Keep a note. The run's next decision reads it; one that was to be the last is taken again. A run that
    has ended, or makes its answer already, refuses it: then a new run with its thread_id is the way."""
    done = await parts.notes.add(
        RunRef(caller.tenant_id, run_id),
        body.text,
        by=caller.id,
        idempotency=idempotency_of(request, body),
    )
    headers = {"Cache-Control": "no-store"}
    if done.replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(
        orjson.dumps(note_json(done.note)),
        status_code=202,
        media_type="application/json",
        headers=headers,
    )
