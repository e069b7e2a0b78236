"""Takes an answer apart: what of it is prose, what is code, where lists, tables and marks stand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_FENCE: Final = re.compile(r"^[ \t>]{0,12}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`\n]*$")
_INLINE: Final = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]{1,1000})\1(?!`)")
_LINK: Final = re.compile(
    r"(?<=\])\((?:[^()\s]|\([^()\s]{0,200}\)){1,2000}(?:[ ]\"[^\"\n]{0,200}\")?\)"
)
URL: Final = re.compile(
    r"(?:https?://|(?<![\w@./-])www\.)[^\s<>\"'`“”‘’«»|\\^{}\[\]\x00-\x1f]{1,2000}", re.IGNORECASE
)
_MARK: Final = re.compile(r"(?<!\^)\[(\d{1,4}(?:[ ]?[,;–-][ ]?\d{1,4}){0,20})\](?!\(|\[[^\]\d])")
_BULLET: Final = re.compile(r"^[ \t>]*(?:[-*+•]|(?:\*\*)?\d{1,3}[.)](?:\*\*)?)[ \t]+", re.MULTILINE)
_ROW: Final = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
_RULE: Final = re.compile(r"^[ \t]*\|[ \t:|-]+\|[ \t]*$")

# What such a block holds is meant to be run, not read.
_TEXTS: Final = frozenset(
    {"", "text", "txt", "output", "console", "json", "csv", "tsv", "plain", "plaintext"}
)


class Block(NamedTuple):
    """A fenced block."""

    start: int
    """Where what it holds begins."""
    end: int
    language: str

    @property
    def is_code(self) -> bool:
        """Whether its language says that it is a program rather than what one printed."""
        return self.language not in _TEXTS


class Span(NamedTuple):
    """A part of an answer."""

    start: int
    end: int
    text: str


class Mark(NamedTuple):
    """A `[n]` of an answer."""

    start: int
    end: int
    text: str
    numbers: tuple[int, ...]


class Layout(NamedTuple):
    """An answer and its parts; every place counts characters of `text`."""

    text: str
    prose: str
    """The text with code, links and marks blanked out; as long as the text."""
    blocks: list[Block]
    inline: list[Span]
    urls: list[Span]
    marks: list[Mark]
    counts: frozenset[int]
    """How many things the answer lists: entries of its lists, rows of its tables, sources."""


def lay_out(text: str) -> Layout:
    """Return an answer taken apart."""
    blocks = _find_blocks(text)
    without_code = blank(text, ((one.start, one.end) for one in blocks))
    inline = [Span(m.start(), m.end(), m[2]) for m in _INLINE.finditer(without_code)]
    without_inline = blank(without_code, ((one.start, one.end) for one in inline))
    urls = _find_urls(text, blocks)
    without_urls = blank(without_inline, ((one.start, one.end) for one in urls))
    links = [m.span() for m in _LINK.finditer(without_inline)]
    # A bracket right before a link is what it shows, no mark.
    marks = [_read_mark(m) for m in _MARK.finditer(without_inline)]
    without_urls = blank(without_urls, links)
    prose = blank(without_urls, ((m.start, m.end) for m in marks if len(m.numbers) == 1))
    return Layout(text, prose, blocks, inline, urls, marks, _count_listed(without_inline, marks))


def blank(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with spaces for these parts of it, and every line where it was."""
    pieces, place = [], 0
    for start, end in sorted(spans):
        if end <= place:
            continue
        first = max(start, place)
        pieces += [text[place:first], re.sub(r"[^\n]", " ", text[first:end])]
        place = end
    return "".join((*pieces, text[place:]))


def trim_url(url: str) -> str:
    """Return a URL without the punctuation of the sentence around it."""
    while url:
        last = url[-1]
        if last in ".,;:!?*_~" or (last == ")" and url.count(")") > url.count("(")):
            url = url[:-1].rstrip(".,;:!?*_~") if last != ")" else url[:-1]
            continue
        break
    return url


def _find_blocks(text: str) -> list[Block]:
    blocks: list[Block] = []
    fence, start, language, place = "", 0, "", 0
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        if not fence and found:
            fence, language, start = found[1], found[2].lower(), place + len(line)
        elif fence and found and found[1].startswith(fence) and not found[2]:
            blocks.append(Block(start, place, language))
            fence = ""
        place += len(line)
    if fence:
        blocks.append(Block(start, len(text), language))
    return blocks


def _find_urls(text: str, blocks: list[Block]) -> list[Span]:
    programs = blank(text, ((one.start, one.end) for one in blocks if one.is_code))
    urls = ((m.start(), trim_url(m[0])) for m in URL.finditer(programs))
    return [Span(start, start + len(url), url) for start, url in urls if url]


def _read_mark(match: re.Match[str]) -> Mark:
    numbers: list[int] = []
    for part in re.split(r"[,;]", match[1]):
        first, *last = (int(n) for n in re.findall(r"\d+", part))
        numbers += range(first, min(last[0], first + 50) + 1) if last else [first]
    return Mark(match.start(), match.end(), match[0], tuple(numbers))


def _count_listed(prose: str, marks: list[Mark]) -> frozenset[int]:
    counts = {len({number for mark in marks for number in mark.numbers})}
    bullets = [0]
    rows = 0
    for line in prose.splitlines():
        if _BULLET.match(line):
            bullets[-1] += 1
        elif line.strip() and not line.startswith((" ", "\t")):
            bullets.append(0)
        if _ROW.match(line):
            rows += not _RULE.match(line)
        else:
            counts |= {rows, rows - 1}
            rows = 0
    return frozenset(counts | set(bullets) | {sum(bullets), rows, rows - 1}) - {-1}
