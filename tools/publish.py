"""The tool that copies a file of the workspace to where people outside of the run find it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field

from domain.errors import EffectUnknownError, ToolFailedError
from domain.run import RunContext
from domain.sandbox import USUAL_LIMITS
from domain.tool import Pinned
from tools.beneath import Beneath, open_beneath
from tools.workspace import open_file, split_path

MAX_BYTES: Final = USUAL_LIMITS.file_bytes
"""The largest file that is published: no program can make a larger one."""

JOURNAL: Final = ".signalbox"
"""Where the output folder keeps what was being published, and copies that are not complete yet."""

JOURNAL_SECONDS: Final = 7 * 86_400
"""How long a note in there is kept: afterwards nobody comes to ask any more."""

OFF: Final = "Files cannot be published on this server: SIGNALBOX_OUTPUT_DIR is not set."

_CHUNK: Final = 1024**2
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PublishFileArgs(BaseModel):
    """The arguments of `publish_file`."""

    path: str = Field(description="Path of the file, relative to the workspace.")
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Leave it out: the server fills in which content is meant.",
    )


async def pin_file(args: Mapping[str, Any], context: RunContext) -> Pinned:
    """Return the hash of the file as it stands; raises `ToolFailedError` where it cannot be read."""
    path = str(args["path"])
    digest, size = await asyncio.to_thread(_measure, context.workspace, path)
    return Pinned(digest, f"{path} ({size} bytes)")


def make_publish_file(folder: OutputFolder | None) -> BaseTool:
    """Return the tool `publish_file`; without a folder it refuses every call."""

    async def publish_file(
        path: str, runtime: ToolRuntime[RunContext, Any], sha256: str | None = None
    ) -> str:
        if folder is None:
            raise ToolFailedError(OFF)
        if sha256 is None:
            raise ToolFailedError("The call does not say which content of the file is meant.")
        context = runtime.context
        place = [context.run_id, *split_path(path)]
        # Outside of a ledger there is no key, and nobody who would ask for it.
        key = context.action_id or f"none_{secrets.token_hex(16)}"
        size = await asyncio.to_thread(folder.publish, context.workspace, place, sha256, key)
        return f"Published {size} bytes as {'/'.join(place)} in the output folder."

    return StructuredTool.from_function(
        coroutine=publish_file,
        name="publish_file",
        description=(
            "Copy a file of the run's workspace to the output folder, where people find it; "
            "an earlier copy of the same path is replaced."
        ),
        args_schema=PublishFileArgs,
    )


class OutputFolder:
    """The folder that files are published to, and its journal.

    Before a file takes its place, a note is on the disk of what takes whose: after a crash in between,
    what lies there tells whether it did.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, workspace: Path, place: Sequence[str], sha256: str, key: str) -> int:
        """Put a copy of a file to its place, the run's id and its path in the workspace; return its size.

        Raises `ToolFailedError` where nothing happened, as where the file has another hash by now, and
        `EffectUnknownError` where the disk failed after it had.
        """
        _check_names(place[0], key)
        part = f"{key}.part"
        with _explained("/".join(place)), contextlib.ExitStack() as stack:
            out = stack.enter_context(open_beneath(self._root))
            journal = _enter(stack, out, [JOURNAL], mode=0o700)
            _forget_old(journal)
            _remove(journal, part)
            stack.callback(_remove, journal, part)
            size = _copy(workspace, "/".join(place[1:]), sha256, journal, part)
            parent = _enter(stack, out, place[:-1], mode=0o777)
            note = {"path": "/".join(place), "sha256": sha256, "before": _hash_of(out, place)}
            _write_note(journal, key, json.dumps(note).encode())
            os.rename(part, place[-1], src_dir_fd=journal, dst_dir_fd=parent)
        try:
            self._sync(place[:-1])
        except OSError as error:
            message = f"{'/'.join(place)} is published, but the disk failed: {error.strerror}."
            raise EffectUnknownError(message) from error
        return size

    async def check(self, key: str) -> Literal["done", "not_done", "unknown"]:
        """Return what became of the publication under a key; raises where it cannot be found out."""
        return await asyncio.to_thread(self._look_up, key)

    def _look_up(self, key: str) -> Literal["done", "not_done", "unknown"]:
        _check_names("", key)
        with open_beneath(self._root) as out:
            try:
                fd = out.open([JOURNAL, f"{key}.json"])
            except FileNotFoundError:
                return "not_done"
            with os.fdopen(fd, "rb") as file:
                note: dict[str, Any] = json.loads(file.read())
            now = _hash_of(out, note["path"].split("/"))
        if now == note["sha256"]:
            return "done"
        return "not_done" if now == note["before"] else "unknown"

    def _sync(self, folders: Sequence[str]) -> None:
        """Have the names in these folders survive a power cut, the folders' own included."""
        with open_beneath(self._root) as out:
            for depth in range(len(folders) + 1):
                fd = out.open_folder(folders[:depth])
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)


