"""The short form: two thin routes over the same runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from domain.events import Delta
from domain.ports import RunRef
from domain.run import Run
from service.events import follow
from service.http.caller import Caller, Parts, needs
from service.http.json_body import JsonRoute
from service.http.openapi import event_schema, problems
from service.http.runs import accept, ended_response
from service.http.schemas import RunCreate, TaskIn
from service.http.sse import event_stream
from service.notices import Notice

router: Final = APIRouter(prefix="/api/workflow", tags=["short form"], route_class=JsonRoute)


_STEPS: Final = event_schema(
    {
        "type": "object",
        "properties": {
            "node": {"type": "string"},
            "status": {"type": "string"},
            "next_agent": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "messages": {"type": "array", "items": {"type": "string"}},
            "done": {"const": True},
        },
        "anyOf": [
            {"required": ["node", "status", "next_agent", "messages"]},
            {"required": ["done"]},
        ],
    },
    {"data": '{"node":"analyst","status":"started","next_agent":null,"messages":[]}'},
)


@router.post(
    "",
    operation_id="run_workflow",
    summary="Run a task and wait for it",
    dependencies=[needs("runs:write")],
    response_model=Run,
    responses={
        202: {"model": Run, "description": "Still running"},
        **problems(400, 402, 409, 413, 415, 422, 500, 502, 503, 504),
    },
)
async def run_workflow(body: TaskIn, request: Request, parts: Parts, caller: Caller) -> Response:
    """Create a run and answer with it when it has ended."""
    created = await accept(RunCreate(task=body.task), request, parts, caller)
    run, replayed = created.run, created.replayed
    run = await parts.runs.wait(run, parts.settings.max_wait, fresh=not replayed)
    return ended_response(request, run, _headers(run, replayed=replayed))


@router.post(
    "/stream",
    operation_id="stream_workflow",
    summary="Run a task and follow it",
    response_class=EventSourceResponse,
    dependencies=[needs("runs:write")],
    responses={
        200: {"content": {**_STEPS}},
        **problems(400, 402, 413, 415, 422, 500, 503),
    },
)
async def stream_workflow(body: TaskIn, request: Request, parts: Parts, caller: Caller) -> Response:
    """Create a run and stream one frame per step, then `{"done": true}`."""
    created = await accept(RunCreate(task=body.task), request, parts, caller)
    run, replayed = created.run, created.replayed

    async def frames() -> AsyncIterator[bytes]:
        ref = RunRef(caller.tenant_id, run.id)
        async for notices in follow(parts.store, parts.hub, ref, after=0):
            for notice in notices:
                step = _step(notice)
                if step:
                    yield b"data: " + orjson.dumps(step) + b"\n\n"
        yield b'data: {"done": true}\n\n'

    return event_stream(frames(), headers=_headers(run, replayed=replayed))


def _headers(run: Run, *, replayed: bool) -> dict[str, str]:
    headers = {"Location": f"/v1/runs/{run.id}"}
    return {**headers, "Idempotency-Replayed": "true"} if replayed else headers


def _step(notice: Notice) -> dict[str, Any] | None:
    """Return the short frame of a notice; `None` for what the short form leaves out."""
    what = notice.what
    if isinstance(what, Delta):
        return None
    data, node, next_agent, messages = what.data, what.agent or "signalbox", None, []
    if what.type == "supervisor.decision":
        next_agent = ",".join(a["agent"] for a in data["assignments"]) or None
        messages = [data["reason"]]
    elif what.type == "agent.completed":
        messages = [data["output"]]
    elif what.type == "agent.failed":
        messages = [data["detail"]]
    elif what.terminal:
        run = data["run"]
        messages = [(run["result"] or {}).get("output") or (run["error"] or {}).get("detail", "")]
        return {
            "node": "signalbox",
            "status": run["status"],
            "next_agent": None,
            "messages": messages,
        }
    elif what.type == "run.requires_action":
        messages = data["required_action"]["approval_ids"]
    elif what.type not in {"run.started", "agent.started"}:
        return None
    return {
        "node": node,
        "status": what.type.partition(".")[2],
        "next_agent": next_agent,
        "messages": messages,
    }
