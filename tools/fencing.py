"""Fences off text from outside, so that a reader can tell where it ends, whatever it says."""

from __future__ import annotations

import re
from typing import Final

from tools.limits import cut_result

_NAME: Final = re.compile(r"[a-z]{1,20}")


def fence(name: str, text: str, *, limit: int | None = None) -> str:
    """Return a text between `<name>` and `</name>`, with nothing in it that could be taken for either.

    With `limit` so many characters of it stand there at most, with a note of what was left out.
    """
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is no name of a fence."
        raise ValueError(msg)
    inside = re.sub(rf"<(?=\s*/?\s*{name})", "&lt;", text, flags=re.IGNORECASE)
    if limit is not None:
        inside = cut_result(inside, limit)
    return f"<{name}>\n{inside}\n</{name}>"
