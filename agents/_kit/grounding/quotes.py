"""Finds the quotations of an answer that no text holds."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from agents._kit.grounding.characters import plain
from agents._kit.grounding.layout import Layout, blank

LEAST_WORDS: Final = 4
LEAST_CHARS: Final = 25
MOST_QUOTES: Final = 400
"""Quotations of one answer that are looked at."""

_PAIRS: Final = re.compile(
    r"(?<![\w\"])\"(?=[^\s\"])([^\"]{3,4000}?)\"(?!\w)"
    r"|[“„]([^“”„]{3,4000})[”“]"
    r"|«[ \u00a0]?([^«»]{3,4000})[ \u00a0]?»"
    r"|»([^«»]{3,4000})«"
    r"|(?<!\w)‘([^‘\n]{25,4000}?)’(?!\w)"
)
_PARAGRAPH: Final = re.compile(r"\n[ \t]*\n")
_QUOTED_LINE: Final = re.compile(r"^[ \t]{0,3}>[ \t]?(.*)$")
_ATTRIBUTION: Final = re.compile(r"^\s*(?:[—–]|--|- [A-Z]).{0,200}$")
_CALLOUT: Final = re.compile(
    r"^\s*(?:\[!\w+\]|(?:\*\*|__)?(?:note|warning|tip|caution|important|info|hint)\b[:.]?(?:\*\*|__)?[:.]?)",
    re.IGNORECASE,
)
_MARKS_AFTER: Final = re.compile(
    r"[\"”“»«’*_]{0,3}[.,;:]?\s{0,2}((?:\[\d{1,4}(?:, ?\d{1,4}){0,9}\]\s?){1,9})"
)
_MARKS_AT_END: Final = re.compile(r"((?:\[\d{1,4}(?:, ?\d{1,4}){0,9}\]\s{0,2}){1,9})[.\s]*$")
_SEARCHED: Final = re.compile(
    r"(?:search(?:ed|es|ing)?|quer(?:y|ies|ied)|looked up)\W{0,3}(?:\w+ ){0,3}\W{0,3}$",
    re.IGNORECASE,
)
_GAP: Final = re.compile(r"\[[^\]\n]{0,80}\]|\(?(?:\.{3}|…|\. \. \.)\)?")
_NUMBER: Final = re.compile(r"\d+")

_LINK: Final = re.compile(
    r"\[([^\[\]\n]{0,300})\]\([^()\s]{0,2000}(?:\([^()\s]{0,200}\)[^()\s]{0,200})?\)"
)
_CUT_LINK: Final = re.compile(r"\]\([^()\s]{0,2000}\s?$")
_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPE: Final = re.compile(r"\\[nrt\"'/]")
_REFERENCE: Final = re.compile(r"\[\d{1,3}\]")
_HYPHENATED: Final = re.compile(r"(?<=[^\W\d_])-[ \t]*\n[ \t]*(?=[^\W\d_])")
_WIDE: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD: Final = re.compile(rf"[{_WIDE}]|[^\W_{_WIDE}]+")


class Quote(NamedTuple):
    """A quotation of an answer."""

    text: str
    start: int
    sources: tuple[int, ...]
    """The numbers of the marks right behind it."""


class QuoteFault(NamedTuple):
    """A quotation that does not stand where it should."""

    text: str
    reason: str


class Words:
    """A text as a row of words, in which a quotation can be looked for."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._rows = [row for text in texts for row in _rows_of(text)]

    def hold(self, pieces: Sequence[str]) -> bool:
        """Return whether one text has these pieces, each a row of words, in their order."""
        return any(_has(row, pieces) for row in self._rows)


def find_false_quotes(
    layout: Layout, texts: Words, sources: Mapping[int, Words]
) -> Iterator[QuoteFault]:
    """Yield the quotations that no text holds, or not the source which the mark behind them names."""
    for quote in find_quotes(layout)[:MOST_QUOTES]:
        pieces = split_quote(quote.text)
        if not pieces:
            continue
        named = [sources[number] for number in quote.sources if number in sources]
        known = bool(quote.sources) and len(named) == len(quote.sources)
        if any(source.hold(pieces) for source in named):
            continue
        held = texts.hold(pieces)
        if held and known:
            others = [number for number, source in sources.items() if source.hold(pieces)]
            yield QuoteFault(quote.text, _misplaced(quote, others))
        elif not held and not any(source.hold(pieces) for source in sources.values()):
            yield QuoteFault(
                quote.text,
                "No page and no tool output holds these words. Quote exactly what was read, "
                "or say it in your own words without quotation marks.",
            )


