"""Finds the numbers of an answer that nothing yields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from agents._kit.grounding.characters import plain
from agents._kit.grounding.figures import FALLING, Figures
from agents._kit.grounding.layout import Block, Layout, Span, blank
from agents._kit.grounding.moments import Moment, find_dates, find_times
from agents._kit.grounding.numerals import (
    Numeral,
    Reading,
    find_numerals,
    find_parts,
    read_digits,
    split_list,
)

_FILE: Final = re.compile(
    r"(?<![\w.@-])(?=[\w.-]{0,160}[A-Za-z_])[\w-]{1,80}(?:\.[\w-]{1,80}){0,4}\.[A-Za-z][A-Za-z0-9]{0,6}\b"
)
_IDENTIFIER: Final = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|(?<![\w.,])(?!\d{1,64}e\d{1,3}\b)(?=\d{0,64}[a-f])(?=[a-f]{0,64}\d)[0-9a-f]{7,64}\b"
    r"|(?<!\w)(?!(?:mid|pre|post|early|late|since|until|end|sub|non|to|and|of|over|under|up|in|around)-)"
    r"[A-Za-z]\w{0,30}-\d[\w.-]{0,40}"
    r"|(?<=[A-Za-z)]\^)\d+|(?<=[A-Za-z)]\*\*)\d+(?!\*\*)|(?<=#)\d+|(?<=\[\^)\d+|(?<=\w\[)\d{1,3}(?=\])"
    r"|\b(?:Python|Windows|Java|PHP|HTML|CSS|Perl|Angular|OAuth|Unicode|Ubuntu|Debian|IPv|Web)[ ]\d{1,2}\b(?!\.\d)"
)
_PLACES: Final = re.compile(
    r"^[ \t>]*(?:[-*+•][ \t]+)?(?:\*\*)?\(?(\d{1,3}(?:\.\d{1,2})*)[.)](?:\*\*)?(?=\s)"
    r"|^[ \t]*\#{1,6}[ \t]+(?:[A-Za-z]{1,12}[ ])?(\d{1,3}(?:\.\d{1,3})*)[.:)]?(?=\s)"
    r"|(?<!\S)\((\d{1,2})\)(?=\s)"
    r"|\b(?:step|option|item|point|part|case|question|example|figure|table|phase|method|approach|task"
    r"|note|tier|rank|scenario|row|line|column|round)[ ](\d{1,2})\b(?![.,]\d)",
    re.MULTILINE | re.IGNORECASE,
)
_RANK: Final = re.compile(r"^[ \t]*\|[ \t]*(\d{1,3})[ \t]*\|", re.MULTILINE)
_ROUGHLY: Final = re.compile(
    r"(?:about|around|roughly|approx(?:imately|\.)?|some|nearly|almost|circa|close to|up to|at least"
    r"|at most|(?:more|less|fewer|greater|higher|lower) than|over|under|above|below|just short of|or so"
    r"|well over|an estimated|in the region of|[~≈]"
    r"|\b(?:etwa|rund|circa|ca\.|ungefähr|knapp|environ|près de|quasi|cerca de|unos|unas|aproximadamente))"
    r"[ \u00a0]?[-$€£¥]?$",
    re.IGNORECASE,
)
_LOWER_BOUND: Final = re.compile(
    r"(?:more than|over|above|at least|greater than|higher than)[ ]\S?$", re.IGNORECASE
)
_UPPER_BOUND: Final = re.compile(
    r"(?:less than|under|below|nearly|almost|up to|just short of)[ ]\S?$", re.IGNORECASE
)
_CHOSEN: Final = re.compile(
    r"\b(?:seed(?:ed)?|trials?|iterations?|simulat\w{1,5}|samples?|tolerance|thresholds?|timeout|runs|steps?|bins?"
    r"|precision|resampl\w{1,4}|bootstrap\w{0,6}|folds?|epochs?|paths|draws)\b",
    re.IGNORECASE,
)
_UNITS: Final = re.compile(
    r"(?:[kKMGTm]?(?:i?[Bb](?:it|yte|ps)?s?|[WVAJgmlLtNs]|Wh|Hz|Pa|bar|cal)|[µμ][smgA]|ns|ppm|ppb|min|mins"
    r"|hrs?|h|d|y|yrs?|x|px|pt|pp|bps?|bp|mph|kmh|kph|fps|rpm|dpi|in|ft|yd|lbs?|oz|mi|ha|cm|dm|nm|sq|cc"
    r"|USD|EUR|GBP|CHF|JPY|C|F|K|°[CF]?|kcal|dB|mol|AM|PM|s)(?:[²³23]|/\w{1,4})?"
)
_WORD: Final = re.compile(r"[A-Za-zµμ°][\w°²³/]{0,20}")
_HALF: Final = Decimal("0.4999")
_FIGURE: Final = re.compile(r"[^\w(){}\[\]=]{0,4}\d[\d.,:' -]{0,30}[ ]?[%a-zA-Z°µ€$£/]{0,6}")
_ORDINALS: Final = ("st", "nd", "rd", "th")
_SENTENCE: Final = re.compile(r"[.!?;]\s|\n")
_NEAR: Final = 60
_SMALL: Final = Decimal(2)
_MOST_COUNTED: Final = Decimal(200)
_ANY_ROUND: Final = 100


def find_numbers(layout: Layout, figures: Figures, programs: Sequence[str]) -> Iterator[Span]:
    """Yield what of an answer is a number, a date or a time that no evidence yields."""
    prose = re.sub(r"(?<=\d)x(?=\d)", "×", _with_outputs(layout, programs))
    taken = [(m.start(), m.end()) for m in _IDENTIFIER.finditer(prose)]
    prose = blank(prose, taken)
    places = [m.span(m.lastindex or 0) for m in _PLACES.finditer(prose)]
    ranks = [m.span(1) for m in _RANK.finditer(prose) if int(m[1]) in range(1, 201)]
    prose = blank(prose, [*places, *_sequence(prose, ranks)])
    moments = list(_find_moments(prose))
    yield from (_span(one) for one in moments if not figures.has_moment(one))
    prose = blank(prose, ((one.start, one.end) for one in moments))
    prose = blank(prose, ((m.start(), m.end()) for m in _FILE.finditer(prose)))
    parts = list(find_parts(prose))
    yield from (Span(p.start, p.end, p.text) for p in parts if not figures.has_part(p))
    prose = blank(prose, ((one.start, one.end) for one in parts))
    chosen: Figures | None = None
    # What an answer says of its own code stands there; whether it may stand there is looked at below.
    codes = [layout.text[block.start : block.end] for block in layout.blocks if block.is_code]
    shown = Figures(plain(code) for code in codes) if codes else None
    told: set[str] = set()
    for numeral in find_numerals(prose):
        if (
            numeral.text in told
            or _is_free(numeral, prose, layout)
            or _is_yielded(numeral, prose, figures)
            or (shown is not None and _is_yielded(numeral, prose, shown))
        ):
            continue
        if _CHOSEN.search(_around(prose, numeral)):
            chosen = chosen or Figures(plain(program) for program in programs)
            if _is_yielded(numeral, prose, chosen):
                continue
        told.add(numeral.text)
        yield Span(numeral.start, numeral.end, numeral.text)
    yield from _find_in_programs(layout, figures, programs)


def _with_outputs(layout: Layout, programs: Sequence[str]) -> str:
    """Return the prose with what stands in blocks of output, and inline where it is a number alone."""
    prose = list(layout.prose)
    lines = _lines_of(programs)
    for block in layout.blocks:
        if not block.is_code:
            prose[block.start : block.end] = _without_lines(layout.text, block, lines)
    for span in layout.inline:
        if _FIGURE.fullmatch(span.text.strip()):
            end = span.end - (span.end - span.start - len(span.text)) // 2
            prose[end - len(span.text) : end] = span.text
    return "".join(prose)


def _lines_of(programs: Sequence[str]) -> frozenset[str]:
    return frozenset(line.strip() for program in programs for line in plain(program).splitlines())


def _without_lines(text: str, block: Block, lines: frozenset[str]) -> str:
    """Return what a block holds with spaces for the lines of programs that ran."""
    held = text[block.start : block.end].splitlines(keepends=True)
    return "".join(blank(one, [(0, len(one))]) if one.strip() in lines else one for one in held)


def _find_in_programs(layout: Layout, figures: Figures, programs: Sequence[str]) -> Iterator[Span]:
    """Yield the telling numbers of code that did not run: neither small nor round."""
    blocks = [block for block in layout.blocks if block.is_code]
    if not blocks:
        return
    lines = _lines_of(programs)
    known = Figures(plain(program) for program in programs)
    for block in blocks:
        text = _without_lines(layout.text, block, lines)
        text = blank(text, ((m.start(), m.end()) for m in _IDENTIFIER.finditer(text)))
        for numeral in find_numerals(text):
            if _is_telling(numeral, text) and not (
                _is_yielded(numeral, text, figures) or _is_yielded(numeral, text, known)
            ):
                start = block.start + numeral.start
                yield Span(start, block.start + numeral.end, numeral.text)


def _is_telling(numeral: Numeral, text: str) -> bool:
    if not numeral.readings or _is_named(numeral, text):
        return False
    value = numeral.readings[0].value
    small = value <= _ANY_ROUND or (value == value.to_integral() and not value % _ANY_ROUND)
    return not small and bool(numeral.digits.strip("0.")[2:]) and not numeral.digits.startswith("0")


def _find_moments(prose: str) -> Iterator[Moment]:
    dates = list(find_dates(prose))
    yield from dates
    yield from find_times(blank(prose, ((one.start, one.end) for one in dates)))


def _span(moment: Moment) -> Span:
    return Span(moment.start, moment.end, moment.text.strip())


def _sequence(prose: str, ranks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the first cells of rows that count up one by one: they only number the rows."""
    found: list[tuple[int, int]] = []
    before, row = 0, (0, 0)
    for start, end in ranks:
        number = int(prose[start:end])
        if number == before + 1:
            found += [row, (start, end)]
        before, row = number, (start, end)
    return found


