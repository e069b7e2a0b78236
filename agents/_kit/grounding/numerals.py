"""Reads numbers as people and programs write them: grouped, rounded, scaled, in per cent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Final, NamedTuple

EXACT: Final = Context(prec=900)
"""More digits than a numeral has, so that nothing is lost in a sum."""

GROUP: Final = 3
"""Digits between two separators of thousands."""
CURRENCY: Final = "$€£¥₹"
_GAP: Final = r"[ \u00a0-]?"
_MULTIPLES: Final = {
    "hundred": 2,
    "thousand": 3,
    "tausend": 3,
    "k": 3,
    "lakh": 5,
    "million": 6,
    "millions": 6,
    "millionen": 6,
    "millones": 6,
    "milioni": 6,
    "milhões": 6,
    "млн": 6,
    "mio": 6,
    "mn": 6,
    "m": 6,
    "crore": 7,
    "billion": 9,
    "billions": 9,
    "milliard": 9,
    "milliards": 9,
    "milliarden": 9,
    "mrd": 9,
    "miliardi": 9,
    "млрд": 9,
    "bn": 9,
    "b": 9,
    "trillion": 12,
    "trillions": 12,
    "tn": 12,
    "t": 12,
}
_SCALE_WORDS: Final = "|".join(sorted((w for w in _MULTIPLES if len(w) > 1), key=len, reverse=True))

NUMERAL: Final = re.compile(
    rf"""
    (?P<sign>(?<![^\s(\[{{:=,;|/"'*>~≈“„«{CURRENCY}])[-–+])?
    (?:(?P<currency>[{CURRENCY}][ ]?)(?P<inner>-)?)?
    (?P<digits>
        \d{{1,3}}(?P<gap>[,.'’_ \u00a0])\d{{3}}(?:(?P=gap)\d{{3}})*(?!\d)(?:[.,]\d{{1,400}})?
        | \d{{1,400}}(?:[.,]\d{{1,400}})*
        | (?<![\w.])\.\d{{1,400}}
    )
    (?:
        [eE](?P<exponent>[+-]?\d{{1,3}})(?!\w)
        | [ ]?[×x*·][ ]?10(?:\^|\*\*)?(?P<power>[-⁻⁺]?[\d⁰¹²³⁴-⁹]{{1,3}})(?!\w)
    )?
    (?:
        (?P<percent>[ \u00a0]?%|{_GAP}(?:percent|per[ ]cent|percentage|pct|prozent|pp)\b)
        | (?P<scale>{_GAP}(?:{_SCALE_WORDS})\b|[kmbt](?!\w))
        | (?P<ordinal>st|nd|rd|th)(?!\w)
    )?
    """,
    re.VERBOSE | re.IGNORECASE,
)

_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SEPARATOR: Final = re.compile(r"[.,'’_ \u00a0]")
_LIST_GAP: Final = re.compile(r"[, \u00a0]")


_SIGNS: Final = {
    "½": (1, 2), "¼": (1, 4), "¾": (3, 4), "⅓": (1, 3), "⅔": (2, 3), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
_PART: Final = re.compile(
    rf"(?<![\d/.,-])(?:(?P<whole>\d{{1,4}})[ \u00a0]?)?(?P<sign>[{''.join(_SIGNS)}])"
    r"|(?<![\d/.,-])(?:(?P<units>\d{1,3})[ ])?(?P<top>\d{1,4})[/⁄](?P<bottom>\d{1,4})(?![\d/]|[.,]\d)"
)


class Part(NamedTuple):
    """A fraction as it stands in a text."""

    start: int
    end: int
    text: str
    value: Decimal
    numbers: tuple[Decimal, ...]
    """The numbers that it is written with, none where it is one sign."""


class Reading(NamedTuple):
    """What a numeral may mean."""

    value: Decimal
    step: Decimal
    """The worth of its last digit: a figure up to half of this away rounds to it."""


class Numeral(NamedTuple):
    """A number as it stands in a text."""

    start: int
    end: int
    text: str
    digits: str
    readings: tuple[Reading, ...]
    """Without a sign; empty for what is no number, such as `3.11.2`."""
    sign: str
    """`-` · `+` · `–`, which may be either · empty."""
    percent: bool
    scaled: bool
    """A word or a letter such as "million" is part of it."""
    plain: bool
    """Digits and nothing else."""


def find_numerals(text: str) -> Iterator[Numeral]:
    """Yield the numbers of a text in their order, overlapping none."""
    for match in NUMERAL.finditer(text):
        yield read_match(match)


def find_parts(text: str) -> Iterator[Part]:
    """Yield the fractions of a text in their order: `3/4`, `1 1/2`, `1½`."""
    for match in _PART.finditer(text):
        if match["sign"]:
            top, bottom = _SIGNS[match["sign"]]
            whole = int(match["whole"] or 0)
        else:
            top, bottom, whole = int(match["top"]), int(match["bottom"]), int(match["units"] or 0)
        if bottom:
            value = whole + Decimal(top) / Decimal(bottom)
            numbers = () if match["sign"] else (Decimal(top), Decimal(bottom))
            yield Part(match.start(), match.end(), match[0], value, numbers)


def read_match(match: re.Match[str]) -> Numeral:
    """Return what a match of `NUMERAL` says."""
    digits, scale = match["digits"], (match["scale"] or "").strip(" \u00a0-").lower()
    power = int(match["exponent"] or (match["power"] or "0").translate(_SUPERSCRIPTS))
    readings = tuple(_shift(one, power) for one in read_digits(digits))
    if scale:
        multiples = [_shift(one, _MULTIPLES[scale]) for one in readings]
        # A single letter may be a unit as well: 5m is five metres or five million.
        readings = (*multiples, *(readings if len(scale) == 1 else ()))
    return Numeral(
        start=match.start(),
        end=match.end(),
        text=match[0].strip(),
        digits=digits,
        readings=readings,
        sign="-" if match["inner"] else match["sign"] or "",
        percent=match["percent"] is not None,
        scaled=bool(scale),
        plain=match[0].isdigit(),
    )


def read_digits(digits: str) -> tuple[Reading, ...]:
    """Return what digits with separators may mean, none where that is no number."""
    separators = _SEPARATOR.findall(digits)
    if not separators:
        return (_whole(digits),)
    groups = _SEPARATOR.split(digits)
    readings = []
    if _is_grouped(groups) and len(set(separators)) == 1:
        readings.append(_whole("".join(groups)))
    last = separators[-1]
    if last in ".," and (len(separators) == 1 or _is_grouped(groups[:-1])):
        before = separators[:-1]
        if last not in before and len(set(before)) <= 1:
            readings.append(_decimal("".join(groups[:-1]), groups[-1]))
    return tuple(readings)


def split_list(digits: str) -> list[str]:
    """Return the items of what may be a list, as `1,2,3` or the cells `12 345`; one if it is none."""
    return [item for item in _LIST_GAP.split(digits) if item]


def _is_grouped(groups: list[str]) -> bool:
    sizes = [len(group) for group in groups]
    if not groups[1:] or groups[0].startswith("0") or sizes[-1] != GROUP or sizes[0] > GROUP:
        return False
    # The Indian way groups by two, but for the last three digits.
    return set(sizes[1:-1]) in (set(), {GROUP}, {GROUP - 1})


def _whole(digits: str) -> Reading:
    return Reading(Decimal(digits), Decimal(1))


def _decimal(whole: str, part: str) -> Reading:
    return Reading(Decimal(f"{whole or '0'}.{part}"), Decimal(1).scaleb(-len(part), EXACT))


def _shift(reading: Reading, power: int) -> Reading:
    if not power:
        return reading
    return Reading(reading.value.scaleb(power, EXACT), reading.step.scaleb(power, EXACT))
