"""Who is calling, and what a handler needs to serve the call."""

from __future__ import annotations

from typing import Annotated, Final, cast

from fastapi import Depends, Request

from service.services import Services

LOCAL_TENANT: Final = "default"
"""The tenant of every caller while the service has no keys."""


def get_services(request: Request) -> Services:
    """Return the running service's parts."""
    return cast("Services", request.app.state.services)


def get_tenant() -> str:
    """Return the caller's tenant."""
    return LOCAL_TENANT


Parts = Annotated[Services, Depends(get_services)]
Tenant = Annotated[str, Depends(get_tenant)]
