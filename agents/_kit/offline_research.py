"""Turns a question into a search query, and the hits into quotations with their sources."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from agents._kit.offline_answers import REMEDY
from tools.listing import FENCE

SCAN_CHARS: Final = 2_000
QUERY_WORDS: Final = 12
QUOTE_CHARS: Final = 500
SHOWN_HITS: Final = 2

NOTHING_FOUND: Final = (
    "I found nothing in the local documents that answers this. Neither web search nor a language "
    f"model is configured. {REMEDY} SIGNALBOX_KNOWLEDGE_DIR names a folder of documents to search."
)
NOTHING_LOCAL: Final = (
    "I found nothing in the local documents that answers this. No language model is configured. "
    f"{REMEDY}"
)

_HIT: Final = re.compile(r"^\[(\d{1,4})\] (.{1,1000})$", re.MULTILINE)
_LIST: Final = re.compile(rf"^<{FENCE}>\n(.*)\n</{FENCE}>$", re.MULTILINE | re.DOTALL)
_DATE: Final = re.compile(r"Date: [^\n]{1,50}\n")
_NAME: Final = re.compile(r"[\w][\w.+#'-]*")
_FILLER: Final = frozenset(
    """
    a about according agent also an and any anything are article articles as ask at available be
    been best briefly by can cite citations could define definition describe did do docs document
    documentation documents does exactly explain explanation find for from get give had has have
    how i if in independently information into is it its know let local look looking may me mean
    means might much my need of on one or our out page please question reference references
    research researcher say says search should show some someone something source sources
    summarise summarize summary task tell than that the their them then there these they thing
    this those to understand up us use using was way we were what what's when where whether which
    who whom whose why will with works would write you your
    """.split()  # noqa: SIM905 - a list literal would take a hundred lines
)


class Hit(NamedTuple):
    """One search result as the tool printed it."""

    number: int
    title: str
    source: str
    snippet: str


def write_query(text: str) -> str:
    """Return the words of a question that carry its subject."""
    words = [word.rstrip(".'-") for word in _NAME.findall(text[:SCAN_CHARS])]
    telling = [word for word in words if word.lower() not in _FILLER and word]
    unique = list(dict.fromkeys(telling or words))
    return " ".join(unique[:QUERY_WORDS]) or text[:200].strip()


def read_hits(text: str) -> list[Hit]:
    """Return the hits of a search result, in its order."""
    fenced = _LIST.search(text)
    text = fenced[1] if fenced else text
    marks = list(_HIT.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    hits = []
    for mark, end in zip(marks, ends, strict=False):
        title, _, source = mark[2].rpartition(" — ")
        snippet = _DATE.sub("", text[mark.end() : end].strip(), count=1)
        hits.append(Hit(int(mark[1]), title or source, source, snippet))
    return hits


def report_hits(text: str, query: str, *, where: str = "The local documents say") -> str | None:
    """Return the best hits, quoted and cited; `None` where there is nothing."""
    hits = _choose(read_hits(text), query)
    if not hits:
        return None
    quotes = [f"> {_shorten(hit.snippet)} [{hit.number}]" for hit in hits]
    sources = [f"[{hit.number}] {hit.title} — {hit.source}" for hit in hits]
    listed = "\n".join(sources)
    return f"{where}:\n\n" + "\n\n".join(quotes) + f"\n\nSources:\n{listed}"


def _choose(hits: list[Hit], query: str) -> list[Hit]:
    """Return the hits that share most words with the query; a poor second is left out."""
    words = {word.lower()[:6] for word in query.split()}

    def shared(hit: Hit) -> int:
        text = f"{hit.title} {hit.snippet}".lower()
        return sum(word in text for word in words)

    ranked = sorted((hit for hit in hits if hit.snippet), key=lambda hit: -shared(hit))[:SHOWN_HITS]
    if not ranked or not shared(ranked[0]):
        return []
    best = shared(ranked[0])
    return sorted(hit for hit in ranked if 3 * shared(hit) >= 2 * best)


def _shorten(snippet: str) -> str:
    text = " ".join(snippet.split())
    if len(text) <= QUOTE_CHARS:
        return text
    head = text[:QUOTE_CHARS]
    stop = max(head.rfind(". "), head.rfind("? "), head.rfind("! "))
    return head[: stop + 1] if stop > QUOTE_CHARS // 3 else head.rpartition(" ")[0] + " …"
