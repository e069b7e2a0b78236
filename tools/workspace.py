"""A run's own folder: files in it are read and written beneath it, so that no link leads out."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from domain.errors import ToolFailedError
from domain.sandbox import USUAL_LIMITS
from tools.beneath import FOLDER, open_beneath
from tools.limits import cut_result

MAX_FILE_BYTES: Final = 1024**2
"""How much of a file is read as text, and the most that one may be written with."""
SHOWN_CHARS: Final = 15_000
"""Of a longer text; together with the note this stays below the limit of one tool result."""
MAX_FILES: Final = USUAL_LIMITS.workspace_entries
"""Files and folders; programs are held to the same."""
MAX_WORKSPACE_BYTES: Final = USUAL_LIMITS.workspace_bytes
MAX_DEPTH: Final = 16
MAX_PATH_CHARS: Final = 1_000
MAX_NAME_BYTES: Final = 255
"""What file systems take as the name of one file or folder."""
MAX_ENTRIES: Final = 5_000
"""Files and folders looked at: a program may have made any number of them."""

_PART: Final = re.compile(r"\.[0-9a-f]{16}\.part")
"""A file that is being written, before it takes its place."""

_TABLES: Final = frozenset(
    {".csv", ".tsv", ".xls", ".xlsx", ".xlsm", ".ods", ".parquet", ".feather", ".sqlite", ".db"}
)


class FileEntry(NamedTuple):
    """One regular file of the workspace."""

    path: str
    size: int


class Listing(NamedTuple):
    """The regular files of the workspace, and whether some were not looked at."""

    files: list[FileEntry]
    complete: bool
    folders: frozenset[str] = frozenset()


class FoundFile(NamedTuple):
    """A regular file that was found, as it was then."""

    path: str
    status: os.stat_result


async def open_workspace(folder: Path) -> None:
    """Create the run's folder if it is not there yet."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)


def sweep(root: Path) -> None:
    """Remove what a process left that was killed while it wrote: nobody would ever finish it.

    For a folder into which nobody writes meanwhile; what cannot be removed stays.
    """
    if not root.exists():
        return
    for found in list(walk(root)):
        if isinstance(found, FoundFile):
            *folders, name = found.path.split("/")
            if _PART.fullmatch(name):
                with contextlib.suppress(OSError), open_beneath(root) as folder:
                    parent = folder.open_folder(folders)
                    try:
                        os.unlink(name, dir_fd=parent)
                    finally:
                        os.close(parent)


def split_path(path: str) -> list[str]:
    """Return the components of a relative path; refuse whatever could lead out of the workspace."""
    # `isprintable` is false for NUL, line ends and lone surrogates alike.
    if not path or len(path) > MAX_PATH_CHARS or not path.isprintable():
        message = f"The path {path[:80]!r} is not a usable file name."
        raise ToolFailedError(message)
    parts = [part for part in path.split("/") if part not in {"", "."}]
    outside = path.startswith(("/", "~")) or ".." in parts or "\\" in path
    long = any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts)
    if outside or not parts or len(parts) > MAX_DEPTH or long:
        message = (
            f"The path {path[:80]!r} is refused: give a path relative to the workspace, with '/', "
            f"without '..', and with at most {MAX_NAME_BYTES} bytes for each name in it."
        )
        raise ToolFailedError(message)
    return parts


@contextlib.contextmanager
def open_file(root: Path, path: str, *, walk: bool = False) -> Iterator[BinaryIO]:
    """Open a plain file of the workspace for reading. `walk`: without help of the kernel."""
    parts = split_path(path)
    with contextlib.ExitStack() as stack:
        with _explained(path):
            folder = stack.enter_context(open_beneath(root, walk=walk))
            fd = folder.open(parts)
            stack.callback(os.close, fd)
            require_plain(os.fstat(fd), path)
        yield stack.enter_context(os.fdopen(fd, "rb", closefd=False))


def read_text(root: Path, path: str, *, walk: bool = False) -> str:
    """Return the text of a file, of a long one its beginning and how much was left out.

    Refuses what is no text: bytes of any other kind must not reach a prompt.
    """
    with open_file(root, path, walk=walk) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) <= MAX_FILE_BYTES:
        return cut_result(_decoded(data, path, len(data)))
    size = max(size, len(data))
    # The cut may have gone through a character, of at most four bytes.
    text = _decoded(data[:MAX_FILE_BYTES], path, size, whole=False)
    shown = text[:SHOWN_CHARS]
    return f"{shown}\n[{size - len(shown.encode())} of {size} bytes left out]"


