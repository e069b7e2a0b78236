"""What a browser's requests show: its cookie, and whether a page of this very server has sent them."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from domain.errors import CallerError

SIGN_IN: Final = "/session"

COOKIE: Final = "signalbox_session"

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""What changes nothing. A page of another site has no cookie with it either: it is `SameSite=Strict`."""

_PORTS: Final = {"http": 80, "https": 443}

NOT_FROM_HERE: Final = (
    "This was not sent by a page of this server, as far as your browser tells (Sec-Fetch-Site, or Origin "
    "beside Host). Use the page under the server's own address; behind a proxy have it pass Host on or set "
    "SIGNALBOX_PUBLIC_URL; a program sends its key as `Authorization: Bearer`, and no cookie."
)


def read_cookie(request: Request) -> str | None:
    """Return what a browser that has signed in sends; of two none is the right one."""
    found = [
        value.strip()
        for header in request.headers.getlist("cookie")
        for name, _, value in (each.partition("=") for each in header.split(";"))
        if name.strip() == COOKIE
    ]
    return None if not found else found[0] if len(found) == 1 else ""


def is_https(request: Request, public_url: str | None) -> bool:
    """Return whether a browser has come over TLS, here or to a proxy before."""
    said = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if "https" in {request.scope.get("scheme"), said}:
        return True
    public = urlsplit(public_url or "")
    return public.scheme == "https" and public.netloc.lower() == _host(request)


def require_same_origin(request: Request, public_url: str | None) -> None:
    """Refuse what a page of another origin may have sent in the name of whoever has signed in."""
    site = request.headers.get("sec-fetch-site")
    if not (_is_ours(request, public_url) if site is None else site == "same-origin"):
        raise CallerError("forbidden", NOT_FROM_HERE)


def _is_ours(request: Request, public_url: str | None) -> bool:
    """Return whether `Origin` is this server, for browsers that do not say so over plain http."""
    origins = request.headers.getlist("origin")
    origin = _place(origins[0]) if len(origins) == 1 else None
    if origin is None:
        return False
    if public_url is not None and origin == _place(public_url):
        return True
    scheme = "https" if is_https(request, public_url) else "http"
    return origin == _place(f"{scheme}://{_host(request)}")


def _place(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a url; `None` where it has none, as the `null` of some pages."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _host(request: Request) -> str:
    return request.headers.get("host", "").lower()