def _check_names(run_id: str, key: str) -> None:
    if not _KEY.fullmatch(key) or (run_id and not _KEY.fullmatch(run_id)):
        raise ToolFailedError(f"{run_id[:80]!r} and {key[:80]!r} cannot be names of files.")


def _enter(stack: contextlib.ExitStack, out: Beneath, parts: Sequence[str], *, mode: int) -> int:
    """Return the descriptor of a folder, which is made where it is not there, until the stack unwinds."""
    fd = out.open_folder(parts, create=mode)
    stack.callback(os.close, fd)
    return fd


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn the operating system's refusals into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            message = (
                f"{place!r} leads over a link in the output folder, or over what is no folder."
            )
        else:
            message = f"{place!r} cannot be published: {error.strerror}."
        raise ToolFailedError(message) from error


def _measure(workspace: Path, path: str) -> tuple[str, int]:
    with open_file(workspace, path) as source:
        return _transfer(source, path)


def _copy(workspace: Path, path: str, sha256: str, folder: int, name: str) -> int:
    """Copy a file under a name in a folder, onto the disk; return its size."""
    # As any new file of the server: who may read it is decided by its umask.
    fd = os.open(name, _NEW, 0o666, dir_fd=folder)
    with os.fdopen(fd, "wb") as target, open_file(workspace, path) as source:
        found, size = _transfer(source, path, target)
        target.flush()
        os.fsync(fd)
    if found != sha256:
        message = (
            f"The file {path!r} has changed since this call was made, and was not published. Call "
            "publish_file again to ask about the new content."
        )
        raise ToolFailedError(message)
    return size


def _transfer(source: BinaryIO, path: str, target: BinaryIO | None = None) -> tuple[str, int]:
    """Return the hash and the size of a file, each byte read once; write them to `target`."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > MAX_BYTES:
            raise ToolFailedError(f"The file {path!r} has more than {MAX_BYTES} bytes.")
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size


def _hash_of(out: Beneath, place: Sequence[str]) -> str | None:
    """Return the hash of a published file, `None` where there is none."""
    try:
        fd = out.open(place)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ToolFailedError(f"{'/'.join(place)!r} in the output folder is no plain file.")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        os.close(fd)


def _write_note(journal: int, key: str, note: bytes) -> None:
    """Have a note on the disk, as a whole."""
    name, temporary = f"{key}.json", f"{key}.new"
    _remove(journal, temporary)
    fd = os.open(temporary, _NEW, 0o600, dir_fd=journal)
    with os.fdopen(fd, "wb") as file:
        file.write(note)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, name, src_dir_fd=journal, dst_dir_fd=journal)
    os.fsync(journal)


def _forget_old(journal: int) -> None:
    """Remove notes that nobody comes to ask for any more, and copies that were cut off."""
    before = time.time() - JOURNAL_SECONDS
    with os.scandir(journal) as entries:
        for entry in entries:
            # Another process may be at it as well; what cannot be removed is no reason not to publish.
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.name, dir_fd=journal)


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
