"""Which characters show nothing, or change how others are shown: what a person is to judge has none of them."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_KINDS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_UNUSUAL: Final = re.compile(r"[^\n -~]")

_BLANKS: Final = re.compile(
    r"[\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0F\uFFA0\U000E0000-\U000E0FFF]"
)
"""Letters, marks and symbols by their kind, that show nothing all the same: fillers of Hangul, a blank of
Braille, selectors of variants."""


def shows(character: str) -> bool:
    """Return whether somebody who looks at a character sees it, or the space that it takes."""
    return unicodedata.category(character) not in _KINDS and not _BLANKS.match(character)


def plain_line(text: str) -> str:
    """Return the text with what shows nothing written out: a model's could hide what it does."""
    return "".join(c if c == "\t" or shows(c) else ascii(c)[1:-1] for c in text)


def plain_json(text: str) -> str:
    """Return a JSON document with what shows nothing written out; it says the same."""
    return _UNUSUAL.sub(lambda found: found[0] if shows(found[0]) else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
