"""Knows every figure that the evidence yields, and whether one in an answer is among them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from agents._kit.grounding.moments import MONTH, MONTHS, Day, Moment, find_dates, find_times
from agents._kit.grounding.numerals import (
    EXACT,
    NUMERAL,
    Numeral,
    Part,
    Reading,
    find_parts,
    read_digits,
    read_match,
    split_list,
)

_BLOBS: Final = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|(?<![0-9a-zA-Z])(?=[0-9]{0,64}[a-fA-F])[0-9a-fA-F]{16,64}(?![0-9a-zA-Z])"
)
_WORDS: Final = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
    """.split()  # noqa: SIM905 - a list literal would take twenty lines
_TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORTH: Final = {
    **{word: n for n, word in enumerate(_WORDS)},
    **{word: 10 * n for n, word in enumerate(_TENS, 2)},
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
}
_NUMBER_WORDS: Final = re.compile(
    rf"\b({'|'.join(_WORTH)})(?:[ -]({'|'.join(_WORTH)}))?\b", re.IGNORECASE
)
FALLING: Final = re.compile(
    r"\b(?:fell|falls?|fallen|falling|dropp?(?:s|ed|ing)?|declin(?:es?|ed|ing)|decrease[sd]?|decreasing"
    r"|los(?:s|ses|es?|t|ing)|down|below|less|lower(?:ed)?|negative|minus|deficit|shr[aiu]nk"
    r"|cut|under|reduc(?:es?|ed|ing|tion)|contract(?:s|ed|ion)|slump(?:s|ed)?|slid|short(?:fall)?"
    r"|colder|cheaper|behind|before|worse|slower|fewer|inverse)\b",
    re.IGNORECASE,
)
_FALL: Final = re.compile(
    rf"{FALLING.pattern}[^.\d\n]{{0,40}}(?={NUMERAL.pattern})", re.IGNORECASE | re.VERBOSE
)
_ACCOUNTED: Final = re.compile(r"\([ ]?(?:[$€£](?=\d)|(?=\d{1,15}[.,]\d))([\d,.]{1,30})\)")
_IN_MULTIPLES: Final = (
    (3, re.compile(r"in thousands|\bthousands of|\(000s?\)|['’]000", re.IGNORECASE)),
    (6, re.compile(r"in millions|\bmillions of|[$€£]\s?m\b|_m(?:illions?)?\b", re.IGNORECASE)),
    (9, re.compile(r"in billions|\bbillions of|[$€£]\s?bn\b|_bn\b", re.IGNORECASE)),
)
_QUARTERS: Final = re.compile(r"\b(?:half|quarter|third|fifth|tenth)s?\b", re.IGNORECASE)
_PARTS: Final = {"half": 2, "third": 3, "quarter": 4, "fifth": 5, "tenth": 10}
_DIGIT: Final = re.compile(r"[\d¼-¾⅐-⅞]")
_PART_STEP: Final = Decimal("0.0002")
_LEAST_FRACTION: Final = Decimal(10)


