"""Whether anybody can be asked."""

from __future__ import annotations

import sys


def at_terminal() -> bool:
    """Return whether somebody is at the terminal; where stdin is closed (`<&-`) there is none."""
    return sys.stdin is not None and sys.stdin.isatty()
