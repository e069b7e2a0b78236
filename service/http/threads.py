"""Routes of threads: their runs in order, and their end."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from domain.errors import CallerError
from domain.ports import RunQuery
from service.http.caller import Parts, Tenant, needs
from service.http.openapi import problems
from service.http.parameters import PLAIN, RunCursor, ThreadId
from service.http.runs import is_run_id, json_response, page
from service.http.schemas import RunPage

router: Final = APIRouter(prefix="/v1/threads", tags=["threads"])


@router.get(
    "/{thread_id}",
    operation_id="get_thread",
    summary="List the runs of a thread, oldest first",
    response_model=RunPage,
    responses=problems(400, 404, 500),
    dependencies=[needs("runs:read")],
)
async def get_thread(
    thread_id: ThreadId,
    parts: Parts,
    tenant: Tenant,
    limit: Annotated[int, Query(ge=1, le=100), PLAIN] = 20,
    cursor: RunCursor = None,
) -> Response:
    """Return a page of a thread's runs in the order in which they were created."""
    if cursor is not None and not is_run_id(cursor):
        msg = f"The cursor {cursor[:80]!r} is not one of this list. Send next_cursor as it came."
        raise CallerError("malformed-cursor", msg)
    query = RunQuery(thread_id=thread_id, limit=limit, after=cursor, oldest_first=True)
    runs = await parts.runs.thread(tenant, query)
    return json_response(page([run.model_dump(mode="json") for run in runs], limit, "id"))


@router.delete(
    "/{thread_id}",
    operation_id="delete_thread",
    summary="Delete a thread",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409, 500),
    dependencies=[needs("runs:write")],
)
async def delete_thread(thread_id: ThreadId, parts: Parts, tenant: Tenant) -> Response:
    """Delete all runs of a thread with every trace of them; none where one has not ended."""
    await parts.erasure.erase_thread(tenant, thread_id)
    return Response(status_code=204)