def _is_free(numeral: Numeral, prose: str, layout: Layout) -> bool:
    """Return whether a number needs no evidence."""
    if _is_named(numeral, prose):
        return True
    if not numeral.readings:
        return False
    value = numeral.readings[0].value
    whole = numeral.plain or numeral.sign in {"-", "–"}
    if whole and not numeral.percent and value <= _SMALL and numeral.digits.isdigit():
        # A value of 2 is as bare as a list of two things; with a sign or a unit it says something.
        return numeral.plain and not _unit_after(numeral, prose)
    return numeral.plain and value <= _MOST_COUNTED and int(value) in layout.counts


def _is_named(numeral: Numeral, prose: str) -> bool:
    """Return whether the digits are part of a name: letters touch them that are no unit."""
    start = numeral.end - len(numeral.text)
    before = prose[max(start - 1, 0) : start]
    if before and (before.isalpha() or before in "_@\\"):
        return True
    after = _WORD.match(prose, numeral.end)
    if after is None:
        return prose[numeral.end : numeral.end + 1] == "_"
    return not _UNITS.fullmatch(after[0])


def _unit_after(numeral: Numeral, prose: str) -> bool:
    after = _WORD.match(prose, numeral.end)
    return after is not None and _UNITS.fullmatch(after[0]) is not None


