"""The processes that run programs, found by the folder they work in."""

from __future__ import annotations

from pathlib import Path


def programs_below(folder: Path) -> list[int]:
    """Return the processes whose working folder is this one or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue  # it has ended meanwhile
    return found
