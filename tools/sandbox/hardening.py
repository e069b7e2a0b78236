"""What the service does for itself, should a program ever get out of its confinement."""

from __future__ import annotations

import contextlib
import sys

from tools.sandbox.confined import kernel


def refuse_inspection() -> None:
    """Have the kernel let no other process of the same user read this one's memory and environment.

    It also means no core dumps, and that debuggers need root. On other systems nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            kernel.control_process(kernel.SET_DUMPABLE, 0)
