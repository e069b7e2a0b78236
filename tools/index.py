"""The full-text index: one SQLite file, written once, renamed into place and then only read."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from tools.chunks import Chunk, cut_at_sentence, split_paragraphs
from tools.terms import content_words, share_found, stem_text, stem_word

SCHEMA_VERSION: Final = 2
MIN_COVERAGE: Final = 0.6
"""An excerpt with fewer of the query's words than this answers another question."""

SNIPPET_CHARS: Final = 700
CANDIDATES: Final = 60
QUERY_SECONDS: Final = 5.0

_SCHEMA: Final = """
CREATE TABLE meta (fingerprint TEXT NOT NULL);
CREATE VIRTUAL TABLE chunks USING fts5(
    title, text, source UNINDEXED, weight UNINDEXED,
    tokenize = 'porter unicode61 remove_diacritics 2'
);
"""
_INSERT: Final = "INSERT INTO chunks (title, source, text, weight) VALUES (?, ?, ?, ?)"
# A word in the title says more about a piece than one in its text.
_SEARCH: Final = """
SELECT title, source, text, weight, bm25(chunks, 6.0, 1.0) AS rank
FROM chunks WHERE chunks MATCH ? ORDER BY rank LIMIT ?
"""


class Hit(NamedTuple):
    """An excerpt that answers a query."""

    title: str
    source: str
    snippet: str
    coverage: float
    """The share of the query's content words found in the piece."""


class _Scored(NamedTuple):
    score: float
    coverage: float
    chunk: Chunk


def write_index(path: Path, chunks: Iterable[Chunk], fingerprint: str) -> int:
    """Write a complete index to a new file; return how many pieces it has."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        # No journal: a file that was not finished is thrown away, never repaired.
        connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA}")
        connection.executemany(_INSERT, chunks)
        connection.execute("INSERT INTO meta VALUES (?)", (fingerprint,))
        connection.execute("INSERT INTO chunks (chunks) VALUES ('optimize')")
        connection.commit()
        (count,) = connection.execute("SELECT count(*) FROM chunks").fetchone()
        return int(count)


def read_fingerprint(path: Path) -> str | None:
    """Return what the index was built from; `None` where there is no usable index."""
    if not path.exists():
        return None
    try:
        with contextlib.closing(_open(path)) as connection:
            row = connection.execute("SELECT fingerprint FROM meta").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def search_index(path: Path, query: str, limit: int) -> list[Hit]:
    """Return the best excerpts for a query; every call has its own connection."""
    words = content_words(query)
    if not words:
        return []
    # Quoted, a word is a string to FTS5 whatever it spells: AND, NEAR and * lose their meaning.
    expression = " OR ".join(f'"{word}"' for word in words)
    with contextlib.closing(_open(path)) as connection:
        deadline = time.monotonic() + QUERY_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)
        rows = connection.execute(_SEARCH, (expression, CANDIDATES)).fetchall()
    stems = {stem_word(word) for word in words}
    scored = [_score(Chunk(*row[:4]), row[4], stems) for row in rows]
    return _best(scored, stems, limit)


def _open(path: Path) -> sqlite3.Connection:
    # `immutable` holds: a new index is a new file under the same name.
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)


def _score(chunk: Chunk, rank: float, stems: set[str]) -> _Scored:
    coverage = share_found(stems, f"{chunk.title}\n{chunk.text}")
    title = stem_text(chunk.title)
    in_title = len(stems & title) / len(stems)
    # Of two titles with the query's words, the one with fewer others is about them.
    on_point = len(stems & title) / max(1, len(title))
    # bm25() is negative, and lower is better. The factors keep one rare word from deciding alone.
    score = -rank * coverage**2 * (0.5 + in_title) * (1 + on_point) * chunk.weight
    return _Scored(score, coverage, chunk)


def _best(scored: list[_Scored], stems: set[str], limit: int) -> list[Hit]:
    hits: list[Hit] = []
    seen: set[str | tuple[str, str]] = set()
    for one in sorted(scored, key=lambda each: each.score, reverse=True):
        chunk = one.chunk
        snippet = make_snippet(chunk, stems)
        # Pieces under one heading, and a text that stands in two documents, are one source.
        known: set[str | tuple[str, str]] = {snippet, (chunk.title, chunk.source)}
        if one.coverage >= MIN_COVERAGE and not known & seen:
            hits.append(Hit(chunk.title, chunk.source, snippet, one.coverage))
            seen.update(known)
        if len(hits) == limit:
            break
    return hits


def make_snippet(chunk: Chunk, stems: set[str]) -> str:
    """Return readable prose from the first paragraph that has most of the stems, and what follows.

    What the title says counts for every paragraph, so a text about the very thing is shown from its
    beginning.
    """
    paragraphs = [_unwrapped(paragraph) for paragraph in split_paragraphs(chunk.text)]
    shares = [share_found(stems, f"{chunk.title}\n{paragraph}") for paragraph in paragraphs]
    whole = "\n\n".join(paragraphs)
    if len(whole) <= SNIPPET_CHARS:
        return whole
    return cut_at_sentence("\n\n".join(paragraphs[shares.index(max(shares)) :]), SNIPPET_CHARS)


def _unwrapped(paragraph: str) -> str:
    """Join the lines of prose; leave code, lists and tables as they are."""
    lines = [line.strip() for line in paragraph.splitlines()]
    kept_as_is = re.search(r"(?m)^\s*(```|>>>|\$ |[-*+•] |\d+[.)] |\||.*::=)", paragraph)
    return "\n".join(paragraph.splitlines()) if kept_as_is else " ".join(lines)
