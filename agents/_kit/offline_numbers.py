"""Finds the series of numbers a text speaks of."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, NamedTuple

MAX_NUMBERS: Final = 5_000
"""Of a text with more of them nothing is read: a series is computed whole or not at all."""

MINUS: Final = "-\N{MINUS SIGN}\N{EN DASH}"
"""The signs that make a number negative: texts from a word processor hold the last two."""

MAX_RANGE: Final = 1_000
"""A longer range of integers is not written out."""

LONGEST_GAP: Final = 48
"""Characters between two numbers of one series; no separator is longer."""

YEAR_DIGITS: Final = 4
_YEARS: Final = range(1900, 2101)
_SCALES: Final = {"k": 1_000, "K": 1_000, "M": 1_000_000, "bn": 1_000_000_000}

# Every repetition is bounded: a long text must not make the search quadratic. Only ASCII digits
# count: others are no Python literals.
_NUMBER: Final = re.compile(
    rf"(?<![\w.])(?P<sign>[{MINUS}+])?[$€£¥]?"
    r"(?P<digits>\d{1,3}(?:,\d{3}){1,6}(?:\.\d{1,15})?|\d{1,18}(?:\.\d{1,15})?|\.\d{1,15})"
    r"(?P<exponent>[eE][-+]?\d{1,2})?(?:\s?%|(?P<scale>k|K|M|bn)\b)?(?!\w|\.\d|,\d)",
    re.ASCII,
)
_COMPACT: Final = re.compile(r"\d{1,18}(?:\.\d{1,15})?(?:,-?\d{1,18}(?:\.\d{1,15})?){2,}", re.ASCII)
_SPACED: Final = re.compile(r"\d,\s{1,4}[-$€£¥]?\d")
_THOUSANDS: Final = re.compile(r"\d{1,2}(?:,\d{3}){2,}")

_USUAL_GAPS: Final = frozenset({", ", " ", ",", "\n", "; ", " and ", ", and "})
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

AROUND: Final = 80
"""Characters before and after a series that are searched for items it lacks."""

QUOTED: Final = 60
"""Characters an answer quotes of what was not understood."""

PAIR: Final = 2

# What stands in a list where a number should: nothing, or a number in words.
_WORD: Final = (
    r"(?:n/a|n\.a\.|na|nan|nil|null|none|unknown|missing|tbd|inf(?:inity)?|\?{1,3}|"
    r"\.{2,3}|…|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:-\w{1,8})?|"
    r"(?:hundred|thousand|million|billion|trillion|dozen|half|lakh|crore)s?)"
)
_NO_NUMBER: Final = re.compile(rf"(?<![\w/]){_WORD}(?![\w/])(?!\s?[:=])", re.IGNORECASE)
_OPERATOR_BEFORE: Final = re.compile(
    r"(?:[\w)\]]\s{0,3}[-+*/^×÷±–]{1,2}|[\^/×÷±~<>≈√!]{1,2}|\w\()\s{0,3}$"  # noqa: RUF001
)
_OPERATOR_AFTER: Final = re.compile(
    r"\s{0,3}(?:\*{1,2}|[\^/×÷±!](?=\s{0,3}[\w(])|[-+–]\s{0,3}[\w(])\S{0,20}"  # noqa: RUF001
    rf"|\s{{1,3}}{_WORD}(?![\w/])",
    re.IGNORECASE,
)
_SEPARATOR: Final = r"(?:\s{0,3}(?:[,;|]|\s(?:and|&)\s)\s{0,3}(?:and\s{1,3})?)"
_ITEM_BEFORE: Final = re.compile(
    rf"(?:(?<!\S)\S{{0,60}}\d\S{{0,60}}?(?:\s[A-Za-z]{{1,12}})?{_SEPARATOR}"
    rf"|(?<![\w/]){_WORD}(?:{_SEPARATOR}|\s{{1,3}})"
    rf"|\d\S{{0,3}}{_SEPARATOR}[^,;|\n]{{0,40}}{_SEPARATOR}"
    r"|\d\s{0,3}\n[^\n]{0,40}\n\s{0,3}|(?:^|\n)[^\s]{0,40}\d[^\s:]{0,40}\n)[\[({\"']{0,3}$"
    r"|(?:\d\S{60,80}|\S{79})\s{0,3}$",
    re.IGNORECASE,
)
_ITEM_AFTER: Final = re.compile(
    r"[\])}\"']{0,3}(?:\s?[A-Za-z°€$£¥]{1,12})?"
    rf"(?:{_SEPARATOR}(?:[^\s,;]{{0,40}}\d\S{{0,30}}|{_WORD}(?![\w/])"
    rf"|[^,;|\n]{{0,40}}?{_SEPARATOR}[\[({{\"'$€£¥]{{0,3}}-?\d\S{{0,20}})"
    rf"|\s{{0,3}}\n\s{{0,3}}(?:[-*•]\s)?(?:\S{{0,20}}\d\S{{0,20}}(?=\s|$)|{_WORD}(?![\w/])"
    r"|[^\n]{0,30}\n\s{0,3}\d))",
    re.IGNORECASE,
)
_SPAN_GAP: Final = re.compile(r"\s(?:to|and)\s")
_SPANNING: Final = re.compile(
    r"\b(?:numbers?|integers?|between)\b.{0,40}\d\s(?:to|and)\s"
    r"|\b(?:sum|total|add|mean|average|median|product|variance|std|standard deviation|multiply)\b"
    r".{0,60}\d\sto\s",
    re.IGNORECASE,
)
_RANGE: Final = re.compile(
    r"\b(?:numbers|integers)\s(?:from\s)?(?P<first>[-−]?\d{1,9})\s(?:to|through)\s"  # noqa: RUF001
    r"(?P<last>[-−]?\d{1,9})(?:\s(?:inclusive|please))?[\s.?!)]{0,5}$",  # noqa: RUF001
    re.IGNORECASE | re.ASCII,
)
# Some of the integers only.
_PICKED: Final = re.compile(
    r"(?:^|\s)(?!(?:the|all|of|whole|natural|sum|add|up|mean|average|median)\s)\S+\s$",
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
    return [number.literal for number in _find_longest(_spread(text))]


def find_range(text: str) -> list[str]:
    """Return the integers of `the numbers from 1 to 100`, both ends included, or nothing."""
    match = _RANGE.search(text[:1_000])
    if match is None or _PICKED.search(text[: match.start()][-1_000:]):
        return []
    first, last = (int(match[name].replace("\N{MINUS SIGN}", "-")) for name in ("first", "last"))
    return [str(n) for n in range(first, last + 1)] if first < last < first + MAX_RANGE else []


def find_unread(text: str) -> str:
    """Return the part of a list of numbers that could not be read; empty where all of it was."""
    text = _spread(text)
    series = _find_longest(text)
    if not series:
        return ""
    start, end = series[0].start, series[-1].end
    before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
    spans = [text[left.end : right.start] for left, right in pairwise(series)]
    odd = next((gap for gap in spans if _NO_NUMBER.search(gap)), "")
    if odd:
        return _quote(odd)
    if _SPANNING.search(text) and len(series) == PAIR and _SPAN_GAP.fullmatch(spans[0]):
        return _quote(text[start:end])
    head = _OPERATOR_BEFORE.search(before) or _ITEM_BEFORE.search(before)
    if head:
        return _quote(head[0] + text[start : series[0].end])
    tail = _OPERATOR_AFTER.match(after) or _ITEM_AFTER.match(after)
    return _quote(text[series[-1].start : end] + tail[0]) if tail else ""


def _quote(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def _find_longest(text: str) -> list[Number]:
    numbers = _find_numbers(text)
    runs = [run for run in _find_runs(text, numbers) if len(run) > 1]
    telling = [run for run in runs if not all(number.year for number in run)]
    return max(telling or runs, key=len, default=[])


def _spread(text: str) -> str:
    """Separate `120,135,150`: three digits between commas are a list unless thousands are meant."""
    if _SPACED.search(text):
        return text
    return _COMPACT.sub(
        lambda m: m[0] if _THOUSANDS.fullmatch(m[0]) else m[0].replace(",", ", "), text
    )


def _find_numbers(text: str) -> list[Number]:
    numbers = []
    for count, match in enumerate(_NUMBER.finditer(text)):
        if count >= MAX_NUMBERS:
            return []
        if not _is_label(text, match.start(), match.end()):
            numbers.append(_read(match))
    plain = [number for number in numbers if not (number.year and _is_year_label(text, number))]
    return plain if len(plain) > 1 else numbers


def _is_label(text: str, start: int, end: int) -> bool:
    """Return whether a number only counts something off: `[3]`, `week 3`, `#3`."""
    before = text[max(0, start - 2) : start]
    if before.endswith("["):
        return text.startswith("]", end)
    # The pattern is dear, and in a long list of numbers hardly ever needed.
    spoken = before.endswith("#") or before[:1].isalpha() or before[:1] == "."
    return spoken and _LABEL_BEFORE.search(text[max(0, start - 12) : start]) is not None


def _read(match: re.Match[str]) -> Number:
    start, end = match.span()
    found = match[0]
    if found.isascii() and found.isdecimal() and found[0] != "0":
        return Number(found, start, end, len(found) == YEAR_DIGITS and int(found) in _YEARS)
    digits = match["digits"].replace(",", "")
    if digits.isdecimal():
        digits = str(int(digits))  # 007 is no Python literal
    scale = _SCALES.get(match["scale"] or "")
    sign = "-" if (match["sign"] or "+") in MINUS else ""
    literal = sign + digits + (match["exponent"] or "")
    if scale:
        literal = f"{float(literal) * scale:.15g}"
    return Number(literal, start, end, year=False)


def _is_year_label(text: str, number: Number) -> bool:
    before = text[max(0, number.start - 6) : number.start].lower()
    after = text[number.end : number.end + 2].lstrip()
    return before.endswith(("in ", "since ")) or after.startswith((":", "="))


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
    if gap in _USUAL_GAPS:
        return ""
    if len(gap) > LONGEST_GAP:
        return None
    if _PLAIN_GAP.fullmatch(gap):
        return ""
    match = _RICH_GAP.fullmatch(gap)
    return (match["unit"] or "") if match else None
