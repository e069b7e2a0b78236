"""The route of export: everything about a run as one JSON document, sent as it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from domain.artifact import Artifact, InputFile
from domain.feedback import Feedback
from domain.run import Run, UtcTime
from service.export import Part
from service.http.caller import Parts, Tenant, needs
from service.http.note_schemas import NoteOut
from service.http.openapi import problems
from service.http.parameters import RunId
from service.http.receipt_schemas import Receipt

router: Final = APIRouter(prefix="/v1/runs", tags=["runs"])


class SourceOut(BaseModel):
    """A text that the run rests on."""

    sha256: str
    size: int
    """Bytes."""
    url: str
    """Where it is read, below the server's address."""


class CallOut(BaseModel):
    """A model call as it was booked."""

    key: str
    at: UtcTime
    agent: str
    model: str
    tier: str
    round: int
    status: str
    """`completed`, `failed`, `cancelled`; `lost`: nobody knows what became of it; `cached`: had from another
    run, and not made."""
    metered: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: str | None
    saved_cost_usd: str | None


class Export(BaseModel):
    """Everything about a run."""

    object: Literal["export"]
    schema_version: Literal[1]
    """Raised when a field comes to mean something else, or goes."""
    exported_at: UtcTime
    run: Run
    files: list[InputFile]
    """What came with the task."""
    notes: list[NoteOut]
    """What the caller has said to it while it was under way, in order."""
    receipt: Receipt
    """Approvals with their decisions, and actions, among others."""
    artifacts: list[Artifact]
    """Each with the address of its bytes."""
    sources: list[SourceOut]
    """What its tools have answered, as far as it is on this machine."""
    calls: list[CallOut]
    feedback: list[Feedback]
    events: list[dict[str, Any]]
    """Those that are kept, as `GET /v1/runs/{run_id}/events` gives them."""


@router.get(
    "/{run_id}/export",
    operation_id="export_run",
    summary="Export a run",
    response_model=Export,
    responses=problems(404, 500),
    dependencies=[needs("runs:read")],
)
async def export_run(run_id: RunId, parts: Parts, tenant: Tenant) -> Response:
    """Return all that is kept of a run as one document to download; files are in it by their addresses."""
    run = await parts.runs.get(tenant, run_id)
    headers = {
        "Content-Disposition": f'attachment; filename="{run.id}.json"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(
        _document(parts.export.parts(run)), media_type="application/json", headers=headers
    )


async def _document(found: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    before = b"{"
    async for part in found:
        yield before + orjson.dumps(part.name) + b":"
        if part.pieces is None:
            yield orjson.dumps(part.value)
        else:
            async for chunk in _items(part):
                yield chunk
        before = b",\n"
    yield b"}\n"


async def _items(part: Part) -> AsyncIterator[bytes]:
    before = b"["
    if part.pieces is not None:
        async for rows in part.pieces:
            for row in rows:
                yield before + orjson.dumps(row)
                before = b",\n"
    yield b"[]" if before == b"[" else b"]"
