"""A run's own folder: every path is walked component by component, so that no link leads out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from domain.errors import ToolFailedError

MAX_FILE_BYTES: Final = 1024**2
MAX_FILES: Final = 200
MAX_WORKSPACE_BYTES: Final = 20 * 1024**2
MAX_DEPTH: Final = 16
MAX_PATH_CHARS: Final = 1_000
MAX_ENTRIES: Final = 5_000
"""Files and folders looked at: a program may have made any number of them."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileEntry(NamedTuple):
    """One regular file of the workspace."""

    path: str
    size: int


class Listing(NamedTuple):
    """The regular files of the workspace, and whether some were not looked at."""

    files: list[FileEntry]
    complete: bool


class FoundFile(NamedTuple):
    """A regular file that was found, as it was then."""

    path: str
    status: os.stat_result


async def open_workspace(folder: Path) -> None:
    """Create the run's folder if it is not there yet."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)


def split_path(path: str) -> list[str]:
    """Return the components of a relative path; refuse whatever could lead out of the workspace."""
    # `isprintable` is false for NUL, line ends and lone surrogates alike.
    if not path or len(path) > MAX_PATH_CHARS or not path.isprintable():
        message = f"The path {path[:80]!r} is not a usable file name."
        raise ToolFailedError(message)
    parts = [part for part in path.split("/") if part not in {"", "."}]
    outside = path.startswith(("/", "~")) or ".." in parts or "\\" in path
    if outside or not parts or len(parts) > MAX_DEPTH:
        message = (
            f"The path {path[:80]!r} is refused: give a path relative to the workspace, with '/' "
            "and without '..'."
        )
        raise ToolFailedError(message)
    return parts


def read_text(root: Path, path: str) -> str:
    """Return the text of a file in the workspace."""
    parts = split_path(path)
    with _explained(path), open_parent(root, parts) as parent:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(parts[-1], flags, dir_fd=parent)
        try:
            _require_plain(os.fstat(fd), path)
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(fd)
    if len(data) > MAX_FILE_BYTES:
        message = f"The file {path!r} is larger than {MAX_FILE_BYTES} bytes and cannot be read."
        raise ToolFailedError(message)
    return _decoded(data, path)


def write_text(root: Path, path: str, content: str) -> int:
    """Write a file as a whole, or not at all; return its size in bytes."""
    parts = split_path(path)
    data = _encoded(content)
    with _explained(path):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_room(list_files(root), "/".join(parts), len(data))
        with open_parent(root, parts, create=True) as parent:
            with contextlib.suppress(FileNotFoundError):
                _require_plain(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False), path)
            _replace(parent, parts[-1], data)
    return len(data)


def list_files(root: Path) -> Listing:
    """Return the regular files of the workspace by path; links and special files are not listed."""
    if not root.exists():
        return Listing([], complete=True)
    found = list(walk(root))
    files = sorted(FileEntry(each.path, each.status.st_size) for each in found if each is not None)
    return Listing(files, complete=None not in found)


def walk(root: Path) -> Iterator[FoundFile | None]:
    """Yield the regular files below a folder, and `None` for what was not looked at.

    Raises `ToolFailedError` where there is no such folder.
    """
    with _explained("."):
        fd = os.open(root, _FOLDER)
        try:
            yield from _walk(fd, "", MAX_DEPTH, [MAX_ENTRIES])
        finally:
            os.close(fd)


def _walk(fd: int, prefix: str, depth: int, left: list[int]) -> Iterator[FoundFile | None]:
    """Yield the files below an open folder, and `None` for what was not looked at."""
    with os.scandir(fd) as entries:
        for entry in entries:
            left[0] -= 1
            if left[0] < 0:
                yield None
                return
            # A program that is still running may take files away meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield FoundFile(f"{prefix}{entry.name}", entry.stat(follow_symlinks=False))
                elif entry.is_dir(follow_symlinks=False):
                    yield from _walk_below(fd, entry.name, prefix, depth, left)


def _walk_below(
    fd: int, name: str, prefix: str, depth: int, left: list[int]
) -> Iterator[FoundFile | None]:
    if depth <= 1:
        yield None
        return
    try:
        below = os.open(name, _FOLDER, dir_fd=fd)
    except FileNotFoundError:
        return
    except OSError:  # a program has closed it to its owner, or put a link into its place
        yield None
        return
    try:
        yield from _walk(below, f"{prefix}{name}/", depth - 1, left)
    finally:
        os.close(below)


@contextlib.contextmanager
def open_parent(root: Path, parts: list[str], *, create: bool = False) -> Iterator[int]:
    """Open the folder that holds the last component, never following a link."""
    fd = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=fd)
            below = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn the operating system's refusals into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            message = f"There is no file {path!r} in the workspace."
        elif error.errno in {errno.ELOOP, errno.ENOTDIR}:
            message = f"The path {path!r} leads over a link or over something that is no folder."
        else:
            message = f"The file {path!r} cannot be used: {error.strerror}."
        raise ToolFailedError(message) from error


def shown(path: str) -> str:
    """Return a path for people and models: a program may give a file any name, and one with a line end
    would look like two."""
    return path if path.isprintable() else ascii(path)


def _require_plain(status: os.stat_result, path: str) -> None:
    # A second name may belong to a file outside, which a write-through or a read would reach.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        message = f"{path!r} is not a plain file (it is a folder, a link or a device)."
        raise ToolFailedError(message)


def _require_room(listing: Listing, path: str, size: int) -> None:
    others = [entry for entry in listing.files if entry.path != path]
    if not listing.complete or len(others) >= MAX_FILES:
        message = f"The workspace is full: it may hold {MAX_FILES} files."
        raise ToolFailedError(message)
    if sum(entry.size for entry in others) + size > MAX_WORKSPACE_BYTES:
        message = f"The workspace is full: it may hold {MAX_WORKSPACE_BYTES} bytes."
        raise ToolFailedError(message)


def _replace(parent: int, name: str, data: bytes) -> None:
    temporary = f".{secrets.token_hex(8)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        os.unlink(temporary, dir_fd=parent)
        raise


def _encoded(content: str) -> bytes:
    try:
        data = content.encode("utf-8")
    except UnicodeEncodeError as error:
        message = "The content has a character that is not valid Unicode text."
        raise ToolFailedError(message) from error
    if len(data) > MAX_FILE_BYTES:
        message = f"The content has {len(data)} bytes; a file may have {MAX_FILE_BYTES}."
        raise ToolFailedError(message)
    return data


def _decoded(data: bytes, path: str) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        message = f"The file {path!r} is binary; only text files can be read."
        raise ToolFailedError(message)
    return text
