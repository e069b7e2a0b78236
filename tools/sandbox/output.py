"""What programs write, as every back end bounds and cleans it."""

from __future__ import annotations

from typing import Final

TOO_MUCH_OUTPUT: Final = 50
"""A program that prints this many times what is kept of its output is ended."""

TEXT_CHARS: Final = 80_000


def cleaned(text: str) -> str:
    """Return a text that every database and every encoding takes, bounded."""
    safe = text.encode("utf-8", "replace").decode("utf-8")
    return safe.replace("\0", "\ufffd")[:TEXT_CHARS]
