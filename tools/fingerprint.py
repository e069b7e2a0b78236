"""Tells whether two runs' folders hold the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from domain.errors import ToolFailedError
from tools.beneath import open_beneath
from tools.workspace import FoundFile, walk

MOST_BYTES: Final = 20 * 1024**2
"""Of all files together; a folder with more of them is like no other."""

SCRATCH: Final = ".tmp"
"""The folder that programs find there; as long as nothing is in it, it says nothing."""

_CHUNK: Final = 1024**2


def fingerprint(workspace: Path) -> str | None:
    """Return a hash of all that a folder holds; `None` where not everything could be looked at. Blocks."""
    if not workspace.is_dir():
        return _hashed([])
    try:
        found = list(walk(workspace))
    except (ToolFailedError, OSError):
        return None
    files = [each for each in found if isinstance(each, FoundFile)]
    if None in found or sum(file.status.st_size for file in files) > MOST_BYTES:
        return None
    try:
        lines = [f"{file.path}\n{_hash_file(workspace, file.path)}" for file in files]
    except (ToolFailedError, OSError):
        return None
    return _hashed([*lines, *(each for each in found if isinstance(each, str) and each != SCRATCH)])


def _hash_file(workspace: Path, path: str) -> str:
    sha256 = hashlib.sha256()
    with open_beneath(workspace) as folder:
        fd = folder.open(path.split("/"))
        with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor
            while part := file.read(_CHUNK):
                sha256.update(part)
    return sha256.hexdigest()


def _hashed(lines: list[str]) -> str:
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
