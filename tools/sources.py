"""Keeps what a run's tools have answered, each text under its hash, and where the pages lead that it read.

An answer is checked against these texts, and a page is opened only if one of them names it. All of it blocks.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from domain.errors import ToolFailedError
from tools.beneath import FILE, add_name
from tools.workspace import write_bytes

MAX_TEXT_BYTES: Final = 2 * 1024**2
"""Of one text; what is longer is kept up to here."""
MAX_RUN_TEXTS: Final = 2_000
"""Texts of one run; later ones are not kept."""
MAX_LINKS: Final = 500
"""Links of one page."""
MAX_URL_CHARS: Final = 2_000

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LINKS: Final = ".links"


def keep_text(folder: Path, text: str) -> str | None:
    """Keep a text and return its SHA-256; `None` where it cannot be kept.

    That ends no tool: what is not kept can be read all the same, it is only not there to be checked against.
    """
    data = text.encode("utf-8", "replace")[:MAX_TEXT_BYTES]
    # Cut within a character, the rest would be no text.
    data = data.decode("utf-8", "ignore").encode()
    return _keep(folder, data, "")


def read_text(folder: Path, sha256: str) -> str | None:
    """Return a text that was kept; `None` where it is not there, or is not what it was."""
    if not _SHA256.fullmatch(sha256):
        return None
    data = _read(folder / sha256)
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        return None
    return data.decode("utf-8", "replace")


def list_texts(folder: Path) -> list[tuple[str, int]]:
    """Return the hash and the size of each text that is kept, in order."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry.name, entry.stat(follow_symlinks=False).st_size)
                for entry in entries
                if _SHA256.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return []


def take_texts(folder: Path, of: Path, hashes: Iterable[str]) -> bool:
    """Give a run texts that are kept of another; return whether they are all there now."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for sha256 in hashes:
            if not _SHA256.fullmatch(sha256):
                return False
            add_name(of / sha256, folder / sha256)
    except OSError:
        return False
    return True


def keep_links(folder: Path, urls: Iterable[str]) -> None:
    """Note that the run may open these, as far as there is room."""
    lines: dict[str, None] = {}
    for url in urls:
        if len(lines) == MAX_LINKS:
            break
        if url and len(url) <= MAX_URL_CHARS and url.isascii() and url.isprintable():
            lines[url] = None
    if lines:
        _keep(folder, "\n".join(lines).encode(), _LINKS)


def kept_links(folder: Path) -> frozenset[str]:
    """Return every link that was noted."""
    found: set[str] = set()
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if name.endswith(_LINKS)]  # noqa: PTH208 - names
        for name in names:
            found.update((_read(folder / name) or b"").decode("utf-8", "replace").split("\n"))
    return frozenset(found - {""})


def _keep(folder: Path, data: bytes, suffix: str) -> str | None:
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"{sha256}{suffix}"
    with suppress(OSError, ToolFailedError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / name).exists():
            if len(os.listdir(folder)) >= MAX_RUN_TEXTS:  # noqa: PTH208 - only how many
                return None
            write_bytes(folder, name, data)
        return sha256
    return None


def _read(place: Path) -> bytes | None:
    try:
        with os.fdopen(os.open(place, FILE), "rb") as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except OSError:
        return None
