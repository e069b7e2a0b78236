"""The route of the cost ledger."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from domain.spending import SpendingGroup
from domain.usage import UsageShare
from service.http.caller import Parts, Tenant, needs
from service.http.openapi import problems
from service.http.parameters import PLAIN, Day, Group
from service.http.runs import json_response
from service.spending import SpendingAsked, SpendingPage

router: Final = APIRouter(tags=["usage"])


class SpendingOut(UsageShare):
    """What one group of calls came to; it has the fields that were grouped by."""

    day: str | None = None
    """In UTC."""
    agent: str | None = None
    model: str | None = None
    key: str | None = None
    """The caller whose runs they are."""


class SpendingList(BaseModel):
    """A page of the cost ledger, in the order of what it is grouped by."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    since: date = Field(alias="from")
    """The first day, in UTC."""
    until: date = Field(alias="to")
    """The last day, which counts too."""
    data: list[SpendingOut]
    next_cursor: str | None
    has_more: bool
    total: UsageShare
    """Of all pages."""


@router.get(
    "/v1/usage",
    operation_id="get_usage",
    summary="Sum what model calls cost",
    dependencies=[needs("runs:read")],
    response_model=SpendingList,
    responses=problems(400, 500),
)
async def get_usage(
    parts: Parts,
    tenant: Tenant,
    since: Annotated[
        Day,
        Query(alias="from", description="First day in UTC; 30 days up to `to` where not given."),
    ] = None,
    until: Annotated[
        Day, Query(alias="to", description="Last day in UTC; today where not given.")
    ] = None,
    group_by: Annotated[
        list[Group] | None,
        Query(
            description="`day`, `agent`, `model` or `key`, the caller whose runs they are; several, repeated "
            "or with commas between them. `day` where not given.",
            examples=[["day,model"]],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000), PLAIN] = 100,
    cursor: str | None = None,
) -> Response:
    """Return tokens and money of all runs, deleted ones too. `cost_usd` is null, and `cost_known` false, as
    soon as the price of one call is not known."""
    asked = SpendingAsked(
        since=since, until=until, group_by=group_by or (), limit=limit, cursor=cursor
    )
    return json_response(_body(await parts.spending.page(tenant, asked)))


def _body(page: SpendingPage) -> dict[str, Any]:
    query = page.query
    return {
        "from": query.since.isoformat(),
        "to": query.until.isoformat(),
        "data": [_group(page, group) for group in page.groups],
        "next_cursor": page.next_cursor,
        "has_more": page.next_cursor is not None,
        "total": page.total.model_dump(mode="json"),
    }


def _group(page: SpendingPage, group: SpendingGroup) -> dict[str, Any]:
    names = zip(page.query.group_by, group.values, strict=True)
    return {**group.share.model_dump(mode="json"), **dict(names)}
