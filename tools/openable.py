"""Which urls a run may open: a page read by a model could make it write what it knows into one of its own."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from domain.errors import ToolFailedError
from tools.net.named import is_named
from tools.net.targets import Target, read_page
from tools.sources import MAX_URL_CHARS, keep_links, kept_links

_URL: Final = re.compile(r"https?://[^\s<>\"`\\^{|}]{1,2000}", re.IGNORECASE)
_AFTER: Final = ".,;:!?)]*_'"
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


def read_url(url: str) -> Target:
    """Return where a url leads, in the one form in which urls are compared: without its fragment.

    Raises `ToolFailedError` where it is none that could be opened.
    """
    plain = quote(url.strip(string.whitespace), safe=_PRINTABLE)
    scheme, mark, rest = plain.partition("://")
    # With capitals in its scheme httpx would keep the port that the scheme stands for.
    target = read_page(f"{scheme.lower()}{mark}{rest}")
    if len(str(target.url)) > MAX_URL_CHARS:
        message = f"The url is longer than {MAX_URL_CHARS} characters and is not opened."
        raise ToolFailedError(message)
    return target


def spelled(url: str) -> str | None:
    """Return a url in the form in which urls are compared; `None` where it cannot be opened."""
    with suppress(ToolFailedError):
        return str(read_url(url).url)
    return None


def note_urls(folder: Path, urls: Iterable[str]) -> None:
    """Note in the run's sources that it may open these. Blocks."""
    keep_links(folder, filter(None, map(spelled, urls)))


def may_open(target: Target, task: str, folder: Path) -> bool:
    """Return whether the task names a url, or something that the run found or read. Blocks."""
    url = str(target.url)
    if url in set(_named(task)) or url in kept_links(folder):
        return True
    # A task may name a site by its host alone; that stands for its front page and nothing else.
    return target.url.raw_path == b"/" and is_named(target.address, task)


def _named(task: str) -> Iterator[str]:
    """Yield the urls of a text, with and without the punctuation that may belong to its sentence."""
    for found in _URL.findall(task):
        url = found
        while True:
            spelling = spelled(url)
            if spelling:
                yield spelling
            if url[-1] not in _AFTER:
                break
            url = url[:-1]
