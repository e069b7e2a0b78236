"""Who is calling, and what a handler needs to serve the call."""

from __future__ import annotations

from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency
from starlette.routing import BaseRoute

from domain.caller import CallerIdentity, Scope
from domain.errors import CallerError
from service.services import Services


def get_services(request: Request) -> Services:
    """Return the running service's parts."""
    return cast("Services", request.app.state.services)


async def get_caller(request: Request) -> CallerIdentity:
    """Return who calls, as the door has found out."""
    return cast("CallerIdentity", request.scope["caller"])


async def get_tenant(request: Request) -> str:
    """Return the caller's tenant."""
    return (await get_caller(request)).tenant_id


Parts = Annotated[Services, Depends(get_services)]
Tenant = Annotated[str, Depends(get_tenant)]
Caller = Annotated[CallerIdentity, Depends(get_caller)]


class _Needs:
    """Refuses callers without one of some scopes."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.scopes: Final = scopes

    async def __call__(self, request: Request) -> None:
        require(await get_caller(request), *self.scopes)


def needs(*scopes: Scope) -> Dependency:
    """Return what a route names in its `dependencies`: the scopes of which a caller needs one."""
    return Dependency(_Needs(scopes))


def scopes_of(route: BaseRoute) -> tuple[Scope, ...]:
    """Return the scopes that a route names; none where it names none."""
    given: list[Dependency] = getattr(route, "dependencies", [])
    return next((d.dependency.scopes for d in given if isinstance(d.dependency, _Needs)), ())


def require(caller: CallerIdentity, *scopes: Scope) -> None:
    """Refuse a caller who has none of these scopes."""
    if not caller.may(*scopes):
        msg = (
            f"This needs the scope {' or '.join(scopes)}, which this key does not have; "
            f"`signalbox keys create --scope {scopes[0]}` makes one that has it."
        )
        challenge = (
            f'Bearer realm="signalbox", error="insufficient_scope", scope="{" ".join(scopes)}"'
        )
        raise CallerError("forbidden", msg, headers={"www-authenticate": challenge})
