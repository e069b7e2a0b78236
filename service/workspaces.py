"""The folders of runs on this machine: filled, found and removed, without following a link out of them."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import heapq
import logging
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from domain.artifact import InputFile
from domain.ports import RunRef
from domain.run import Run, RunContext
from tools.beneath import FOLDER, Beneath, add_name, open_beneath, sync_folder
from tools.workspace import MAX_WORKSPACE_BYTES, sweep, walk, write_bytes

PIECE_BYTES: Final = 1024**2
"""How much of a file is copied at once."""

_log = logging.getLogger("signalbox.workspaces")


class RunFolders(NamedTuple):
    """Where a run's files lie, each kind below a folder of its own."""

    workspaces: Path
    """What agents work in."""
    shelves: Path
    """The artifacts, each under its hash."""
    sources: Path
    """What the tools have answered, each text under its hash."""

    @classmethod
    def below(cls, data: Path) -> RunFolders:
        """Return the folders of a data directory."""
        return cls(*(data.resolve() / name for name in ("workspaces", "artifacts", "sources")))

    def of(self, ref: RunRef) -> RunFolders:
        """Return the folders of one run."""
        return RunFolders(*(root / ref.tenant_id / ref.run_id for root in self))


def context_of(run: Run, folders: RunFolders) -> RunContext:
    """Return what nodes and tools read of a run that stands in its row, with its own folders."""
    own = folders.of(RunRef(run.tenant_id, run.id))
    return RunContext(
        run_id=run.id,
        tenant_id=run.tenant_id,
        thread_id=run.thread_id,
        attempt=run.attempt,
        max_rounds=run.budget.max_rounds,
        max_tier=run.budget.max_tier or "deep",
        task=run.task,
        workspace=own.workspaces,
        shelf=own.shelves,
        sources=own.sources,
        files=run.files,
        agents=run.agents,
        approval_mode=run.approval_mode,
        validation=run.validation,
        output_schema=run.output_schema,
        cache_seconds=run.cache_seconds,
        cache_web=run.cache_web,
    )


class NewFile(NamedTuple):
    """A file for a workspace."""

    name: str
    """Its path in there, as `tools.workspace.split_path` takes it."""
    content: bytes


def fill_workspace(root: Path, ref: RunRef, files: Sequence[NewFile]) -> None:
    """Make a run's folder with files in it; when this returns, a power cut takes nothing of them.

    Raises `OSError` or `ToolFailedError`, and may leave a part of them then.
    """
    folder = root / ref.tenant_id / ref.run_id
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in files:
        write_bytes(folder, file.name, file.content, durable=True)
    made = [Path(place) for place, _, _ in os.walk(folder)]
    for place in (*made, folder.parent, root, root.parent):
        sync_folder(place)


def list_files(files: Sequence[NewFile]) -> tuple[InputFile, ...]:
    """Return what a run keeps of the files that came with its task."""
    return tuple(
        InputFile(
            name=file.name,
            size=len(file.content),
            sha256=hashlib.sha256(file.content).hexdigest(),
        )
        for file in files
    )


def share_kept(folders: RunFolders, whose: RunRef, ref: RunRef) -> None:
    """Give a run what is kept of another: its artifacts and what its tools have answered.

    The files are the same ones under a second name: neither run changes them, and each is removed alone.
    Raises `OSError`, and may leave a part of them then; to do it again is fine.
    """
    for kept, own in zip(folders.of(whose)[1:], folders.of(ref)[1:], strict=True):
        try:
            with os.scandir(kept) as entries:
                names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            continue  # it has kept none
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            add_name(kept / name, own / name)
        sync_folder(own)


def copy_folders(folders: RunFolders, whose: RunRef, ref: RunRef) -> None:
    """Give a run the files of another as they are now: a workspace of its own, and what is kept of it.

    That run may be working with them meanwhile, so links are not followed and no more is copied than a
    workspace may hold. Raises `OSError`, and may leave a part of them then.
    """
    found, own = folders.of(whose).workspaces, folders.of(ref).workspaces
    if found.is_dir() and not found.is_symlink():
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy_plain(found, own)
        sweep(own)
    share_kept(folders, whose, ref)