def _is_yielded(numeral: Numeral, prose: str, figures: Figures) -> bool:
    around = _around(prose, numeral)
    falling = FALLING.search(around) is not None
    if numeral.readings and figures.yields(numeral, _allowed(numeral, prose), falling=falling):
        return True
    if numeral.text.endswith(_ORDINALS) and numeral.digits.isdigit() and not numeral.scaled:
        return figures.has_day(int(numeral.digits[:3]))
    items = split_list(numeral.digits)
    if items[1:] and ("," in numeral.digits or " " in numeral.digits):
        return _are_yielded(numeral, items, figures, falling=falling)
    return not numeral.readings and numeral.sign != "-" and figures.stands(numeral.digits)


def _are_yielded(numeral: Numeral, items: list[str], figures: Figures, *, falling: bool) -> bool:
    """Return whether each number of a list such as `1,2,3` is yielded; of 1,234 the groups are none."""
    if numeral.readings and "," in numeral.digits:
        return False
    return all(
        any(r.value <= _SMALL for r in readings)
        or figures.yields(numeral, readings, falling=falling)
        for readings in map(read_digits, items)
    )


def _allowed(numeral: Numeral, prose: str) -> list[Reading]:
    """Return the readings; where words say that it is rough, zeros at the end count as rounded."""
    before = prose[max(numeral.start - 30, 0) : numeral.end - len(numeral.text)]
    if not _ROUGHLY.search(before) and prose[numeral.end : numeral.end + 1] != "+":
        return list(numeral.readings)
    lower = _LOWER_BOUND.search(before) or prose[numeral.end : numeral.end + 1] == "+"
    upper = _UPPER_BOUND.search(before)
    allowed = []
    for value, step in numeral.readings:
        if step == 1 and not numeral.scaled and value and not value % 10:
            zeros = len(str(int(value))) - len(str(int(value)).rstrip("0"))
            rough = max(step, min(Decimal(1).scaleb(zeros), value / 5))
        else:
            rough = step
        allowed.append(Reading(value, rough))
        # Its own end does not belong to it: 12 is not "over 11".
        half = rough * _HALF
        # "Over 12" is said of 12.9 as well, "nearly 13" too.
        allowed += [Reading(value + half, 2 * half)] if lower else []
        allowed += [Reading(value - half, 2 * half)] if upper else []
    return allowed


def _around(prose: str, numeral: Numeral) -> str:
    """Return the words of the same sentence close to a number."""
    before = prose[max(numeral.start - _NEAR, 0) : numeral.start]
    after = prose[numeral.end : numeral.end + _NEAR // 2]
    return f"{_SENTENCE.split(before)[-1]} # {_SENTENCE.split(after)[0]}"