def find_quotes(layout: Layout) -> list[Quote]:
    """Return what an answer quotes, in marks or as a block, in its order."""
    blocks, marked = _find_quote_blocks(layout)
    inside = [*blocks, *_find_marked(layout, marked)]
    return sorted((quote for quote in inside if _is_long(quote.text)), key=lambda q: q.start)


def split_quote(text: str) -> list[str]:
    """Return the rows of words between the places where a quotation leaves something out."""
    text = _CUT_LINK.sub("", _LINK.sub(r"\1", text))
    return [piece for part in _GAP.split(text) if (piece := _row_of(part).strip())]


def _misplaced(quote: Quote, others: list[int]) -> str:
    marks = "".join(f"[{number}]" for number in quote.sources)
    where = f"they stand in [{others[0]}]" if others else "they stand elsewhere in what was read"
    return f"The page of {marks} does not hold these words; {where}. Put the mark of their source."


def _find_quote_blocks(layout: Layout) -> tuple[list[Quote], str]:
    """Return the block quotations, and the text without them and without code."""
    inside = [(block.start, block.end) for block in layout.blocks]
    without = blank(layout.text, inside).split("\n")
    quotes: list[Quote] = []
    rest: list[str] = []
    held: list[str] = []
    place = start = 0
    for line in without:
        found = _QUOTED_LINE.match(line)
        if found:
            start = start if held else place
            held.append(found[1])
        else:
            quotes += _block_of(held, start)
            held = []
        rest.append(" " * len(line) if found else line)
        place += len(line) + 1
    return [*quotes, *_block_of(held, start)], "\n".join(rest)


def _block_of(lines: list[str], start: int) -> list[Quote]:
    if not lines or _CALLOUT.match(lines[0]):
        return []
    while lines and (not lines[-1].strip() or _ATTRIBUTION.match(lines[-1])):
        lines = lines[:-1]
    quotes = []
    for paragraph in "\n".join(lines).split("\n\n"):
        marks = _MARKS_AT_END.search(paragraph[-300:])
        text = paragraph[: len(paragraph) - len(marks[0])] if marks else paragraph
        quotes.append(Quote(text.strip(), start, _numbers(marks)))
    return quotes


def _find_marked(layout: Layout, rest: str) -> Iterator[Quote]:
    rest = blank(rest, ((span.start, span.end) for span in layout.inline if '"' in span.text))
    place = 0
    for part in _PARAGRAPH.split(rest):
        place = rest.index(part, place)
        for match in _PAIRS.finditer(part):
            if _SEARCHED.search(part[max(match.start() - 60, 0) : match.start()]):
                continue
            text = next(group for group in match.groups() if group)
            marks = _MARKS_AFTER.match(part, match.end())
            yield Quote(text.strip(), place + match.start(), _numbers(marks))


def _numbers(marks: re.Match[str] | None) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(marks[1])) if marks else ()


def _is_long(text: str) -> bool:
    words = _WORD.findall(text[:4_000])
    return len(words) >= LEAST_WORDS or (len(text) >= LEAST_CHARS and len(words) > 1)


def _has(row: str, pieces: Sequence[str]) -> bool:
    place = 0
    for piece in pieces:
        found = row.find(f" {piece} ", place)
        if found < 0:
            return False
        place = found + len(piece) + 1
    return True


def _rows_of(text: str) -> Iterator[str]:
    text = plain(text)
    if "&" in text:
        text = html.unescape(text)
    if "\\" in text:
        text = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), text)
        text = _ESCAPE.sub(" ", text)
    yield _row_of(text)
    joined = _HYPHENATED.sub("", text)
    if joined != text:
        yield _row_of(joined)


def _row_of(text: str) -> str:
    """Return the words of a text with one space around each: no case, punctuation or markup."""
    text = _REFERENCE.sub(" ", _LINK.sub(r"\1", text))
    return f" {' '.join(_WORD.findall(text.casefold()))} "