def _copy_plain(found: Path, own: Path) -> None:
    left = MAX_WORKSPACE_BYTES
    with open_beneath(found) as beneath:
        for each in walk(found):
            if isinstance(each, str):
                (own / each).mkdir(mode=0o700, exist_ok=True)
            # A second name may belong to a file outside.
            elif each and each.status.st_nlink == 1:
                with suppress(FileNotFoundError):  # taken away meanwhile
                    left -= _copy_file(beneath, each.path, own / each.path, most=left)


def _copy_file(beneath: Beneath, path: str, own: Path, *, most: int) -> int:
    """Copy a regular file; return its size."""
    fd = beneath.open(path.split("/"))
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return 0
        if status.st_size > most:
            raise OSError(errno.EDQUOT, "the workspace holds more than it may")
        mode = 0o600 | (status.st_mode & stat.S_IXUSR)
        made = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(made, "wb") as copy:
            size = 0
            # It may grow while it is read.
            while size < most and (piece := file.read(min(PIECE_BYTES, most - size))):
                size += copy.write(piece)
    return size


def list_workspaces(root: Path, *, after: RunRef, limit: int) -> list[RunRef]:
    """Return whose folders there are, in order."""
    return heapq.nsmallest(limit, (ref for ref in _workspaces(root) if ref > after))


def changed_at(root: Path, ref: RunRef) -> float:
    """Return when something was last put into a folder or taken out of it; 0 where there is none."""
    with suppress(OSError):
        return (root / ref.tenant_id / ref.run_id).lstat().st_mtime
    return 0.0


async def remove_folders(roots: Iterable[Path], ref: RunRef) -> None:
    """Remove a run's folders below roots; that one cannot be removed costs no other its removal."""
    for root in roots:
        try:
            await asyncio.to_thread(remove_workspace, root, ref)
        except (OSError, RecursionError):
            fields = {"action": "folder_not_removed", "run_id": ref.run_id}
            _log.warning("A run's folder could not be removed.", extra=fields, exc_info=True)


def remove_workspace(root: Path, ref: RunRef) -> None:
    """Remove a folder with all there is in it; one that is not there is fine."""
    with suppress(FileNotFoundError):
        tenant = os.open(root / ref.tenant_id, FOLDER)
        try:
            _remove_folder(tenant, ref.run_id)
        finally:
            os.close(tenant)


def _remove_folder(parent: int, name: str) -> None:
    """Remove a folder, however deep: the folders within others are moved up and then emptied in turn.

    So neither the stack nor the length of a path sets an end to it.
    """
    top = _open_folder(parent, name)
    try:
        _empty(top, into=top)
        while folders := os.listdir(top):  # noqa: PTH208 - of a descriptor
            for folder in folders:
                within = _open_folder(top, folder)
                try:
                    _empty(within, into=top)
                finally:
                    os.close(within)
                os.rmdir(folder, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _empty(folder: int, *, into: int) -> None:
    """Remove a folder's files; its folders are moved, unless they are there already."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
        elif folder != into:
            # To be moved, a folder has to be open to its owner.
            os.chmod(entry.name, 0o700, dir_fd=folder)
            # A name that no program can have given to anything.
            os.rename(entry.name, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=into)


def _open_folder(parent: int, name: str) -> int:
    """Open a folder, also one that a program has closed to its owner; raises `OSError` for a link."""
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, FOLDER, dir_fd=parent)


def _workspaces(root: Path) -> Iterator[RunRef]:
    for tenant_id in _folders(root):
        for run_id in _folders(root / tenant_id):
            yield RunRef(tenant_id, run_id)


def _folders(place: Path) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.name
