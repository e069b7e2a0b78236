"""How much of a tool's result a model gets to read."""

from __future__ import annotations

from domain.tool import MAX_RESULT_CHARS


def cut_result(text: str, limit: int = MAX_RESULT_CHARS) -> str:
    """Return `text` within `limit` characters, with a note of how many were left out."""
    if len(text) <= limit:
        return text
    # The note's length depends on the number in it; the longest it can be is reserved.
    kept = max(0, limit - len(_note(len(text))))
    return text[:kept] + _note(len(text) - kept)


def _note(left_out: int) -> str:
    return f"\n[{left_out} characters left out]"
