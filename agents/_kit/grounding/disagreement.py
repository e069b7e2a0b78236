"""Finds where two agents say different figures for the same thing, in the same words.

A disagreement stops a run to ask a person, so whatever may be about something else is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Final, NamedTuple

from agents._kit.grounding.characters import plain
from agents._kit.grounding.layout import lay_out
from agents._kit.grounding.moments import MONTH
from agents._kit.grounding.numerals import NUMERAL, Numeral, Reading, read_match
from domain.validation import Disagreement

MAX_DISAGREEMENTS: Final = 5
MAX_RESULT_CHARS: Final = 100_000
MAX_STATEMENT_CHARS: Final = 300
MAX_LABEL_WORDS: Final = 10

_VERB: Final = (
    r"(?:[ ]*[:=][ ]*|[ ](?:is|was|are|were|comes?[ ]to|came[ ]to|amounts?[ ]to|amounted[ ]to"
    r"|totals?|totalled|equals?|stands?[ ]at|stood[ ]at)[ ])"
)
_HEDGE: Final = r"(?:about|around|roughly|approximately|nearly|exactly|~|≈)[ ]?"
_STATED: Final = re.compile(
    rf"^(?P<label>[A-Za-z][^:=.!?|\n]{{1,80}}?){_VERB}(?P<hedge>{_HEDGE})?"
    rf"(?=[-–+]?[$€£¥₹]?[ ]?-?\.?\d)",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"(?<=[.!?;])\s+")
_BULLET: Final = re.compile(r"^[ \t>]*(?:(?:[-*+•]|\d{1,3}[.)])[ \t]+)?")
_EMPHASIS: Final = re.compile(r"\*\*|__|`|(?<!\w)[*_]|[*_](?!\w)")
_HEADING: Final = re.compile(r"^#{1,6}[ \t]+(.*)$")
_RULE: Final = re.compile(r"^[ \t:|-]+$")
_UNCERTAIN: Final = re.compile(
    r"\b(?:if|would|could|might|may|should|except|excluding|including|without|before|after|not"
    r"|versus|vs|forecast\w*|predict\w*|expect\w*|target\w*|estimat\w*|assume[sd]?|assuming|assumption|instead|compared"
    r"|previous\w*|between|from|at least|at most|up to|more than|less than|over|under|per)\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W_]+(?:[.-][^\W_]+)*")
_FILLER: Final = frozenset(
    """
    a an and are as at by computed calculated for here in is its of on our so the their then this
    to value was were
    """.split()  # noqa: SIM905 - a list literal would take twenty lines
)
_SAME: Final = {
    "average": "mean",
    "avg": "mean",
    "maximum": "max",
    "minimum": "min",
    "percent": "%",
}
_SAYS_NOTHING: Final = frozenset(
    """
    answer chapter count example figure findings it key line note number page result results round
    row section source sources statistics step summary table task that there these they total
    version
    """.split()  # noqa: SIM905 - likewise
)
_UNIT: Final = re.compile(r"[ \u00a0-]?([A-Za-z°µμ€£$][\w/²³]{0,15})")
_JOINING: Final = frozenset(
    [
        "and",
        "at",
        "but",
        "by",
        "for",
        "from",
        "in",
        "of",
        "on",
        "or",
        "per",
        "so",
        "than",
        "that",
        "to",
        "which",
        "with",
    ]
)


class _Statement(NamedTuple):
    about: str
    key: tuple[str, ...]
    """What it is about: label, unit, and what else narrows it."""
    reading: Reading
    negative: bool
    text: str


def find_disagreements(results: Sequence[tuple[str, str]]) -> list[Disagreement]:
    """Return where two agents' results, as (agent, output), contradict each other in a figure.

    Every two that do, about at most `MAX_DISAGREEMENTS` things; a thing is called the same each time.
    """
    said = [(agent, _unambiguous(output)) for agent, output in results]
    found: dict[tuple[str, ...], list[Disagreement]] = {}
    for (one, first), (other, second) in combinations(said, 2):
        if one == other:
            continue
        for key in sorted(first.keys() & second.keys()):
            here, there = first[key], second[key]
            if _differ(here, there):
                named = {pairs[0]["about"] for pairs in found.values()}
                pairs = found.setdefault(key, [])
                about = pairs[0]["about"] if pairs else _distinct(here, named)
                statements = [here.text, there.text]
                pairs.append(Disagreement(agents=[one, other], about=about, statements=statements))
    ordered = sorted(found.items())[:MAX_DISAGREEMENTS]
    return [pair for _, pairs in ordered for pair in pairs]


def _distinct(statement: _Statement, named: set[str]) -> str:
    """Return what a statement is about; with its heading and unit where something else is called so too."""
    if statement.about not in named:
        return statement.about
    return f"{statement.about} ({', '.join(filter(None, statement.key[1:]))})"


def _unambiguous(output: str) -> dict[tuple[str, ...], _Statement]:
    """Return the statements by what they are about, without what is said in two ways."""
    found: dict[tuple[str, ...], _Statement] = {}
    twice: set[tuple[str, ...]] = set()
    for statement in _find_statements(plain(output[:MAX_RESULT_CHARS])):
        before = found.setdefault(statement.key, statement)
        if _differ(before, statement):
            twice.add(statement.key)
    return {key: one for key, one in found.items() if key not in twice}


def _differ(one: _Statement, other: _Statement) -> bool:
    if one.negative != other.negative:
        return True
    room = max(one.reading.step, other.reading.step) / 2
    return abs(one.reading.value - other.reading.value) > room


def _find_statements(output: str) -> Iterator[_Statement]:
    heading, header = "", ""
    lines = lay_out(output).prose.split("\n")
    for line in lines:
        title = _HEADING.match(line)
        if title:
            heading, header = _EMPHASIS.sub("", title[1]), ""
        elif line.lstrip().startswith("|"):
            if not header:
                header = line
            elif not _RULE.match(line):
                yield from _read_row(line, header, heading)
        else:
            header = ""
            text = _EMPHASIS.sub("", line[_BULLET.match(line).end() :])  # type: ignore[union-attr]  # all of it is optional
            for sentence in _SENTENCE.split(text):
                statement = _read_sentence(sentence.strip(), heading)
                if statement is not None:
                    yield statement


def _read_sentence(sentence: str, heading: str) -> _Statement | None:
    stated = _STATED.match(sentence[:600])
    if stated is None or _UNCERTAIN.search(sentence):
        return None
    number = NUMERAL.match(sentence, stated.end())
    if number is None:
        return None
    numeral, rest = read_match(number), sentence[number.end() :]
    unit, rest = _split_unit(numeral, number["currency"], rest)
    if NUMERAL.search(MONTH.sub("", rest)) and not _narrows(rest):
        return None
    about = stated["label"].strip()
    return _make(about, heading, unit, numeral, rest, sentence, rough=bool(stated["hedge"]))


def _read_row(line: str, header: str, heading: str) -> Iterator[_Statement]:
    cells, names = _cells(line), _cells(header)
    if len(cells) != len(names) or not cells[1:]:
        return
    for name, cell in zip(names[1:], cells[1:], strict=True):
        number = NUMERAL.match(cell)
        if number is None or not cells[0]:
            continue
        numeral = read_match(number)
        unit, rest = _split_unit(numeral, number["currency"], cell[number.end() :])
        if not rest.strip():
            about = f"{cells[0]}, {name}"
            statement = _make(about, heading, unit, numeral, "", line.strip(), rough=False)
            if statement is not None:
                yield statement


def _cells(line: str) -> list[str]:
    return [_EMPHASIS.sub("", cell).strip() for cell in line.strip().strip("|").split("|")]


def _split_unit(numeral: Numeral, currency: str | None, rest: str) -> tuple[str, str]:
    """Return the unit of a number and what stands behind it."""
    if numeral.percent or currency:
        return ("%" if numeral.percent else (currency or "").strip(), rest)
    unit = _UNIT.match(rest)
    if unit is None or unit[1].lower() in _JOINING:
        return "", rest
    return unit[1].lower().rstrip("s"), rest[unit.end() :]


def _make(
    about: str, heading: str, unit: str, numeral: Numeral, rest: str, text: str, *, rough: bool
) -> _Statement | None:
    label = _words(about)
    telling = [word for word in label if word not in _SAYS_NOTHING and not word.isdigit()]
    if not telling or not numeral.readings or len(label) > MAX_LABEL_WORDS:
        return None
    context = sorted({word for word in _words(heading) if word not in _SAYS_NOTHING})
    value, step = numeral.readings[0]
    if rough and value == value.to_integral() and value:
        step = max(step, value / 10)
    return _Statement(
        about=about,
        key=(" ".join(label), unit, " ".join(context), " ".join(sorted(_words(rest)))),
        reading=Reading(value, Decimal(step)),
        negative=numeral.sign in {"-", "–"},
        text=text[:MAX_STATEMENT_CHARS],
    )


def _narrows(rest: str) -> bool:
    """Return whether what stands behind a figure only says when, as "in 2023"."""
    return (
        re.fullmatch(r"[ ]?\(?(?:in|for|on|during|as of)[ ][\w ,-]{1,30}\)?[.]?", rest) is not None
    )


def _words(text: str) -> list[str]:
    words = [_SAME.get(word, word) for word in _WORD.findall(text.lower())]
    return [word for word in words if word not in _FILLER]
