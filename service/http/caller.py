"""Who is calling, and what a handler needs to serve the call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Request

from service.services import Services

LOCAL_TENANT: Final = "default"
"""The tenant of every caller while the service has no keys."""


@dataclass(frozen=True, kw_only=True)
class CallerIdentity:
    """Who calls, and what that caller may do."""

    tenant_id: str
    id: str
    scopes: frozenset[str]


LOCAL_CALLER: Final = CallerIdentity(
    tenant_id=LOCAL_TENANT, id="default", scopes=frozenset({"approvals:decide"})
)
"""Every caller, while the service has no keys: all are the same one, who may do everything."""


def get_services(request: Request) -> Services:
    """Return the running service's parts."""
    return cast("Services", request.app.state.services)


def get_tenant() -> str:
    """Return the caller's tenant."""
    return LOCAL_TENANT


def get_caller() -> CallerIdentity:
    """Return who calls."""
    return LOCAL_CALLER


Parts = Annotated[Services, Depends(get_services)]
Tenant = Annotated[str, Depends(get_tenant)]
Caller = Annotated[CallerIdentity, Depends(get_caller)]
