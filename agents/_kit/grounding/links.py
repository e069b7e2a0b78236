"""Finds the addresses and the source marks of an answer that lead nowhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from agents._kit.grounding.characters import plain
from agents._kit.grounding.layout import URL, Layout, Mark, trim_url
from domain.agent import Citation

_PORTS: Final = {"http": 80, "https": 443}
_OWN_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})  # noqa: S104 - names, not binds
_SOURCE_LINE: Final = re.compile(
    r"^[ \t]*(?:[-*+][ \t]+)?\[(\d{1,4})\]:?[ \t]+(.{1,2000})$", re.MULTILINE
)


class MarkFault(NamedTuple):
    """A mark that names no source, or the wrong one."""

    text: str
    reason: str


def normal_url(url: str) -> str:
    """Return an address so that two ways to write the same one are equal."""
    url = url if "://" in url[:10] else f"https://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    at = f":{port}" if port and port != _PORTS.get(scheme) else ""
    query = f"?{unquote(parts.query)}" if parts.query else ""
    return f"{scheme}://{host}{at}{unquote(parts.path).rstrip('/')}{query}"


def read_urls(texts: Iterable[str]) -> frozenset[str]:
    """Return every address that stands in some texts, normalised."""
    found: set[str] = set()
    for text in texts:
        for way in {text, html.unescape(text).replace("\\/", "/").replace("\\_", "_")}:
            found.update(URL.findall(plain(way)))
    return frozenset(normal_url(trim_url(url)) for url in found)


def find_unknown_urls(layout: Layout, known: frozenset[str]) -> Iterator[str]:
    """Yield the addresses of an answer that nothing read has named."""
    for text in dict.fromkeys(span.text for span in layout.urls):
        url = normal_url(text)
        if url not in known and not _is_own(url):
            yield text


def find_false_marks(
    layout: Layout, citations: Sequence[Citation], texts: Sequence[str]
) -> Iterator[MarkFault]:
    """Yield the marks of an answer that are no source of its own, and the lines that mix two up.

    `texts` is what the agent was told: a mark that stands there may be repeated.
    """
    numbers = {citation["number"]: citation for citation in citations}
    told: set[str] = set()
    for mark in layout.marks:
        if mark.text in told:
            continue
        unknown = [number for number in mark.numbers if number not in numbers]
        if not unknown or _is_index(mark, layout, known=bool(set(mark.numbers) & numbers.keys())):
            continue
        if any(mark.text in text for text in texts):
            continue
        told.add(mark.text)
        yield MarkFault(mark.text, _unknown(unknown, sorted(numbers)))
    yield from _find_mixed_up(layout, numbers)


def _is_own(url: str) -> bool:
    return (urlsplit(url).hostname or "") in _OWN_HOSTS


def _is_index(mark: Mark, layout: Layout, *, known: bool) -> bool:
    """Return whether brackets with numbers are a list, or a place in one, rather than a mark."""
    if len(mark.numbers) > 1 and not known:
        return True
    before = layout.text[max(mark.start - 40, 0) : mark.start]
    if re.search(r"[=(\[{]\s*$", before):
        return True
    name = re.search(r"[\w)]+$", before)
    return name is not None and ("_" in name[0] or name[0].endswith(")") or mark.numbers == (0,))


def _unknown(numbers: Sequence[int], known: Sequence[int]) -> str:
    marks = ", ".join(f"[{number}]" for number in numbers)
    if not known:
        return (
            f"{marks} is no source: nothing that was read has this number. "
            "Search first, or leave the mark out."
        )
    there = f"[{known[0]}]" if len(known) == 1 else f"[{known[0]}] to [{known[-1]}]"
    return (
        f"No source that was read has the number {marks}; there are {there}. "
        "Put the mark of the source that says this."
    )


def _find_mixed_up(layout: Layout, numbers: Mapping[int, Citation]) -> Iterator[MarkFault]:
    for line in _SOURCE_LINE.finditer(layout.text):
        own = numbers.get(int(line[1]))
        if own is None or _names(line[2], own["source"]):
            continue
        others = [
            n for n, one in numbers.items()
            if one["source"] != own["source"] and _names(line[2], one["source"])
        ]  # fmt: skip
        if others:
            yield MarkFault(
                line[0].strip()[:300],
                f"The source of [{line[1]}] is {own['source']!r}; what stands behind it is that of "
                f"[{others[0]}]. Put the two together as the search numbered them.",
            )


def _names(line: str, source: str) -> bool:
    if source in line:
        return True
    return normal_url(source) in {normal_url(trim_url(url)) for url in URL.findall(line)}
