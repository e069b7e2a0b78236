"""How log lines are kept free of secrets, and show whole what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from domain.secrets import Scrubber

MASK: Final = "***"
"""What stands in a line where a secret was."""

_UNSEEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""What shows nothing, changes how others are shown, ends a line, or cannot be written."""


def make_mask(secrets: Iterable[str] = ()) -> Scrubber:
    """Return what takes secrets out of lines, of which there are many: what was cut off it does not find."""
    return Scrubber(secrets, mark=MASK, cut=False)


def one_line(text: str) -> str:
    """Return a text on one line, in which everything shows: what does not is written as its escape."""
    return _UNSEEN.sub(_escape, text)


def many_lines(text: str) -> str:
    """Return the same of a text that may have lines, such as a traceback."""
    return "\n".join(one_line(line.expandtabs(4)) for line in text.split("\n"))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
