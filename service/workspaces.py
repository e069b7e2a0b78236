"""The folders of runs on this machine: filled, found and removed, without following a link out of them."""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from domain.ports import RunRef
from tools.workspace import write_bytes

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
        _sync(place)


def _sync(folder: Path) -> None:
    fd = os.open(folder, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def list_workspaces(root: Path, *, after: RunRef, limit: int) -> list[RunRef]:
    """Return whose folders there are, in order."""
    return heapq.nsmallest(limit, (ref for ref in _workspaces(root) if ref > after))


def changed_at(root: Path, ref: RunRef) -> float:
    """Return when something was last put into a folder or taken out of it; 0 where there is none."""
    with suppress(OSError):
        return (root / ref.tenant_id / ref.run_id).lstat().st_mtime
    return 0.0


def remove_workspace(root: Path, ref: RunRef) -> None:
    """Remove a folder with all there is in it; one that is not there is fine."""
    with suppress(FileNotFoundError):
        tenant = os.open(root / ref.tenant_id, _FOLDER)
        try:
            _open_up(root / ref.tenant_id / ref.run_id)
            shutil.rmtree(ref.run_id, dir_fd=tenant)
        finally:
            os.close(tenant)


def _open_up(folder: Path) -> None:
    """Let folders be emptied that a program has closed to its owner."""
    if not folder.is_symlink():
        folder.chmod(0o700)
    for place, names, _ in os.walk(folder):
        for name in names:
            below = Path(place, name)
            if not below.is_symlink():
                below.chmod(0o700)


def _workspaces(root: Path) -> Iterator[RunRef]:
    for tenant_id in _folders(root):
        for run_id in _folders(root / tenant_id):
            yield RunRef(tenant_id, run_id)


def _folders(place: Path) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.name
