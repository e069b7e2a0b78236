"""Reads dates and times, written out, with slashes or as ISO has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_NAMES: Final = (
    "january jan januar janvier enero",
    "february feb februar février febrero",
    "march mar märz mars marzo",
    "april apr avril abril",
    "may mai mayo",
    "june jun juni juin junio",
    "july jul juli juillet julio",
    "august aug août agosto",
    "september sep sept septembre septiembre",
    "october oct oktober okt octobre octubre",
    "november nov novembre noviembre",
    "december dec dezember dez décembre diciembre",
)
MONTHS: Final = {name: number for number, names in enumerate(_NAMES, 1) for name in names.split()}
_MONTH: Final = "|".join(sorted(MONTHS, key=len, reverse=True))
_ORDINAL: Final = r"(?:st|nd|rd|th|er|\.)?"

MONTH: Final = re.compile(rf"\b(?=[adefjmnos])({_MONTH})\b", re.IGNORECASE)
_DAY_FIRST: Final = re.compile(
    rf"""
    (?=\d)(?:(?<![\d.,-])(?P<iy>\d{{4}})(?P<isep>[-/.])(?P<im>\d{{1,2}})(?P=isep)(?P<id>\d{{1,2}})(?![\d-])
    | (?<![\d.,/-])(?P<a>\d{{1,2}})(?P<sep>[./-])(?P<b>\d{{1,2}})(?P=sep)(?P<y>\d{{4}}|\d{{2}})(?!\d|[./-]\d)
    | (?<![\d.,-])(?P<ry>\d{{4}})[-–/](?P<rm>\d{{2}})(?!\d|[.,-]\d)
    | (?<![\d.,])(?:(?P<d0>\d{{1,2}}){_ORDINAL}[ ]?(?:[-–]|to|and)[ ]?)?(?P<d1>\d{{1,2}}){_ORDINAL}[ \u00a0-]
      (?:of[ ]|de[ ])?(?P<m1>{_MONTH})\b(?:\.?,?[ \u00a0-](?:de[ ])?(?P<y1>\d{{4}})(?!\d))?)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MONTH_FIRST: Final = re.compile(
    rf"""
    \b(?=[adefjmnos])(?:
      (?P<m2>{_MONTH})\b\.?[ \u00a0](?P<d2>\d{{1,2}}){_ORDINAL}(?!\d|[.,:]\d)
      (?:[ ]?[-–][ ]?(?P<d3>\d{{1,2}})(?!\d))?(?:,?[ ](?P<y2>\d{{4}})(?!\d))?
    | (?P<m4>{_MONTH})\b\.?,?[ \u00a0-](?P<y4>\d{{4}})(?!\d|[.,]\d)
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
TIME: Final = re.compile(
    r"(?<![\d:.])(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2})(?:[.,]\d{1,9})?)?(?![\d:])"
    r"(?:[ \u00a0]?(?P<half>[ap])\.?m\b)?"
    r"|(?<![\d:.])(?P<h2>\d{1,2})[ \u00a0]?(?P<half2>[ap])\.?m\b",
    re.IGNORECASE,
)

NOON: Final = 12
LAST_HOUR: Final = 24
LAST_MINUTE: Final = 59
LAST_SHORT: Final = 99
"""Of years written with two digits."""
LAST_MONTH: Final = 12
LAST_DAY: Final = 31
_CENTURIES: Final = (1900, 2000)


class Day(NamedTuple):
    """A day, or a part of what names one."""

    year: int | None
    month: int
    day: int | None


class Moment(NamedTuple):
    """A date or a time as it stands in a text."""

    start: int
    end: int
    text: str
    days: tuple[Day, ...] = ()
    """What the date may mean."""
    both: bool = False
    """All of `days` are meant, as in "3-7 March"."""
    years: tuple[int, ...] = ()
    """The two years that it may be instead, as in 2019-21."""
    time: tuple[int, int, int | None] | None = None


def find_dates(text: str) -> Iterator[Moment]:
    """Yield the dates of a text, overlapping none."""
    found = [_read_date(match) for match in _DAY_FIRST.finditer(text)]
    days = {place for one in found for place in range(one.start, one.end)}
    if MONTH.search(text):
        matches = _MONTH_FIRST.finditer(text)
        found += [
            Moment(*_at(m), days=_named(m), both=bool(m["d3"]))
            for m in matches
            if m.start() not in days
        ]
    yield from (moment for moment in found if moment.days or moment.years)


def find_times(text: str) -> Iterator[Moment]:
    """Yield the times of a text in their order."""
    for match in TIME.finditer(text):
        hour = int(match["h"] or match["h2"])
        minute, second = int(match["m"] or 0), int(match["s"]) if match["s"] else None
        half = (match["half"] or match["half2"] or "").lower()
        if half and hour <= NOON:
            hour = hour % NOON + (NOON if half == "p" else 0)
        if hour > LAST_HOUR or minute > LAST_MINUTE:
            continue
        time = (hour, minute, second)
        yield Moment(match.start(), match.end(), match[0], time=time)


def _at(match: re.Match[str]) -> tuple[int, int, str]:
    return match.start(), match.end(), match[0]


def _read_date(match: re.Match[str]) -> Moment:
    at = _at(match)
    if match["iy"]:
        return Moment(*at, days=_days(int(match["iy"]), match["im"], match["id"]))
    if match["a"]:
        short = int(match["y"])
        years = (short,) if short > LAST_SHORT else tuple(c + short for c in _CENTURIES)
        pairs = ((match["b"], match["a"]), (match["a"], match["b"]))
        return Moment(*at, days=tuple(d for y in years for m, n in pairs for d in _days(y, m, n)))
    if match["ry"]:
        year, rest = int(match["ry"]), int(match["rm"])
        months = (Day(year, rest, None),) if 1 <= rest <= LAST_MONTH else ()
        end = year - year % 100 + rest
        return Moment(*at, days=months, years=(year, end) if end > year else ())
    return Moment(*at, days=_named(match), both=bool(match["d0"]))


def _named(match: re.Match[str]) -> tuple[Day, ...]:
    said = {
        name[0] + "0": text for name, text in match.groupdict().items() if text and name[0] in "my"
    }
    month = MONTHS[said["m0"].lower()]
    year = int(said["y0"]) if "y0" in said else None
    days = ("d0", "d1", "d2", "d3")
    numbers = [text for name, text in match.groupdict().items() if text and name in days]
    if not numbers:
        return (Day(year, month, None),)
    return tuple(day for number in numbers for day in _days(year, str(month), number))


def _days(year: int | None, month: str, day: str) -> tuple[Day, ...]:
    if 1 <= int(month) <= LAST_MONTH and 1 <= int(day) <= LAST_DAY:
        return (Day(year, int(month), int(day)),)
    return ()
