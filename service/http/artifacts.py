"""Routes of artifacts: the files of a run, and each one's bytes."""

from __future__ import annotations

import asyncio
from typing import Annotated, BinaryIO, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from domain.artifact import Artifact
from domain.ports import RunRef
from service.http.caller import Parts, Tenant, needs
from service.http.openapi import problems
from service.http.parameters import RunId
from service.http.runs import json_response
from service.http.schemas import ArtifactList

CHUNK_BYTES: Final = 256 * 1024

INLINE: Final = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "text/csv": "text/csv; charset=utf-8",
    "text/plain": "text/plain; charset=utf-8",
}
"""What may be shown instead of downloaded, and as what: nothing here runs in a browser."""


class _AnyName(Convertor[str]):
    """The rest of a path, line ends included, which Starlette's own `path` would not match."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """Return the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text as it is."""
        return value


register_url_convertor("name", _AnyName())

router: Final = APIRouter(prefix="/v1/runs", tags=["artifacts"])


@router.get(
    "/{run_id}/artifacts",
    operation_id="list_artifacts",
    summary="List the files that a run has produced",
    dependencies=[needs("runs:read")],
    response_model=ArtifactList,
    responses=problems(404, 500),
)
async def list_artifacts(run_id: RunId, parts: Parts, tenant: Tenant) -> Response:
    """Return all artifacts by name, also of a run that executes."""
    run = await parts.runs.get(tenant, run_id)
    artifacts = await parts.artifacts.of_run(RunRef(tenant, run.id))
    return json_response({"data": artifacts, "next_cursor": None, "has_more": False})


@router.get(
    "/{run_id}/artifacts/{name:name}",
    operation_id="get_artifact",
    summary="Download a file that a run has produced",
    dependencies=[needs("runs:read")],
    response_class=Response,
    responses={
        200: {
            "description": "The file's bytes, under the media type that its name promises",
            "content": {
                "*/*": {
                    "schema": {"type": "string", "format": "binary"},
                    "example": "month,sales\nJan,120\nFeb,135\n",
                }
            },
        },
        304: {"description": "It is still the one whose ETag was sent as If-None-Match"},
        **problems(400, 404, 500),
    },
)
async def get_artifact(
    run_id: RunId,
    name: str,
    request: Request,
    parts: Parts,
    tenant: Tenant,
    *,
    inline: Annotated[
        bool,
        Query(description="Show PNG, JPEG, CSV and plain text instead of downloading them."),
    ] = False,
) -> Response:
    """Return the file's bytes, always as a download unless it is one of four harmless kinds."""
    run = await parts.runs.get(tenant, run_id)
    artifact, file = await parts.artifacts.open(RunRef(tenant, run.id), name)
    response = _FileResponse(artifact, file, inline=inline)
    if _has_it(request.headers.get("if-none-match", ""), response.headers["etag"]):
        await asyncio.to_thread(file.close)
        kept = {"etag", "cache-control", "content-security-policy"}
        headers = {key: value for key, value in response.headers.items() if key in kept}
        return Response(status_code=304, headers=headers)
    return response


def _headers(artifact: Artifact, *, inline: bool) -> dict[str, str]:
    shown = INLINE.get(artifact["media_type"]) if inline else None
    name = quote(artifact["name"].rpartition("/")[2], safe="")
    return {
        "Content-Type": shown or artifact["media_type"],
        "Content-Length": str(artifact["size"]),
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{name}",
        # A program that nobody has read may have written it: whatever opens it gets no rights.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-store",
        "ETag": f'"{artifact["sha256"]}"',
    }


def _has_it(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


class _FileResponse(Response):
    """Sends an open file piece by piece, and closes it whatever happens.

    Not Starlette's own, which opens the file after it has said 200 and answers a bad `Range` in plain text.
    """

    def __init__(self, artifact: Artifact, file: BinaryIO, *, inline: bool) -> None:
        super().__init__(headers=_headers(artifact, inline=inline))
        self._file = file
        self._left = artifact["size"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        del scope, receive
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while data := await asyncio.to_thread(self._file.read, min(CHUNK_BYTES, self._left)):
                self._left -= len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await asyncio.shield(asyncio.to_thread(self._file.close))
