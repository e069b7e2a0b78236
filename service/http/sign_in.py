"""The routes of the page's sign-in: a browser gives its key once, and is known by a cookie from then on.

They are for this server's own pages and not in its description: whatever else calls sends its key.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from domain.caller import CallerIdentity
from domain.errors import CallerError
from service.callers import MAX_CREDENTIAL
from service.http.browsers import COOKIE, SIGN_IN, is_https, read_cookie, require_same_origin
from service.http.caller import Parts
from service.http.door import credentials_of, read_credentials, refuse_excess
from service.http.fields import Strict
from service.http.json_body import JsonRoute
from service.http.runs import json_response

router: Final = APIRouter(include_in_schema=False, route_class=JsonRoute)


class SignInIn(Strict):
    """What a browser signs in with."""

    api_key: str = Field(min_length=1, max_length=MAX_CREDENTIAL, repr=False)


@router.post(SIGN_IN)
async def sign_in(request: Request, parts: Parts, body: SignInIn) -> Response:
    """Answer a key, or a token of the issuer, with a cookie that stands for it."""
    require_same_origin(request, parts.settings.public_url)
    given = credentials_of(request, token=body.api_key.strip())
    rate = await parts.rates.take(await parts.callers.identify(given))
    if rate:
        refuse_excess(rate)
    made = await parts.callers.sign_in(given)
    return _with_cookie(request, parts.settings.public_url, made.secret, made.seconds)


@router.delete(SIGN_IN)
async def sign_out(request: Request, parts: Parts) -> Response:
    """End the sign-in of this browser, and take its cookie away."""
    cookie = read_cookie(request)
    if cookie is not None:
        require_same_origin(request, parts.settings.public_url)
        await parts.callers.sign_out(cookie)
    return _with_cookie(request, parts.settings.public_url, "", 0)


@router.get(SIGN_IN)
async def who_am_i(request: Request, parts: Parts) -> Response:
    """Tell a page whether it has to ask for a key, and who is known already."""
    needed = await parts.callers.closed()
    try:
        caller = await parts.callers.identify(read_credentials(request))
    except CallerError as error:
        if error.code != "unauthenticated":
            raise
        caller = None
    shown = None if caller is None else _shown(caller)
    body = {"signed_in": needed and caller is not None, "needed": needed, "caller": shown}
    return json_response(body)


def _shown(caller: CallerIdentity) -> dict[str, Any]:
    return {"id": caller.id, "tenant_id": caller.tenant_id, "scopes": sorted(caller.scopes)}


def _with_cookie(request: Request, public_url: str | None, value: str, seconds: int) -> Response:
    response = Response(status_code=204, headers={"Cache-Control": "no-store"})
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="strict",
        secure=is_https(request, public_url),
    )
    return response