def write_text(root: Path, path: str, content: str, *, walk: bool = False) -> int:
    """Write a file as a whole, or not at all; return its size in bytes."""
    data = _encoded(content)
    parts = split_path(path)
    with _explained(path):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_room(list_files(root), parts, len(data))
    write_bytes(root, path, data, walk=walk)
    return len(data)


def write_bytes(
    root: Path, path: str, data: bytes, *, walk: bool = False, durable: bool = False
) -> None:
    """Write a file as a whole, or not at all, into a folder that is there.

    `durable`: its content is on the disk when this returns; its name is, once its folders are synced.
    """
    parts = split_path(path)
    with _explained(path), open_beneath(root, walk=walk) as folder:
        parent = folder.open_folder(parts[:-1], create=0o700)
        try:
            with contextlib.suppress(FileNotFoundError):
                require_plain(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False), path)
            _replace(parent, parts[-1], data, durable=durable)
        finally:
            os.close(parent)


def list_files(root: Path) -> Listing:
    """Return the regular files of the workspace by path; links and special files are not listed."""
    if not root.exists():
        return Listing([], complete=True)
    found = list(walk(root))
    files = sorted(
        FileEntry(each.path, each.status.st_size) for each in found if isinstance(each, FoundFile)
    )
    folders = frozenset(each for each in found if isinstance(each, str))
    return Listing(files, complete=None not in found, folders=folders)


def walk(root: Path) -> Iterator[FoundFile | str | None]:
    """Yield the regular files below a folder, the paths of its folders, `None` for what was not looked at.

    Raises `ToolFailedError` where there is no such folder.
    """
    with _explained("."):
        fd = os.open(root, FOLDER)
        try:
            yield from _walk(fd, "", MAX_DEPTH, [MAX_ENTRIES])
        finally:
            os.close(fd)


def _walk(fd: int, prefix: str, depth: int, left: list[int]) -> Iterator[FoundFile | str | None]:
    """Yield what `walk` does, of an open folder."""
    with os.scandir(fd) as entries:
        for entry in entries:
            left[0] -= 1
            if left[0] < 0:
                yield None
                return
            # A program that is still running may take files away meanwhile, or put links in their place.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if entry.is_file(follow_symlinks=False):
                    yield FoundFile(f"{prefix}{entry.name}", entry.stat(follow_symlinks=False))
                elif entry.is_dir(follow_symlinks=False):
                    yield from _walk_below(fd, entry.name, prefix, depth, left)


def _walk_below(
    fd: int, name: str, prefix: str, depth: int, left: list[int]
) -> Iterator[FoundFile | str | None]:
    if depth <= 1:
        yield None
        return
    try:
        below = os.open(name, FOLDER, dir_fd=fd)
    except FileNotFoundError:
        return
    except OSError:  # a program has closed it to its owner, or put a link into its place
        yield None
        return
    try:
        yield f"{prefix}{name}"
        yield from _walk(below, f"{prefix}{name}/", depth - 1, left)
    finally:
        os.close(below)


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


def require_plain(status: os.stat_result, path: str) -> None:
    """Refuse, in a sentence that names the path, whatever is no regular file with one name only."""
    # A second name may belong to a file outside, which a write-through or a read would reach.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        message = f"{path!r} is not a plain file (it is a folder, a link, a device, or has a second name)."
        raise ToolFailedError(message)


def _require_room(listing: Listing, parts: list[str], size: int) -> None:
    path = "/".join(parts)
    others = [entry for entry in listing.files if entry.path != path]
    above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    entries = len(others) + len(listing.folders | above)
    if not listing.complete or entries >= MAX_FILES:
        message = f"The workspace is full: it may hold {MAX_FILES} files and folders."
        raise ToolFailedError(message)
    if sum(entry.size for entry in others) + size > MAX_WORKSPACE_BYTES:
        message = f"The workspace is full: it may hold {MAX_WORKSPACE_BYTES} bytes."
        raise ToolFailedError(message)


def _replace(parent: int, name: str, data: bytes, *, durable: bool) -> None:
    temporary = f".{secrets.token_hex(8)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
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


def _decoded(data: bytes, path: str, size: int, *, whole: bool = True) -> str:
    """Return the text that some bytes are; `whole` says whether they end where the file does."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return text
    table = Path(path).suffix.lower() in _TABLES
    remedy = " It may be a table: describe_table or run_python can read it." if table else ""
    message = f"The file {path!r} is binary ({size} bytes); only text in UTF-8 is read.{remedy}"
    raise ToolFailedError(message)
