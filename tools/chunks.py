"""Cuts documents into pieces of a few paragraphs, along their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

CHUNK_CHARS: Final = 1_500
MAX_PARAGRAPH_CHARS: Final = 1_500
SHORT_CHARS: Final = 200
"""A shorter piece is joined to the one before it, and explains little where it stands alone."""

OPENING_WEIGHT: Final = 1.3
"""What a thing is stands in the first paragraphs about it."""

SHORT_WEIGHT: Final = 0.8
"""BM25 on its own prefers the shortest text."""

_SKIPPED_HEADINGS: Final = re.compile(
    r"\W*(change ?log|changes|history|release notes|releases?|licen[sc]e|sponsors?|contribut\w+|"
    r"credits|acknowledge?ments?|authors?|table of contents|contents|v?\d+\.\d+.*)\b.*",
    re.IGNORECASE,
)
_MARKDOWN_HEADING: Final = re.compile(r"#{1,6}\s+(.*?)\s*#*$")
_UNDERLINE: Final = re.compile(r"([=\-~^*#\"'+`:.])\1{2,}\s*$")
_DIRECTIVE: Final = re.compile(r"\s*\.\. ")
_CLEANED: Final = (
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"</?[a-zA-Z][^<>\n]*>"), ""),
    (re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)"), ""),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[([^\]\[]+)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\")?\)"), r"\1"),
    (re.compile(r":[a-z]+(?::[a-z]+)?:`~?([^`<]+?)(?:\s*<[^`]*>)?`"), r"\1"),
    (re.compile(r"`([^`<\n]+?)\s*<[^`>\n]+>`__?"), r"\1"),
    (re.compile(r"\|[A-Za-z0-9_. -]+\|_?(?=\s|$)"), ""),
)


class Chunk(NamedTuple):
    """A piece of a document as it is indexed."""

    title: str
    source: str
    text: str
    weight: float = 1.0
    """Factor of its rank: how likely such a piece answers a question."""


class _Section(NamedTuple):
    heading: str
    lines: list[str]


def cut_document(title: str, source: str, text: str, *, weight: float = 1.0) -> Iterator[Chunk]:
    """Yield the pieces of a document; each is titled by the document and its nearest heading."""
    for section in _sections(_clean(text)):
        if section.heading and _SKIPPED_HEADINGS.fullmatch(section.heading):
            continue
        heading = section.heading
        same = not heading or heading.casefold() in title.casefold()
        full_title = title if same else f"{title}: {heading}"
        factor = weight * OPENING_WEIGHT
        for piece in _pieces(split_paragraphs("\n".join(section.lines))):
            short = SHORT_WEIGHT if len(piece) < SHORT_CHARS else 1.0
            yield Chunk(full_title, source, piece, factor * short)
            factor = weight


def split_paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, none of them longer than a chunk."""
    paragraphs: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text):
        rest = block.strip("\n").rstrip()
        while len(rest) > MAX_PARAGRAPH_CHARS:
            end = _break_before(rest, MAX_PARAGRAPH_CHARS)
            paragraphs.append(rest[:end].rstrip())
            rest = rest[end:].lstrip("\n")
        if rest.strip():
            paragraphs.append(rest)
    return paragraphs


def cut_at_sentence(text: str, limit: int) -> str:
    """Return the beginning of a text, up to the last sentence or line that ends within `limit`."""
    if len(text) <= limit:
        return text
    kept = text[:limit]
    for pattern in (r"[.!?](?=\s)", r"\n"):
        ends = [match.end() for match in re.finditer(pattern, kept)]
        if ends and ends[-1] > limit // 2:
            return kept[: ends[-1]].rstrip()
    return kept.rsplit(" ", 1)[0].rstrip() + " …"


def _clean(text: str) -> str:
    for pattern, replacement in _CLEANED:
        text = pattern.sub(replacement, text)
    return text.expandtabs(4)


def _sections(text: str) -> Iterator[_Section]:
    """Yield the text below each heading, Markdown's or reStructuredText's."""
    current = _Section("", [])
    lines = text.splitlines()
    fenced = False
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        following = lines[number + 1] if number + 1 < len(lines) else ""
        heading = None if fenced else _heading(line, following)
        if heading is not None:
            yield current
            current = _Section(heading, [])
        elif fenced or not (_UNDERLINE.match(line) or _DIRECTIVE.match(line)):
            current.lines.append(line)
    yield current


def _heading(line: str, following: str) -> str | None:
    if match := _MARKDOWN_HEADING.match(line):
        return _plain(match[1])
    if not line.strip() or line.startswith((" ", "- ", "* ", "|")) or _UNDERLINE.match(line):
        return None
    # An underline may be a little shorter than its title where the title has wide characters.
    underlined = _UNDERLINE.match(following) and len(following.strip()) >= len(line.strip()) - 2
    return _plain(line) if underlined else None


def _plain(heading: str) -> str:
    """Return a heading without marks of emphasis and without the picture it may begin with."""
    words = re.sub(r"[`*]|^[^\w\"'.(]+", "", heading.strip())
    return words.strip("_ ")


def _pieces(paragraphs: list[str]) -> list[str]:
    pieces: list[str] = []
    for paragraph in paragraphs:
        joined = f"{pieces[-1]}\n\n{paragraph}" if pieces else paragraph
        if pieces and len(joined) <= CHUNK_CHARS:
            pieces[-1] = joined
        else:
            pieces.append(paragraph)
    if len(pieces) > 1 and len(pieces[-1]) < SHORT_CHARS:
        last = pieces.pop()
        pieces[-1] = f"{pieces[-1]}\n\n{last}"
    return pieces


def _break_before(text: str, limit: int) -> int:
    for mark in ("\n", ". ", " "):
        at = text.rfind(mark, limit // 2, limit)
        if at > 0:
            return at + len(mark)
    return limit
