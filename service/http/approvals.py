"""Routes of what people are asked: the inbox, decisions, actions in doubt, the receipt."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from domain.approval import Approval, ApprovalStatus
from domain.deciding import ApprovalQuery, Verdict
from domain.errors import CallerError
from domain.run import Run
from service.approvals import Decider
from service.http.approval_schemas import (
    ApprovalPage,
    DecisionIn,
    DecisionsIn,
    ResolutionIn,
)
from service.http.caller import Caller, Parts, Tenant, needs
from service.http.json_body import JsonRoute
from service.http.negotiation import idempotency_of
from service.http.openapi import problems
from service.http.parameters import PLAIN, ActionId, ApprovalCursor, ApprovalId, Filter, RunId
from service.http.receipt_schemas import Receipt
from service.http.runs import json_response, page, run_response

router: Final = APIRouter(prefix="/v1", tags=["approvals"], route_class=JsonRoute)

_DECIDED: Final = problems(400, 403, 404, 409, 410, 413, 415, 422, 500)


@router.get(
    "/approvals",
    operation_id="list_approvals",
    summary="List approvals, newest first",
    dependencies=[needs("runs:read", "approvals:decide")],
    response_model=ApprovalPage,
    responses=problems(400, 500),
)
async def list_approvals(
    parts: Parts,
    tenant: Tenant,
    status: ApprovalStatus | None = None,
    run_id: Filter = None,
    limit: Annotated[int, Query(ge=1, le=100), PLAIN] = 20,
    cursor: ApprovalCursor = None,
) -> Response:
    """Return a page of the inbox; `status=pending` is what waits for a decision."""
    if "\x00" in f"{run_id}{cursor}":
        msg = "run_id and cursor: a NUL character (%00) cannot be looked for. Leave it out."
        raise CallerError("invalid-parameter", msg)
    if cursor is not None and not _is_approval_id(cursor):
        msg = f"The cursor {cursor!r} is not one of this list. Send next_cursor as it came."
        raise CallerError("malformed-cursor", msg)
    query = ApprovalQuery(status=status, run_id=run_id, limit=limit, before=cursor)
    found = await parts.approvals.find(tenant, query)
    return json_response(page([each.model_dump(mode="json") for each in found], limit, "id"))


@router.get(
    "/approvals/{approval_id}",
    operation_id="get_approval",
    summary="Get an approval",
    dependencies=[needs("runs:read", "approvals:decide")],
    response_model=Approval,
    responses=problems(404, 500),
)
async def get_approval(approval_id: ApprovalId, parts: Parts, tenant: Tenant) -> Response:
    """Return the question, the call it is about, and what was decided."""
    approval = await parts.approvals.get(tenant, approval_id)
    return json_response(approval.model_dump(mode="json"))


@router.post(
    "/approvals/{approval_id}/decision",
    operation_id="decide_approval",
    summary="Decide",
    dependencies=[needs("approvals:decide")],
    response_model=Approval,
    responses=_DECIDED,
)
async def decide_approval(
    approval_id: ApprovalId, body: DecisionIn, request: Request, parts: Parts, caller: Caller
) -> Response:
    """Record one decision. The same again is answered the same; another one loses to the first."""
    decided = await parts.approvals.decide(
        Decider(tenant_id=caller.tenant_id, caller_id=caller.id),
        [_verdict(approval_id, body)],
        idempotency=idempotency_of(request, body),
    )
    return _answer(decided.approvals[0].model_dump(mode="json"), replayed=decided.replayed)


@router.post(
    "/runs/{run_id}/decisions",
    operation_id="decide_run",
    summary="Decide several approvals of a run",
    dependencies=[needs("approvals:decide")],
    response_model=ApprovalPage,
    responses=_DECIDED,
)
async def decide_run(
    run_id: RunId, body: DecisionsIn, request: Request, parts: Parts, caller: Caller
) -> Response:
    """Record decisions together: all of them or, where one cannot be, none."""
    await parts.runs.get(caller.tenant_id, run_id)
    decided = await parts.approvals.decide(
        Decider(tenant_id=caller.tenant_id, caller_id=caller.id),
        [_verdict(each.approval_id, each) for each in body.decisions],
        run_id=run_id,
        idempotency=idempotency_of(request, body),
    )
    rows = [approval.model_dump(mode="json") for approval in decided.approvals]
    return _answer(page(rows, len(rows), "id"), replayed=decided.replayed)


def _is_approval_id(text: str) -> bool:
    body = text.removeprefix("apr_")
    return body != text and len(body) == 32 and all(c in "0123456789abcdef" for c in body)  # noqa: PLR2004 - hex digits of half a SHA-256


def _verdict(approval_id: str, body: DecisionIn) -> Verdict:
    return Verdict(
        approval_id=approval_id,
        decision=body.decision(),
        comment=body.comment,
        remember=body.remember,
        args_digest=body.args_digest,
    )


def _answer(document: dict[str, object], *, replayed: bool) -> Response:
    response = json_response(document)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


@router.post(
    "/actions/{action_id}/resolution",
    operation_id="resolve_action",
    summary="Settle an action that is in doubt",
    dependencies=[needs("approvals:decide")],
    response_model=Run,
    responses=problems(400, 404, 409, 413, 415, 422, 500),
)
async def resolve_action(
    action_id: ActionId, body: ResolutionIn, request: Request, parts: Parts, caller: Caller
) -> Response:
    """Say whether it took effect. Nothing is carried out by this."""
    settled = await parts.approvals.settle(
        Decider(tenant_id=caller.tenant_id, caller_id=caller.id),
        action_id,
        outcome=body.outcome,
        result=body.result,
        idempotency=idempotency_of(request, body),
    )
    headers = {"Idempotency-Replayed": "true"} if settled.replayed else {}
    return run_response(settled.run, 200, headers)


@router.get(
    "/runs/{run_id}/receipt",
    operation_id="get_receipt",
    summary="Get a run's receipt",
    dependencies=[needs("runs:read")],
    response_model=Receipt,
    responses=problems(404, 500),
)
async def get_receipt(run_id: RunId, parts: Parts, tenant: Tenant) -> Response:
    """Return who asked, with which prompts, settings and models it was executed, what was approved by whom and
    done, and what it cost. Of a run that has ended it is the same, however often and from whichever process."""
    run = await parts.runs.get(tenant, run_id)
    return json_response(await parts.receipts.receipt(run))
