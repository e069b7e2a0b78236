"""How sources are shown to a model: numbered, fenced, and without anything that passes for a number of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from domain.agent import Citation
from tools.fencing import fence

FENCE: Final = "found"
"""What stands around a list of search results."""
PAGE: Final = "page"
"""What stands around the text of a page."""

MAX_TITLE_CHARS: Final = 150
DATE_CHARS: Final = 40
LISTED_CHARS: Final = 15_000
"""Of one list; with its fence and a sentence before it, this stays below the limit of a tool's result."""

_BREAKS: Final = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# Nobody sees them, but a model reads what they spell: tags, changes of direction, zero widths.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u200b\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
# What a fence would change is changed before: what is kept is what was shown.
_TAG: Final = re.compile(rf"<(?=\s*/?\s*(?:{FENCE}|{PAGE}))", re.IGNORECASE)
# After a letter or a bracket it is an index of a program, as in `a[0]`.
_MARK: Final = re.compile(r"(?<![\w\])])\[(\d{1,9})\]")


def plain(text: str) -> str:
    """Return text from outside with one kind of line break, nothing unseen, and `(1)` in place of `[1]`."""
    seen = _UNSEEN.sub("", _BREAKS.sub("\n", text))
    return _TAG.sub("&lt;", _MARK.sub(r"(\1)", seen))


def one_line(text: str, limit: int = MAX_TITLE_CHARS) -> str:
    """Return text from outside on one line of at most `limit` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def head(citation: Citation) -> str:
    """Return the lines that name a source: `[1] title — source`, and its date where that is known."""
    first = f"[{citation['number']}] {citation['title']} — {citation['source']}"
    return f"{first}\nDate: {citation['date']}" if "date" in citation else first


def listed(citations: Sequence[Citation]) -> str:
    """Return sources with their snippets, fenced."""
    blocks = [f"{head(one)}\n{one['snippet']}" for one in citations]
    return fence(FENCE, "\n\n".join(blocks), limit=LISTED_CHARS)
