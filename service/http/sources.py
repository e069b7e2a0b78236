"""The route of sources: the text that an agent read, behind a citation."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.responses import PlainTextResponse, Response

from domain.ports import RunRef
from service.http.caller import Parts, Tenant, needs
from service.http.openapi import problems
from service.http.parameters import SHA256, RunId, described_by

router: Final = APIRouter(prefix="/v1/runs", tags=["sources"])


@router.get(
    "/{run_id}/sources/{sha256}",
    operation_id="get_source",
    summary="Read the text behind a citation",
    dependencies=[needs("runs:read")],
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "The text as the agent read it, under the `sha256` of a citation",
            "content": {
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": "The present tower was completed in 1904.",
                }
            },
        },
        **problems(404, 500),
    },
)
async def get_source(
    run_id: RunId,
    sha256: Annotated[
        str,
        Path(
            description="Of a citation: 64 hexadecimal digits.",
            json_schema_extra=described_by(SHA256),
        ),
    ],
    parts: Parts,
    tenant: Tenant,
) -> Response:
    """Return what a page, a search result or a document said when the run read it."""
    run = await parts.runs.get(tenant, run_id)
    text = await parts.sources.read(RunRef(tenant, run.id), sha256)
    headers = {
        # Somebody outside has written it: whatever opens it gets no rights.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Disposition": f'attachment; filename="{sha256[:16]}.txt"',
        "Cache-Control": "private, no-store",
    }
    return PlainTextResponse(text, headers=headers)
