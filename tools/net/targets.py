"""Where a request may go: one spelling of each address, read once for who judges it and who sends it."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes, urljoin

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
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))

_UNUSABLE: Final = (
    "The url cannot be used: write it as in https://api.example.com:443/path?page=2, with "
    "http or https and a plain host, without user, password, fragment, space or backslash, "
    "and percent-encode what is not ASCII."
)


class Target(NamedTuple):
    """Where a request goes: what is judged is read from the url that is sent."""

    url: httpx.URL
    address: str
    path: str

    @property
    def host(self) -> str:
        """Return the name or the IP address, without brackets and in small letters."""
        return self.url.raw_host.decode("ascii").lower()

    @property
    def port(self) -> int:
        """Return the port, also where the url leaves it to its scheme."""
        return int(self.address.rpartition(":")[2])


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


def read_target(url: str) -> Target:
    """Parse a url, once: for the rules that judge the request and for the request itself."""
    parts = _parts(url)
    return _target(parts["origin"], _clean_path(parts["path"] or "/"), parts["query"] or "")


def read_page(url: str) -> Target:
    """Parse the url of a page, of which no rule judges the path; a fragment is left out.

    Raises `ToolFailedError` where its host could be read in more than one way.
    """
    whole, hash_, _ = url.partition("#")
    parts = _parts(whole)
    if hash_ and parts["path"] is None:
        raise ToolFailedError(_UNUSABLE)
    return _target(parts["origin"], parts["path"] or "/", parts["query"] or "")


def read_redirect(target: Target, location: str) -> Target:
    """Return where a redirect of a page leads. Raises `ToolFailedError` where it is not followed."""
    # Header values come as bytes; what is not ASCII in them is UTF-8 as a rule.
    plain = quote(location.encode("latin-1"), safe=_PRINTABLE)
    try:
        led = read_page(urljoin(str(target.url), plain))
    except (ToolFailedError, ValueError):
        raise ToolFailedError("The page redirects to a url that cannot be used.") from None
    if target.url.scheme == "https" and led.url.scheme == "http":
        message = (
            "The page redirects from https to http, which is not followed: anybody could read on."
        )
        raise ToolFailedError(message)
    return led


def spell_address(host: str, port: int) -> str:
    """Return `host:port` in its one spelling."""
    if ":" in host:
        # An IPv6 address can be written in many ways.
        return f"[{ipaddress.IPv6Address(host).compressed}]:{port}"
    return f"{host}:{port}"


def _parts(url: str) -> re.Match[str]:
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ToolFailedError(_UNUSABLE)
    return parts


def _target(origin: str, path: str, query: str) -> Target:
    try:
        clean = httpx.URL(f"{origin}{path}{query}")
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
    port = url.port if url.port is not None else (443 if url.scheme == "https" else 80)
    if not 1 <= port <= _MAX_PORT:
        raise ToolFailedError(f"The url names port {port}; ports are 1 to {_MAX_PORT}.")
    return spell_address(url.raw_host.decode("ascii").lower(), port)
