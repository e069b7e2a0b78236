"""What a confined process holds that no limit of the kernel's counts: threads, and files without a name.

A thread takes no memory of its own where two share a stack, and a file that was deleted while it was open
is in no workspace any more. So the fork server looks at its processes, and ends those that hold too much.
"""

from __future__ import annotations

import os
import stat
from typing import Final

MAX_THREADS: Final = 100
"""Far more than a pool of threads has, far fewer than a machine has process numbers."""

_BLOCK: Final = 512
_ITSELF_AND_ABOVE: Final = 2


def find_excess(pid: int, bytes_without_name: int) -> str | None:
    """Return the limit that a process goes beyond, `None` where it keeps within them."""
    if _count_threads(pid) > MAX_THREADS:
        return "threads"
    return "disk" if _measure_nameless(pid) > bytes_without_name else None


def _count_threads(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - _ITSELF_AND_ABOVE
    except OSError:
        return 0  # it has ended


def _measure_nameless(pid: int) -> int:
    """Return how much disk the files take that a process has open and nobody can see."""
    total = 0
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            status = os.stat(f"/proc/{pid}/fd/{name}")
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                total += status.st_blocks * _BLOCK
    except OSError:
        return total  # it has closed one, or has ended
    return total
