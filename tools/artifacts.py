"""Keeps the files that tools leave in a run's folder: found by what changed, copied to the run's shelf.

Whatever lies in a workspace was put there by a program that nobody has read. Paths are walked component by
component, no link is followed, nothing is parsed, and every size is bounded while it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from domain.artifact import (
    MAX_ARTIFACT_BYTES,
    MAX_ARTIFACTS,
    MAX_CALL_BYTES,
    MAX_RUN_BYTES,
)
from domain.errors import ToolFailedError
from tools.beneath import open_beneath, sync_folder
from tools.workspace import FoundFile, shown, walk

MAX_NAME_BYTES: Final = 1_000
"""The longest name of an artifact, in UTF-8: it is part of a key, which databases bound."""

MIB: Final = 1024**2
_CHUNK: Final = MIB

_MEDIA_TYPES: Final = {
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".htm": "text/html",
    ".html": "text/html",
    ".ipynb": "application/x-ipynb+json",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".webp": "image/webp",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}
"""What has to be the same on every machine, whatever its own table says."""

_TOO_LARGE: Final = f"larger than {MAX_ARTIFACT_BYTES // MIB} MiB"
_TOO_MUCH: Final = f"the files of one call may have {MAX_CALL_BYTES // MIB} MiB together"

_NOT_SEEN: Final = "folders that are too deep, closed or too many were not looked into"

_COMPRESSED: Final = {"gzip": "application/gzip"}
_UNKNOWN: Final = "application/octet-stream"


class Trace(NamedTuple):
    """What tells that a file is not what it was: a program can set its time, but not the last of these."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


Seen = Mapping[str, Trace]
"""The regular files of a workspace by path, as they were at one moment."""


class Kept(NamedTuple):
    """A file that lies on the shelf, under its hash."""

    name: str
    media_type: str
    size: int
    sha256: str


class Collected(NamedTuple):
    """What was kept, by name, and why other files were not, one sentence each."""

    files: list[Kept]
    skipped: list[str]
    seen: dict[str, Trace]
    """The files looked at, kept or not, as they were then."""


def look(workspace: Path) -> Seen:
    """Return the regular files of a workspace, as far as they are looked at; none where there is no folder.

    Blocks. Raises `ToolFailedError` where the workspace is no folder.
    """
    if not os.path.lexists(workspace):
        return {}
    return {found.path: _trace(found.status) for found in _files(workspace)}


def collect(workspace: Path, shelf: Path, before: Seen, *, only: str | None = None) -> Collected:
    """Copy every regular file that is new or changed since `before` to the shelf, within the limits.

    Blocks. `only`: the one path that counts. Raises nothing: what cannot be kept is named in `skipped`.
    Files and folders whose name begins with a dot, and `__pycache__`, are left out without a word.
    """
    files: list[Kept] = []
    skipped: list[str] = []
    seen: dict[str, Trace] = {}
    try:
        found, complete = _changed(workspace, before, only)
        if not complete and only is None:
            skipped.append(_NOT_SEEN)
        if not found:
            return Collected(files, skipped, seen)
        room = _Room.on(shelf)
    except ToolFailedError as error:
        return Collected(files, [error.detail], seen)
    except OSError as error:
        return Collected(files, [f"no file could be kept ({error.strerror})"], seen)
    for number, (path, status) in enumerate(found):
        seen[path] = _trace(status)
        if len(files) == MAX_ARTIFACTS:
            seen.update({each.path: _trace(each.status) for each in found[number:]})
            more = len(found) - number
            skipped.append(f"{more} more: one call may leave {MAX_ARTIFACTS} files")
            break
        kept = _keep(workspace, path, room)
        if isinstance(kept, Kept):
            files.append(kept)
        else:
            skipped.append(f"{shown(path)}: {kept}")
    return Collected(files, skipped, seen)


def media_type_of(name: str) -> str:
    """Return the media type that a file's name promises."""
    suffixes = PurePosixPath(name).suffixes
    known = _MEDIA_TYPES.get(suffixes[-1].lower()) if suffixes else None
    if known:
        return known
    # Python's own table, without the machine's; the suffixes alone, because `data:` would be a URL to it.
    found, encoding = mimetypes.MimeTypes().guess_type("file" + "".join(suffixes[-2:]))
    if encoding:
        return _COMPRESSED.get(encoding, _UNKNOWN)
    return found or _UNKNOWN


def _trace(status: os.stat_result) -> Trace:
    return Trace(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _changed(workspace: Path, before: Seen, only: str | None) -> tuple[list[FoundFile], bool]:
    """Return the files that are new or changed, by path, and whether every folder was looked into."""
    if not os.path.lexists(workspace):
        return [], True
    there = list(walk(workspace))
    changed = [
        found
        for found in there
        if isinstance(found, FoundFile)
        and only in {None, found.path}
        and _shows(found.path)
        and before.get(found.path) != _trace(found.status)
    ]
    return sorted(changed, key=lambda found: found.path), None not in there


def _files(workspace: Path) -> Iterator[FoundFile]:
    return (found for found in walk(workspace) if isinstance(found, FoundFile))


def _shows(path: str) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in path.split("/"))


@dataclass
class _Room:
    """A run's shelf, and how much more may be put on it by this call."""

    shelf: Path
    call: int
    """Bytes that this call may still leave."""
    run: int
    """Bytes that the run may still keep."""

    @classmethod
    def on(cls, shelf: Path) -> _Room:
        shelf.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.scandir(shelf) as entries:
            used = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
        return cls(shelf, MAX_CALL_BYTES, MAX_RUN_BYTES - used)


def _keep(workspace: Path, path: str, room: _Room) -> Kept | str:
    """Copy one file to the shelf; return what it is there, or why it was not kept."""
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "its name is not valid Unicode text"
    if length > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES} bytes"
    try:
        with _opened(workspace, path) as fd:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                # A second name may belong to a file outside.
                return "it is not a plain file with one name"
            return _copy(fd, path, status.st_size, room)
    except OSError as error:
        return f"it could not be kept ({error.strerror})"


@contextlib.contextmanager
def _opened(workspace: Path, path: str) -> Iterator[int]:
    with open_beneath(workspace) as folder:
        fd = folder.open(path.split("/"))
    try:
        yield fd
    finally:
        os.close(fd)


def _copy(source: int, name: str, size: int, room: _Room) -> Kept | str:
    if size > MAX_ARTIFACT_BYTES:
        return _TOO_LARGE
    if size > room.call:
        return _TOO_MUCH
    temporary = room.shelf / f".{secrets.token_hex(8)}.part"
    try:
        written = _write(source, temporary, MAX_ARTIFACT_BYTES)
        if written is None:
            return _TOO_LARGE
        sha256, size = written
        if size > room.call:
            return _TOO_MUCH
        place = room.shelf / sha256
        known = place.exists()
        if not known and size > room.run:
            return f"the files of a run may have {MAX_RUN_BYTES // MIB} MiB together"
        temporary.rename(place)
        sync_folder(room.shelf)  # a row will name what lies there
    finally:
        temporary.unlink(missing_ok=True)
    room.call -= size
    room.run -= 0 if known else size
    return Kept(name, media_type_of(name), size, sha256)


def _write(source: int, target: Path, most: int) -> tuple[str, int] | None:
    """Copy what can be read; return its hash and size, `None` where it is more than `most` bytes.

    Counted while it is read: the file may grow meanwhile.
    """
    digest, size = hashlib.sha256(), 0
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        while data := os.read(source, min(_CHUNK, most + 1 - size)):
            size += len(data)
            if size > most:
                return None
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size
