"""Makes characters comparable: what cannot be seen goes, every digit and minus sign is the plain one."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_OTHER_DIGITS: Final = re.compile(r"[^\D0-9]")
_PLAIN: Final = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f", "\u00a0"),
        **dict.fromkeys("\u066b\uff0e", "."),
        **dict.fromkeys("\u066c\uff0c", ","),
        **dict.fromkeys("\u066a\uff05", "%"),
    }
)


def plain(text: str) -> str:
    """Return a text without invisible characters, with plain digits, minus signs and fixed spaces."""
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text).translate(_PLAIN)
    return _OTHER_DIGITS.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)
