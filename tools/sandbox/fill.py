"""How full a workspace is."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from domain.sandbox import CodeLimits

MAX_DEPTH: Final = 32
"""Folders within folders. Deeper ones count as full: what works with paths would not see into them."""

MAX_COUNTED: Final = 10_000
_BLOCK: Final = 512


class Fill(NamedTuple):
    """What a workspace holds."""

    bytes: int
    """On disk, so that a file with holes counts as what it takes."""
    entries: int
    too_deep: bool = False

    def beyond(self, limits: CodeLimits, before: Fill) -> bool:
        """Return whether it holds too much, and more than before: a full one may be tidied up."""
        if self.too_deep and not before.too_deep:
            return True
        return (self.bytes > max(limits.workspace_bytes, before.bytes)) or (
            self.entries > max(limits.workspace_entries, before.entries)
        )


def measure(workspace: Path) -> Fill:
    """Return how full a workspace is; beyond `MAX_COUNTED` entries nothing more is counted."""
    total = entries = 0
    too_deep = False
    folders = [(str(workspace), 0)]
    while folders and entries <= MAX_COUNTED:
        folder, depth = folders.pop()
        if depth > MAX_DEPTH:
            too_deep = True
            continue
        try:
            scan = os.scandir(folder)
        except OSError:
            continue  # a program that is still running may take it away
        with scan:
            for entry in scan:
                entries += 1
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                total += status.st_blocks * _BLOCK
                if stat.S_ISDIR(status.st_mode):
                    folders.append((entry.path, depth + 1))
    return Fill(total, entries, too_deep)
