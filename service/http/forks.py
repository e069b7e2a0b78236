"""The routes of checkpoints: a run's history, and a new run from one of them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from domain.errors import CallerError
from domain.run import Run, StopReason, UtcTime
from graph.state import FinalAnswer
from service.forks import ForkWish
from service.history import Entry
from service.http.caller import Caller, Parts, Tenant, needs, require
from service.http.fields import Said, Strict
from service.http.json_body import JsonRoute
from service.http.negotiation import idempotency_of
from service.http.openapi import problems
from service.http.parameters import CHECKPOINT, PLAIN, CheckpointCursor, RunId
from service.http.runs import accepted, json_response, page, run_response
from service.http.schemas import BudgetIn

router: Final = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=JsonRoute)


class FinishedOut(BaseModel):
    """An assignment that has ended."""

    agent: str
    path: str
    """Which assignment of its round: `coder`, `coder#2`."""
    round: int
    status: Literal["completed", "failed"]


class CheckpointOut(BaseModel):
    """Where a run stood."""

    checkpoint_id: str
    parent_id: str | None
    """The checkpoint before it, which may not be kept any more."""
    created_at: UtcTime | None
    step: int
    """From -1, the task as it came; each step of the graph is one more."""
    round: int
    next: list[str]
    """The nodes that come next; none at the end."""
    finished: list[FinishedOut]
    """What has ended since the entry before it."""
    results: int
    """How many results of agents it holds, those of before included."""
    stop_reason: StopReason | None
    """With an end: why."""
    approvals: list[str]
    """What people are asked at it; only where the run stands there."""
    final: bool
    """Whether the graph had its end."""
    forkable: bool
    refusal: str | None
    """Why no run can be forked from it."""


class CheckpointPage(BaseModel):
    """A page of checkpoints, newest first."""

    data: list[CheckpointOut]
    next_cursor: str | None
    has_more: bool


class RunForkIn(Strict):
    """The body that makes a run from a checkpoint of another."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "checkpoint_id": "1f0bd5a4-6f3e-6c52-8001-0a7d7b9d3a10",
                    "task": "Write it for engineers.",
                }
            ]
        }
    )

    checkpoint_id: str | None = Field(
        default=None,
        max_length=64,
        pattern=CHECKPOINT,
        description="One that the run's history lists. Where not given, the last at which it can go on: of a "
        "completed run that before its answer.",
    )
    task: Said | None = Field(
        default=None,
        description="Takes the place of the task: the supervisor decides anew, with the results that there are. "
        "Where not given, the run goes on as the other would have.",
    )
    budget: BudgetIn | None = Field(
        default=None,
        description="The limits to change; those that are not given are those of the other run. All count anew.",
    )


@router.get(
    "/{run_id}/history",
    operation_id="list_checkpoints",
    summary="List a run's checkpoints, newest first",
    dependencies=[needs("runs:read")],
    response_model=CheckpointPage,
    responses=problems(400, 404, 500),
)
async def list_checkpoints(
    run_id: RunId,
    parts: Parts,
    tenant: Tenant,
    limit: Annotated[int, Query(ge=1, le=100), PLAIN] = 20,
    cursor: CheckpointCursor = None,
) -> Response:
    """Return where the run has stood, as long as that is kept; none where it has not begun."""
    if cursor is not None and not re.fullmatch(CHECKPOINT, cursor):
        msg = f"The cursor {cursor[:80]!r} is not one of this list. Send next_cursor as it came."
        raise CallerError("malformed-cursor", msg)
    run = await parts.runs.get(tenant, run_id)
    found = await parts.history.page(run, limit=limit, before=cursor)
    return json_response(page([_entry(each) for each in found], limit, "checkpoint_id"))


def _entry(entry: Entry) -> dict[str, Any]:
    snapshot = entry.snapshot
    values, parent = snapshot.values, snapshot.parent_config
    final: FinalAnswer | None = values.get("final")
    out = CheckpointOut(
        checkpoint_id=snapshot.config["configurable"]["checkpoint_id"],
        parent_id=parent["configurable"]["checkpoint_id"] if parent else None,
        created_at=datetime.fromisoformat(snapshot.created_at) if snapshot.created_at else None,
        step=(snapshot.metadata or {}).get("step", 0),
        round=values.get("round", 0),
        next=list(dict.fromkeys(name for name in snapshot.next if name != "__start__"))
        or ([] if values else ["supervisor"]),
        finished=[FinishedOut(**each) for each in entry.finished],
        results=len(values.get("outcomes", [])),
        stop_reason=final["stop_reason"] if final else None,
        approvals=entry.approvals,
        final=final is not None,
        forkable=entry.refusal is None,
        refusal=entry.refusal,
    )
    return out.model_dump(mode="json")


@router.post(
    "/{run_id}/fork",
    operation_id="fork_run",
    summary="Make a run from a checkpoint of another",
    dependencies=[needs("runs:write")],
    response_model=Run,
    status_code=202,
    responses=problems(400, 402, 403, 404, 409, 413, 415, 422, 500, 503),
)
async def fork_run(
    run_id: RunId, request: Request, parts: Parts, caller: Caller, body: RunForkIn | None = None
) -> Response:
    """Accept a run, on a thread of its own, that begins where another stood. What that had finished is kept and
    not done again; what a person was asked or had approved is asked anew. The other run stays as it is."""
    wanted = body or RunForkIn()
    parent = await parts.runs.get(caller.tenant_id, run_id)
    if parent.approval_mode == "never":
        # As where a run is created: who may not decide may not have nobody asked.
        require(caller, "approvals:decide")
    wish = ForkWish(
        checkpoint_id=wanted.checkpoint_id,
        task=wanted.task,
        limits=wanted.budget.limits() if wanted.budget else None,
        max_rounds=wanted.budget.max_rounds if wanted.budget else None,
    )
    created = await parts.forks.fork(
        caller, run_id, wish, idempotency=idempotency_of(request, wanted)
    )
    return run_response(created.run, 202, accepted(created))
