"""The routes of the page on which one approval is decided. They are for people, so all answers are pages.

What stands in the address is all that is needed to decide, so nobody logs it; a GET decides nothing, since
previews of links are GETs. A form of another site cannot decide: it does not know the token.
"""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from service.http.caller import Parts
from service.http.fields import can_be_kept
from service.http.link_page import HEADERS, busy_page, closed_page, missing_page, open_page
from service.links import CHOICES, Shown, State
from service.services import Services
from service.store.links import PATH

MAX_FIELDS: Final = 5

router: Final = APIRouter(include_in_schema=False)

_STATUS: Final[dict[State, int]] = {
    "open": 422,
    "decided": 410,
    "expired": 410,
    "cancelled": 410,
    "changed": 409,
}


@router.get(f"{PATH}{{token}}")
async def show_link(token: str, request: Request, parts: Parts) -> Response:
    """Show what is asked, or how it was closed."""
    if (busy := await _refuse_excess(request, parts)) is not None:
        return busy
    shown = await parts.links.look(token)
    if shown is None:
        return _html(missing_page(), 404)
    if shown.state == "open":
        return _html(_form(shown, token), 200)
    return _html(closed_page(shown), _STATUS[shown.state])


@router.post(f"{PATH}{{token}}")
async def use_link(token: str, request: Request, parts: Parts) -> Response:
    """Decide; where somebody has before, show what stands."""
    if (busy := await _refuse_excess(request, parts)) is not None:
        return busy
    form = _read_form(await request.body())
    if form is None or not hmac.compare_digest(form["token"].encode(), token.encode()):
        shown = await parts.links.look(token)
        if shown is not None:
            shown = shown._replace(refusal="The form could not be read. Nothing was decided.")
    else:
        shown = await parts.links.decide(token, form["choice"], form["message"])
    if shown is None:
        return _html(missing_page(), 404)
    if shown.state == "open":
        return _html(_form(shown, token), 422)
    if shown.done:
        return _html(closed_page(shown), 200)
    return _html(closed_page(shown), 409 if shown.state == "decided" else _STATUS[shown.state])


async def _refuse_excess(request: Request, parts: Services) -> Response | None:
    """Return the page for an address that has asked for too many, before anything is looked up."""
    rate = await parts.rates.take_link(request.client.host if request.client else "")
    if rate.allowed:
        return None
    response = _html(busy_page(), 429)
    response.headers["retry-after"] = str(rate.reset_seconds)
    return response


def _form(shown: Shown, token: str) -> str:
    return open_page(shown, token, CHOICES[shown.link.approval.type])


def _read_form(body: bytes) -> dict[str, str] | None:
    """Return the fields of a form; `None` where it is none."""
    try:
        fields = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
        form = {name: fields.get(name, [""])[0] for name in ("token", "choice", "message")}
        form["message"] = can_be_kept(form["message"].replace("\r\n", "\n"))
    except ValueError:
        return None
    return form


def _html(page: str, status: int) -> HTMLResponse:
    return HTMLResponse(page, status_code=status, headers=HEADERS)
