"""Which characters show nothing, or change how others are shown: what a person is to judge has none of them."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_KINDS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_BLANKS: Final = re.compile(
    r"[\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0F\uFFA0\U000E0000-\U000E0FFF]"
)
"""Letters, marks and symbols by their kind, that show nothing all the same: fillers of Hangul, a blank of
Braille, selectors of variants."""


def shows(character: str) -> bool:
    """Return whether somebody who looks at a character sees it, or the space that it takes."""
    return unicodedata.category(character) not in _KINDS and not _BLANKS.match(character)
