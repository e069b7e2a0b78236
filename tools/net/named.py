"""Which hosts a text names: those that its writer meant, and no relatives of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# Not within another URL, and not where an `@` follows: what stands before that is a user, and no host.
_ORIGIN: Final = re.compile(
    r"(?<![^\s<>\"'`(\[{,;:*_|])(?P<scheme>https?)://(?P<host>[\w.-]++|\[[0-9a-f:.]++\])"
    r"(?::(?P<port>\d{1,5}+))?+(?![^\s/?#]*@)",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\s,;]+")
_AROUND: Final = "()[]{}<>\"'`:!?*_."
_BARE: Final = re.compile(
    r"(?P<host>(?:[a-z0-9-]{1,63}\.){1,30}(?:[a-z][a-z0-9-]{1,62}|[0-9]{1,3}))(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)

_FILES: Final = frozenset({"md", "py", "sh", "zip", "rs", "pl", "ps", "mov", "so", "cc"})
"""Endings of files that are those of countries or the like, too: `report.md` is a file."""

_USUAL: Final = {"http": "80", "https": "443"}


def is_named(address: str, text: str) -> bool:
    """Return whether a text names a `host:port`, by a URL or by a bare name or address.

    A bare one without a port stands for the web's ports; `example.com` stands for none of its subdomains.
    """
    host, _, port = address.rpartition(":")
    return any(
        _is(host, each["host"]) and port == (each["port"] or _USUAL[each["scheme"].lower()])
        for each in _ORIGIN.finditer(text)
    ) or any(
        port in ({each["port"]} if each["port"] else set(_USUAL.values()))
        for each in _bare(text)
        if _is(host, each["host"])
    )


def _bare(text: str) -> Iterator[re.Match[str]]:
    for word in _WORD.findall(text):
        named = _BARE.fullmatch(word.strip(_AROUND).partition("/")[0].rstrip(_AROUND))
        is_url = "://" in word or "@" in word
        if named and not is_url and named["host"].rpartition(".")[2].lower() not in _FILES:
            yield named


def _is(host: str, written: str) -> bool:
    return written.rstrip(".").lower() == host
