"""Where a request may go: one spelling of each address, read once for who judges it and who sends it."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

import httpx

from domain.errors import ToolFailedError

_HOST: Final = r"(?:\[[0-9a-f:.]+\]|[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*)"
_ADDRESS: Final = re.compile(rf"{_HOST}:[0-9]{{1,5}}", re.ASCII | re.IGNORECASE)
# Printable ASCII, but no `#` and `\`: not everybody reads those in the same way.
_URL: Final = re.compile(
    rf"(?P<origin>https?://{_HOST}(?::[0-9]{{1,5}})?)"
    r"(?P<path>/[!\"$->@-\[\]-~]*)?(?P<query>\?[!\"$-\[\]-~]*)?",
    re.ASCII | re.IGNORECASE,
)
_MAX_PORT: Final = 65_535

# Servers disagree about what these mean: one takes `/a%2Fb`, `/a;x` or `//a` for another path.
_AMBIGUOUS: Final = re.compile(
    r"//|;|%(?![0-9a-f]{2})|%(?:2f|5c|25|3b|[01][0-9a-f]|7f)", re.ASCII | re.IGNORECASE
)
_PATH_SAFE: Final = "/:@!$&'()*+,="


class Target(NamedTuple):
    """Where a request goes: what is judged is read from the url that is sent."""

    url: httpx.URL
    address: str
    path: str


def parse_allow(text: str) -> frozenset[str]:
    """Return the `host:port` entries of SIGNALBOX_HTTP_ALLOW, each in the form it is compared in."""
    if not text.strip():
        return frozenset()
    return frozenset(_entry(entry.strip()) for entry in text.split(","))


def _entry(entry: str) -> str:
    with suppress(ToolFailedError):
        if _ADDRESS.fullmatch(entry):
            return read_target(f"http://{entry}/").address
    message = (
        f"{entry!r} is not one host and its port: write each as in api.example.com:443 or "
        "[::1]:8080, without scheme, path or wildcard, and commas between them"
    )
    raise ValueError(message)


def refuse_unlisted(address: str, allowed: frozenset[str]) -> None:
    """Raise `ToolFailedError` unless a `host:port` is allowed."""
    if address not in allowed:
        why = f"{address} is not an allowed host" if allowed else "No host is allowed here"
        message = (
            f"{why}, and nothing was sent to {address}: the operator lists hosts, each with its "
            "port, in SIGNALBOX_HTTP_ALLOW."
        )
        raise ToolFailedError(message)


def read_target(url: str) -> Target:
    """Parse a url, once: for the rules that judge the request and for the request itself."""
    parts = _URL.fullmatch(url)
    if parts is None:
        message = (
            "The url cannot be used: write it as in https://api.example.com:443/path?page=2, with "
            "http or https and a plain host, without user, password, fragment, space or backslash, "
            "and percent-encode what is not ASCII."
        )
        raise ToolFailedError(message)
    path = _clean_path(parts["path"] or "/")
    try:
        clean = httpx.URL(f"{parts['origin']}{path}{parts['query'] or ''}")
        _ = clean.host  # Decoded: a name that starts with `xn--` may be none.
    except (httpx.InvalidURL, UnicodeError):
        raise ToolFailedError("The host of the url is not a valid name or address.") from None
    return Target(clean, _address(clean), clean.raw_path.partition(b"?")[0].decode("ascii"))


def _clean_path(path: str) -> str:
    """Return the one spelling of a path, so that no encoding hides what is asked for."""
    if _AMBIGUOUS.search(path) or any(unquote(part) in {".", ".."} for part in path.split("/")):
        message = (
            "The path of the url is not sent as it is: it may have no dot segments, empty segments "
            "or semicolons, and no encoded slash, backslash, percent sign or control character."
        )
        raise ToolFailedError(message)
    return quote(unquote_to_bytes(path), safe=_PATH_SAFE)


def _address(url: httpx.URL) -> str:
    """Return `host:port` in its one spelling."""
    host = url.raw_host.decode("ascii").lower()
    port = url.port if url.port is not None else (443 if url.scheme == "https" else 80)
    if not 1 <= port <= _MAX_PORT:
        raise ToolFailedError(f"The url names port {port}; ports are 1 to {_MAX_PORT}.")
    if ":" in host:
        # An IPv6 address can be written in many ways.
        return f"[{ipaddress.IPv6Address(host).compressed}]:{port}"
    return f"{host}:{port}"