class Figures:
    """The figures of some texts; building it reads each text once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self._positive: set[Decimal] = set()
        self._negative: set[Decimal] = set()
        self._fractions: set[Decimal] = set()
        self._percents: set[Decimal] = set()
        self._days: set[Day] = set()
        self._times: set[tuple[int, int, int | None]] = set()
        self._months: set[int] = set()
        self._multiples: set[int] = set()
        seen: set[str] = set()
        for text in self._texts:
            self._read(_BLOBS.sub(" ", text), seen)
        self._undated = {day for day in self._days if day.year is None}
        self._days |= {Day(None, day.month, day.day) for day in self._days}
        self._months_of_years = {Day(d.year, d.month, None) for d in self._days if d.year}
        rows = (self._positive, self._negative, self._fractions, self._percents)
        self._sorted = {id(row): sorted(row) for row in rows}

    def stands(self, text: str) -> bool:
        """Return whether some evidence holds exactly these words."""
        return any(text in one for one in self._texts)

    def has_year(self, year: int) -> bool:
        """Return whether a year is among the figures."""
        return Decimal(year) in self._positive

    def has_day(self, day: int) -> bool:
        """Return whether a date falls on such a day of a month."""
        return any(one.day == day for one in self._days)

    def yields(self, numeral: Numeral, readings: Sequence[Reading], *, falling: bool) -> bool:
        """Return whether a figure is, rounds to, or is the percentage of one of these readings.

        `falling`: the words around say that it is a loss, so that its sign may be left out.
        """
        return any(self._yields(numeral, one, falling=falling) for one in readings)

    def has_part(self, part: Part) -> bool:
        """Return whether a fraction is known by its value, or each number that it is written with."""
        reading = Reading(part.value, _PART_STEP)
        return self._near(self._positive, reading) or (
            bool(part.numbers) and all(number in self._positive for number in part.numbers)
        )

    def has_moment(self, moment: Moment) -> bool:
        """Return whether a date or a time is known."""
        if self.stands(moment.text):
            return True
        if moment.time is not None:
            return self._has_time(moment.time) if self._times else self._has_score(moment.time)
        if moment.years and all(self.has_year(year) for year in moment.years):
            return True
        test = all if moment.both else any
        return bool(moment.days) and test(self._has_day(day) for day in moment.days)

    def _yields(self, numeral: Numeral, reading: Reading, *, falling: bool) -> bool:
        rows = {
            "-": [self._negative],
            "+": [self._positive],
            "–": [self._positive, self._negative],
        }.get(numeral.sign, [self._positive, self._negative] if falling else [self._positive])
        if any(self._near(row, reading) for row in rows):
            return True
        if numeral.percent:
            return numeral.sign != "-" and self._near(self._fractions, reading)
        if numeral.scaled:
            return any(self._near_multiple(power, reading) for power in self._multiples)
        return reading.value < _LEAST_FRACTION and self._near(self._percents, reading)

    def _near(self, row: set[Decimal], reading: Reading) -> bool:
        if reading.value in row:
            return True
        figures = self._sorted[id(row)]
        half = EXACT.divide(reading.step, Decimal(2))
        low, high = EXACT.subtract(reading.value, half), EXACT.add(reading.value, half)
        place = bisect_left(figures, low)
        return place < len(figures) and figures[place] <= high

    def _near_multiple(self, power: int, reading: Reading) -> bool:
        value, step = (part.scaleb(-power, EXACT) for part in reading)
        return self._near(self._positive, Reading(value, step))

    def _has_time(self, time: tuple[int, int, int | None]) -> bool:
        return time in self._times or (time[2] is None and time in self._times)

    def _has_score(self, score: tuple[int, int, int | None]) -> bool:
        """Return whether both sides of what looked like a time are figures of their own."""
        return score[2] is None and all(
            Decimal(side) in self._positive for side in score[:2] if side
        )

    def _has_day(self, day: Day) -> bool:
        if day.day is None:
            known = day.year is not None and self.has_year(day.year) and day.month in self._months
            return known or day in self._months_of_years
        if day in self._days:
            return True
        bare = Day(None, day.month, day.day)
        return day.year is not None and bare in self._undated and self.has_year(day.year)

    def _read(self, text: str, seen: set[str]) -> None:
        self._months.update(MONTHS[name.lower()] for name in set(MONTH.findall(text)))
        self._read_words(text)
        self._multiples.update(power for power, said in _IN_MULTIPLES if said.search(text))
        # Most lines of a page hold no digit, and no number goes over the end of a line.
        text = "\n".join(line for line in text.split("\n") if _DIGIT.search(line))
        for match in NUMERAL.finditer(text):
            if match[0] not in seen:
                seen.add(match[0])
                self._add(read_match(match))
        self._read_moments(text)
        for part in find_parts(text):
            self._add_part(part.value)
        for fall in _FALL.finditer(text):
            numeral = NUMERAL.match(text, fall.end())
            if numeral:
                self._negative.update(one.value for one in read_match(numeral).readings)
        for accounted in _ACCOUNTED.finditer(text):
            self._negative.update(one.value for one in read_digits(accounted[1]))

    def _add(self, numeral: Numeral) -> None:
        items = split_list(numeral.digits)
        parts = [one for item in items for one in read_digits(item)] if items[1:] else []
        for reading in (*numeral.readings, *parts):
            self._add_value(reading.value, numeral, whole=reading.step >= 1)
        if not numeral.readings:
            # Of 3.11.2, people say 3.11.
            head = ".".join(numeral.digits.split(".")[:2])
            self._positive.update(one.value for one in read_digits(head))

    def _add_value(self, value: Decimal, numeral: Numeral, *, whole: bool) -> None:
        if numeral.sign in {"-", "–"}:
            self._negative.add(value)
        if numeral.sign != "-":
            self._positive.add(value)
        if not whole and value <= _LEAST_FRACTION:
            self._fractions.add(value.scaleb(2, EXACT))
        if numeral.percent:
            self._percents.add(value.scaleb(-2, EXACT))

    def _read_moments(self, text: str) -> None:
        for moment in find_dates(text):
            self._days.update(moment.days)
            self._positive.update(Decimal(day.year) for day in moment.days if day.year)
            self._positive.update(Decimal(year) for year in moment.years)
        for moment in find_times(text):
            if moment.time is not None:
                self._times.update({moment.time, (*moment.time[:2], None)})

    def _read_words(self, text: str) -> None:
        for first, second in set(_NUMBER_WORDS.findall(text)):
            worth, more = _WORTH[first.lower()], _WORTH.get(second.lower(), 0)
            self._positive.add(Decimal(worth))
            if more:
                self._positive.add(Decimal(more))
                self._positive.add(Decimal(worth * more if more > worth else worth + more))
        for word in {word.lower().rstrip("s") for word in _QUARTERS.findall(text)}:
            self._add_part(Decimal(1) / Decimal(_PARTS[word]))

    def _add_part(self, value: Decimal) -> None:
        self._positive.add(value)
        self._fractions.add(value.scaleb(2, EXACT))
