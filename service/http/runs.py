"""Routes of runs: create, get, list, cancel, retry."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from domain.caller import CallerIdentity
from domain.errors import CallerError
from domain.limits import NO_LIMITS
from domain.ports import Created, Retried, RetryWish, RunPatch, RunQuery, RunRef
from domain.problems import make_problem
from domain.run import ApprovalMode, Run, RunStatus
from domain.webhook import Webhook
from service.http.caller import Caller, Parts, Tenant, needs, require
from service.http.errors import problem_response
from service.http.json_body import JsonRoute
from service.http.negotiation import (
    idempotency_of,
    wait_seconds,
    wanted_format,
)
from service.http.openapi import problems
from service.http.parameters import PLAIN, Filter, Moment, RunCursor, RunId, in_utc
from service.http.schemas import CacheIn, CancelIn, RunCreate, RunPage, RunPatchIn, RunRetryIn
from service.http.sse import STREAM, make_filter, stream_run
from service.http.tracing import note_run, traceparent_of
from service.http.uploads import read_uploads
from service.new_run import NewRun
from service.reuse import ReuseAsked
from service.services import Services

router: Final = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=JsonRoute)

Wait = Annotated[
    float | None, Query(ge=0, allow_inf_nan=False, description="Seconds to wait for the end.")
]


_SECRET_ONCE: Final = {
    "Signalbox-Webhook-Secret": {
        "description": "What messages to the webhook are signed with: in the first answer to a request that "
        "names its endpoint, and never again.",
        "schema": {"type": "string"},
    }
}


@router.post(
    "",
    operation_id="create_run",
    summary="Create a run",
    dependencies=[needs("runs:write")],
    response_model=Run,
    status_code=202,
    responses={
        200: {
            "model": Run,
            "description": "The run has ended; or its events, where those are accepted",
            "headers": _SECRET_ONCE,
            "content": {**STREAM},
        },
        202: {"headers": _SECRET_ONCE},
        **problems(400, 402, 403, 404, 406, 409, 413, 415, 422, 500, 502, 503, 504),
    },
)
async def create_run(
    body: RunCreate, request: Request, parts: Parts, caller: Caller, wait: Wait = None
) -> Response:
    """Accept a task. It is committed before the answer, and runs whether or not anybody waits."""
    sse = wanted_format(request) == "sse"
    seconds = wait_seconds(request, wait, parts.settings.max_wait)
    created = await accept(body, request, parts, caller)
    run, replayed = created.run, created.replayed
    headers = accepted(created)
    if created.webhook_secret:
        headers["Signalbox-Webhook-Secret"] = created.webhook_secret
    if sse:
        return stream_run(
            parts.store,
            parts.hub,
            RunRef(caller.tenant_id, run.id),
            after=0,
            wanted=make_filter(None, tokens=True),
            headers=headers,
        )
    if seconds is None:
        return run_response(run, 202, headers)
    return ended_response(request, await parts.runs.wait(run, seconds, fresh=not replayed), headers)


async def accept(
    body: RunCreate, request: Request, parts: Services, caller: CallerIdentity
) -> Created:
    """Create the run a body asks for, or find the one that an earlier request has made."""
    idempotency = idempotency_of(request, body)
    new = NewRun(
        task=body.task,
        thread_id=body.thread_id,
        agents=tuple(dict.fromkeys(body.agents)) if body.agents else None,
        max_rounds=body.budget.max_rounds if body.budget else None,
        limits=body.budget.limits() if body.budget else NO_LIMITS,
        strategy=body.multitask_strategy,
        approval_mode=_approval_mode(body, caller),
        validation=body.validation,
        output_schema=body.output_schema,
        caller_id=caller.id,
        caller_places=caller.limits.concurrent_runs,
        files=read_uploads(body.files or ()),
        reuse=_reuse_asked(body),
        webhook=_webhook(body, caller),
        own_hook=caller.may("admin"),
        traceparent=traceparent_of(request),
        metadata=body.metadata,
        tags=list(dict.fromkeys(body.tags)),
    )
    created = await parts.runs.create(caller.tenant_id, new, idempotency=idempotency)
    note_run(request, created.run)
    return created


def _webhook(body: RunCreate, caller: CallerIdentity) -> Webhook | None:
    # A link decides for whoever holds it, so who may not decide has none sent.
    decides = caller.may("approvals:decide")
    return body.webhook.webhook(decides=decides) if body.webhook else None


def _reuse_asked(body: RunCreate) -> ReuseAsked:
    cache = body.cache
    if isinstance(cache, CacheIn):
        return ReuseAsked(seconds=cache.max_age, web=True)
    return ReuseAsked(wanted=cache)


def _approval_mode(body: RunCreate, caller: CallerIdentity) -> ApprovalMode:
    mode = body.approvals.mode if body.approvals else "policy"
    if mode == "never":
        # Who may not decide may not say beforehand that nobody is asked.
        require(caller, "approvals:decide")
    return mode


@router.get(
    "",
    operation_id="list_runs",
    summary="List runs, newest first",
    dependencies=[needs("runs:read")],
    response_model=RunPage,
    responses=problems(400, 500),
)
async def list_runs(
    parts: Parts,
    tenant: Tenant,
    status: RunStatus | None = None,
    thread_id: Filter = None,
    tag: Filter = None,
    created_after: Moment = None,
    limit: Annotated[int, Query(ge=1, le=100), PLAIN] = 20,
    cursor: RunCursor = None,
) -> Response:
    """Return a page of runs; `next_cursor` leads to the next one."""
    if cursor is not None and not is_run_id(cursor):
        msg = f"The cursor {cursor[:80]!r} is not one of this list. Send next_cursor as it came."
        raise CallerError("malformed-cursor", msg)
    if "\x00" in f"{thread_id}{tag}":
        msg = "thread_id and tag: a NUL character (%00) cannot be looked for. Leave it out."
        raise CallerError("invalid-parameter", msg)
    query = RunQuery(
        status=status,
        thread_id=thread_id,
        tag=tag,
        created_after=_in_utc(created_after),
        limit=limit,
        before=cursor,
    )
    runs = await parts.runs.find(tenant, query)
    return json_response(page([run.model_dump(mode="json") for run in runs], limit, "id"))


def _in_utc(time: datetime | None) -> datetime | None:
    """Return a time in UTC, which it is where it names no zone."""
    if time is None:
        return None
    try:
        return in_utc(time)
    except OverflowError:
        # The first and the last hours there are, seen from another zone.
        msg = f"created_after: {time.isoformat()} lies outside the years 1 to 9999 in UTC."
        raise CallerError("invalid-parameter", msg) from None


@router.get(
    "/{run_id}",
    operation_id="get_run",
    summary="Get a run",
    dependencies=[needs("runs:read")],
    response_model=Run,
    responses=problems(400, 404, 500),
)
async def get_run(
    run_id: RunId, request: Request, parts: Parts, tenant: Tenant, wait: Wait = None
) -> Response:
    """Return the run, whatever its status; with `wait` as soon as it has ended."""
    seconds = wait_seconds(request, wait, parts.settings.max_wait)
    if seconds:
        run = await parts.runs.get(tenant, run_id)
        return run_response(await parts.runs.wait(run, seconds), 200)
    return run_response(await parts.runs.get(tenant, run_id), 200)


@router.patch(
    "/{run_id}",
    operation_id="update_run",
    summary="Change a run's metadata or budget",
    dependencies=[needs("runs:write")],
    response_model=Run,
    responses=problems(400, 404, 409, 413, 415, 422, 500),
)
async def update_run(run_id: RunId, body: RunPatchIn, parts: Parts, caller: Caller) -> Response:
    """Change what may be changed of a run that is there. A budget takes the scope `approvals:decide` too:
    raised, it answers a question."""
    if body.budget is not None:
        require(caller, "approvals:decide")
    change = RunPatch(
        by=caller.id,
        metadata=body.metadata,
        limits=body.budget.limits() if body.budget else None,
        max_rounds=body.budget.max_rounds if body.budget else None,
    )
    return run_response(await parts.runs.patch(caller.tenant_id, run_id, change), 200)


@router.delete(
    "/{run_id}",
    operation_id="delete_run",
    summary="Delete a run",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409, 500),
    dependencies=[needs("runs:write")],
)
async def delete_run(run_id: RunId, parts: Parts, tenant: Tenant) -> Response:
    """Delete a run that has ended with every trace of it; what it has cost stays in the sums."""
    await parts.erasure.erase_run(await parts.runs.get(tenant, run_id))
    return Response(status_code=204)


@router.post(
    "/{run_id}/cancel",
    operation_id="cancel_run",
    summary="Cancel a run",
    dependencies=[needs("runs:write")],
    response_model=Run,
    status_code=202,
    responses={
        200: {"model": Run, "description": "It was cancelled before"},
        **problems(400, 404, 409, 413, 415, 422, 500),
    },
)
async def cancel_run(
    run_id: RunId, request: Request, parts: Parts, tenant: Tenant, body: CancelIn | None = None
) -> Response:
    """Stop a run. What its agents have produced and spent stays in the result."""
    wanted = body or CancelIn()
    done = await parts.runs.cancel(
        tenant, run_id, wanted.reason, idempotency=idempotency_of(request, wanted)
    )
    headers = {"Idempotency-Replayed": "true"} if done.replayed else {}
    return run_response(done.run, 202 if done.now else 200, headers)


@router.post(
    "/{run_id}/retry",
    operation_id="retry_run",
    summary="Have a failed or incomplete run go on",
    dependencies=[needs("runs:write")],
    response_model=Run,
    status_code=202,
    responses=problems(400, 402, 403, 404, 409, 413, 415, 422, 500, 503),
)
async def retry_run(
    run_id: RunId, request: Request, parts: Parts, caller: Caller, body: RunRetryIn | None = None
) -> Response:
    """Put a run that has ended back into the queue. What its agents have done stays, and is not done again;
    what had failed is decided anew. A budget takes the scope `approvals:decide` too, as with PATCH."""
    wanted = body or RunRetryIn()
    if wanted.budget is not None:
        require(caller, "approvals:decide")
    wish = RetryWish(
        limits=wanted.budget.limits() if wanted.budget else None,
        max_rounds=wanted.budget.max_rounds if wanted.budget else None,
        by=caller.id,
    )
    done = await parts.retries.retry(
        caller.tenant_id, run_id, wish, idempotency=idempotency_of(request, wanted)
    )
    return run_response(done.run, 202, accepted(done))


def accepted(done: Created | Retried) -> dict[str, str]:
    """Return the headers of an answer that a run is taken on: where it is, and whether an earlier request did it."""
    headers = {"Location": f"/v1/runs/{done.run.id}"}
    return {**headers, "Idempotency-Replayed": "true"} if done.replayed else headers


def ended_response(request: Request, run: Run, headers: dict[str, str]) -> Response:
    """Answer a request that waited: a failure is never a 200."""
    if run.status in {"completed", "incomplete"}:
        return run_response(run, 200, headers)
    if run.status == "failed":
        problem = run.error or make_problem("internal-error", "The run failed.")
        # No gateway or SDK should pay for the same failure again.
        return problem_response(
            request, problem, headers={**headers, "x-should-retry": "false"}, run=run
        )
    if run.status == "cancelled":
        problem = make_problem("run-cancelled", "The run was cancelled while you waited.")
        return problem_response(
            request, problem, headers={**headers, "x-should-retry": "false"}, run=run
        )
    return run_response(run, 202, headers)


def run_response(run: Run, status: int, headers: dict[str, str] | None = None) -> Response:
    """Return a run as JSON."""
    return Response(
        run.model_dump_json(),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def json_response(body: dict[str, Any]) -> Response:
    """Return a JSON document."""
    return Response(
        orjson.dumps(body), media_type="application/json", headers={"Cache-Control": "no-store"}
    )


def page(rows: list[dict[str, Any]], limit: int, cursor_field: str) -> dict[str, Any]:
    """Return the shape every list has; `rows` may hold one more than the page."""
    shown = rows[:limit]
    more = len(rows) > limit
    cursor = str(shown[-1][cursor_field]) if more else None
    return {"data": shown, "next_cursor": cursor, "has_more": more}


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run's id."""
    prefix, _, body = text.partition("_")
    return prefix == "run" and len(body) == 32 and all(c in "0123456789abcdef" for c in body)  # noqa: PLR2004 - hex digits of a UUID
