"""Words of a query and of a text, reduced so that they can be compared."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

MAX_QUERY_CHARS: Final = 500
MAX_TERMS: Final = 24
MIN_STEM_CHARS: Final = 3
"""A shorter stem would join words that have nothing to do with each other."""

_WORD: Final = re.compile(r"[^\W_]+")

STOP_WORDS: Final = frozenset(
    (  # noqa: SIM905 - a list of strings would take a line for each of them
        "a about all also am an and any are as at be been being between briefly but by can "
        "could describe did do docs document documentation documents does doing done each "
        "either else etc explain explanation find for from get give given gives had has have "
        "help her here his how i if in independently information into is it its just know let "
        "like list local look looking made make many may me mean means meant might more most "
        "much must my near need no nor not of off on one only or other our out over please "
        "question search should show so some such tell than that the their them then there "
        "these they this those through to too up us use used uses using very want was way we "
        "were what when where whether which while who whom whose why will with within without "
        "work works would you your "
    ).split()
)
"""Words that say nothing about what is looked for."""

_ENDINGS: Final = (
    *("ations", "ation", "ators", "ator", "ions", "ings", "ion", "ing", "ors", "ers"),
    *("or", "er", "ied", "ies", "ed", "es", "s"),
)


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


def stem_word(word: str) -> str:
    """Return what the forms of a word share: `reading`, `reader` and `reads` agree."""
    stem = word
    for ending in _ENDINGS:
        if (
            stem.endswith(ending)
            and len(stem) - len(ending) >= MIN_STEM_CHARS
            and not stem.endswith("ss")
        ):
            stem = stem[: -len(ending)] + ("i" if ending in {"ied", "ies"} else "")
            break
    stem = stem[:-1] + "i" if stem.endswith("y") and len(stem) > MIN_STEM_CHARS else stem
    stem = stem[:-1] if stem.endswith("e") and len(stem) > MIN_STEM_CHARS else stem
    return stem[:-1] if len(stem) > MIN_STEM_CHARS and stem[-1] == stem[-2] else stem


def stem_text(text: str) -> set[str]:
    """Return the stems of all words of a text."""
    return {stem_word(word) for word in split_words(text)}


def content_words(query: str) -> list[str]:
    """Return the words of a query that say what is looked for, each once."""
    words: dict[str, str] = {}
    for word in split_words(query[:MAX_QUERY_CHARS]):
        if len(word) > 1 and word not in STOP_WORDS:
            words.setdefault(stem_word(word), word)
    return list(words.values())[:MAX_TERMS]


def share_found(stems: Collection[str], text: str) -> float:
    """Return the share of `stems` that occur in a text."""
    if not stems:
        return 0.0
    found = stem_text(text)
    return sum(stem in found for stem in stems) / len(stems)
