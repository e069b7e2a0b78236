"""Routes of webhooks: what was sent for a run, and sending it again."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from domain.delivery import Delivery
from domain.errors import CallerError
from domain.ports import RunRef
from service.http.caller import Parts, Tenant, needs
from service.http.fields import Strict
from service.http.json_body import JsonRoute
from service.http.negotiation import idempotency_of
from service.http.openapi import problems
from service.http.parameters import PLAIN, DeliveryCursor, DeliveryId, RunId
from service.http.runs import json_response, page

router: Final = APIRouter(prefix="/v1/runs", tags=["webhooks"], route_class=JsonRoute)

_PREFIX: Final = "whd_"
_HEX_DIGITS: Final = 32


class DeliveryPage(BaseModel):
    """A page of deliveries, newest first."""

    data: list[Delivery]
    next_cursor: str | None
    has_more: bool


class _Nothing(Strict):
    """A body without fields."""


@router.get(
    "/{run_id}/deliveries",
    operation_id="list_deliveries",
    summary="List what was sent to a run's webhook, newest first",
    response_model=DeliveryPage,
    responses=problems(400, 404, 500),
    dependencies=[needs("runs:read")],
)
async def list_deliveries(
    run_id: RunId,
    parts: Parts,
    tenant: Tenant,
    limit: Annotated[int, Query(ge=1, le=100), PLAIN] = 20,
    cursor: DeliveryCursor = None,
) -> Response:
    """Return a page of the log: each message once, with what its last attempt came to."""
    run = await parts.runs.get(tenant, run_id)
    if cursor is not None and not is_delivery_id(cursor):
        msg = f"The cursor {cursor!r} is not one of this list. Send next_cursor as it came."
        raise CallerError("malformed-cursor", msg)
    found = await parts.deliveries.find(RunRef(tenant, run.id), limit=limit, before=cursor)
    return json_response(page([each.model_dump(mode="json") for each in found], limit, "id"))


@router.post(
    "/{run_id}/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver_delivery",
    summary="Send a message to the webhook again",
    response_model=Delivery,
    status_code=202,
    responses=problems(400, 404, 409, 413, 415, 422, 500),
    dependencies=[needs("runs:write")],
)
async def redeliver_delivery(
    run_id: RunId, delivery_id: DeliveryId, request: Request, parts: Parts, tenant: Tenant
) -> Response:
    """Send it under the same id, at once and then for a day. An endpoint that had answered 410 is tried too."""
    run = await parts.runs.get(tenant, run_id)
    done = await parts.deliveries.redeliver(
        RunRef(tenant, run.id), delivery_id, idempotency=idempotency_of(request, _Nothing())
    )
    response = json_response(done.delivery.model_dump(mode="json"))
    response.status_code = 202
    if done.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def is_delivery_id(text: str) -> bool:
    """Return whether a text has the form of a delivery's id."""
    body = text.removeprefix(_PREFIX)
    return body != text and len(body) == _HEX_DIGITS and all(c in "0123456789abcdef" for c in body)
