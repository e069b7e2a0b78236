"""The folders of runs on this machine: found and removed, without following a link out of them."""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from domain.ports import RunRef

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
