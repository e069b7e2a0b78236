"""Finds the series of numbers a text speaks of."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, NamedTuple

SCAN_CHARS: Final = 20_000
MAX_NUMBERS: Final = 2_000

MINUS: Final = "-\N{MINUS SIGN}"
"""The signs that make a number negative: texts from a word processor hold the second."""

LONGEST_GAP: Final = 48
"""Characters between two numbers of one series; no separator is longer."""

_YEARS: Final = range(1900, 2101)
_SCALES: Final = {"k": 1_000, "K": 1_000, "M": 1_000_000, "bn": 1_000_000_000}

# Every repetition is bounded: a long text must not make the search quadratic.
_NUMBER: Final = re.compile(
    rf"(?<![\w.])(?P<sign>[{MINUS}+])?[$€£¥]?"
    r"(?P<digits>\d{1,3}(?:,\d{3}){1,6}(?:\.\d{1,15})?|\d{1,18}(?:\.\d{1,15})?|\.\d{1,15})"
    r"(?P<exponent>[eE][-+]?\d{1,2})?(?:\s?%|(?P<scale>k|K|M|bn)\b)?(?!\w|\.\d|,\d)"
)
_COMPACT: Final = re.compile(r"\d{1,18}(?:\.\d{1,15})?(?:,-?\d{1,18}(?:\.\d{1,15})?){2,}")
_SPACED: Final = re.compile(r"\d,\s{1,4}[-$€£¥]?\d")
_THOUSANDS: Final = re.compile(r"\d{1,2}(?:,\d{3}){2,}")

_PLAIN_GAP: Final = re.compile(
    r"\s{1,8}|\s{0,4}(?:,?\s{0,2}(?:and|&)|,|;|\||→|->|\bto\b|\bthen\b)\s{0,4}(?:and\s{1,3})?"
    r"|\s{0,4}\n\s{0,4}(?:[-*•]\s{1,3})?"
)
_RICH_GAP: Final = re.compile(
    r"\s?(?P<unit>(?!(?:and|then|to|in)\b)[A-Za-z°€$£¥]{1,12})?(?:\s+in\s+\d{4})?\s{0,2}"
    r"(?:,\s{0,3}(?:and\s)?|;|\n|\s?and\s)\s{0,4}(?:[-*•]\s{1,3})?"
    r"(?:(?:[A-Z][\w.'-]{0,15}|(?:week|month|day|year|quarter)\s\d{1,2}|\d{4})"
    r"(?:\s\d{1,4})?\s{0,2}[:=]?\s{1,3}"
    r"|[\w-]{1,16}\s?[:=]\s{0,3})?"
)
_LABEL_BEFORE: Final = re.compile(
    r"(?:\b(?:week|month|day|year|quarter|number|no\.|step|page|version|first|last|next|top|line)"
    r"\s|#)$",
    re.IGNORECASE,
)


class Number(NamedTuple):
    """A number of a text, as a Python literal, and where it stands."""

    literal: str
    start: int
    end: int
    year: bool
    """Whether it may be a calendar year."""


def find_series(text: str) -> list[str]:
    """Return the longest series of two or more numbers as Python literals, or nothing.

    Numbers scattered over a story are no series: a statistic of them would mean nothing.
    """
    text = _spread(text[:SCAN_CHARS])
    numbers = _find_numbers(text)
    runs = [run for run in _find_runs(text, numbers) if len(run) > 1]
    telling = [run for run in runs if not all(number.year for number in run)]
    best = max(telling or runs, key=len, default=[])
    return [number.literal for number in best]


def _spread(text: str) -> str:
    """Separate `120,135,150`: three digits between commas are a list unless thousands are meant."""
    if _SPACED.search(text):
        return text
    return _COMPACT.sub(
        lambda m: m[0] if _THOUSANDS.fullmatch(m[0]) else m[0].replace(",", ", "), text
    )


def _find_numbers(text: str) -> list[Number]:
    numbers: list[Number] = []
    for match in _NUMBER.finditer(text):
        before = text[max(0, match.start() - 12) : match.start()]
        after = text[match.end() : match.end() + 3]
        cited = before.endswith("[") and after.startswith("]")
        if not cited and not _LABEL_BEFORE.search(before):
            numbers.append(_read(match))
        if len(numbers) >= MAX_NUMBERS:
            break
    plain = [number for number in numbers if not _is_year_label(text, number)]
    return plain if len(plain) > 1 else numbers


def _read(match: re.Match[str]) -> Number:
    digits = match["digits"].replace(",", "")
    if digits.isdigit():
        digits = str(int(digits))  # 007 is no Python literal
    scale = _SCALES.get(match["scale"] or "")
    sign = "-" if (match["sign"] or "+") in MINUS else ""
    literal = sign + digits + (match["exponent"] or "")
    if scale:
        literal = f"{float(literal) * scale:.15g}"
    year = match[0].isdigit() and int(match[0]) in _YEARS
    return Number(literal, match.start(), match.end(), year)


def _is_year_label(text: str, number: Number) -> bool:
    before = text[max(0, number.start - 6) : number.start].lower()
    after = text[number.end : number.end + 2].lstrip()
    return number.year and (before.endswith(("in ", "since ")) or after.startswith((":", "=")))


def _find_runs(text: str, numbers: list[Number]) -> list[list[Number]]:
    runs: list[list[Number]] = [numbers[:1]] if numbers else []
    unit: str | None = None
    for left, right in pairwise(numbers):
        here = _unit_between(text[left.end : right.start])
        if here is None or (unit is not None and here != unit):
            runs.append([right])
            unit = None
        else:
            runs[-1].append(right)
            unit = here
    return runs


def _unit_between(gap: str) -> str | None:
    """Return the unit that separates two numbers of one series, `None` where the series ends."""
    if len(gap) > LONGEST_GAP:
        return None
    if _PLAIN_GAP.fullmatch(gap):
        return ""
    match = _RICH_GAP.fullmatch(gap)
    return (match["unit"] or "") if match else None
