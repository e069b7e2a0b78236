"""Grounded answers, and the small lies that are put into them.

In an answer, `⟦…⟧` marks a number that may be changed, and `⟪…⟫` the words of a quotation.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from agents._kit.grounding.check import Evidence, find_faults

MARKUP: Final = re.compile("[⟦⟧⟪⟫]")
NUMBER: Final = re.compile("⟦([^⟦⟧]*)⟧")
QUOTE: Final = re.compile("⟪([^⟪⟫]*)⟫")
LINK: Final = re.compile(r"https?://[^\s)\]>]+|(?<=\[)\d+(?=\])")
OTHER_WORDS: Final = ("hardly", "copper", "seldom", "Tuesday", "former", "opposite", "green")


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    answer: str
    evidence: Evidence
    agent: str = "researcher"

    @property
    def original(self) -> str:
        return MARKUP.sub("", self.answer)


class Mutation(NamedTuple):
    case: Case
    kind: str
    """What was changed, and how: `number swap`, `quote drop` and so on."""
    text: str
    change: str


def mutate(case: Case, seed: int) -> Iterator[Mutation]:
    """Yield the case with one number, one quotation and one address or mark changed, in every way."""
    chance = random.Random(f"{case.name} {seed}")
    for how in (swap, nudge, scale, flip):
        yield from _one(case, f"number {how.__name__}", NUMBER, how, chance)
    for how in (replace_word, add_word, drop_word):
        yield from _one(case, f"quote {how.__name__}", QUOTE, how, chance)
    yield from _one(case, "link change", LINK, change_link, chance)


def _one(case: Case, kind: str, pattern: re.Pattern[str], how, chance) -> Iterator[Mutation]:
    places = [
        place
        for place in pattern.finditer(case.answer)
        if case.evidence.citations or not (kind == "link change" and place[0].isdigit())
    ]
    chance.shuffle(places)
    for place in places:
        old = place[place.lastindex or 0]
        for _ in range(4):
            new = how(old, chance)
            if new is not None and new != old and not _is_true(new, kind, case):
                text = f"{case.answer[: place.start()]}{new}{case.answer[place.end() :]}"
                yield Mutation(case, kind, MARKUP.sub("", text), f"{old} → {new}")
                return


def _is_true(new: str, kind: str, case: Case) -> bool:
    """Return whether the evidence says the changed number as well: then it is no lie."""
    evidence = case.evidence
    texts = [*evidence.outputs, *evidence.pages.values(), evidence.given, evidence.results]
    if kind.startswith("number"):
        told = "\n".join([*texts, *(f"{c['title']} {c['snippet']}" for c in evidence.citations)])
        bare = re.escape(new.strip("$€£% "))
        return re.search(rf"(?<![\d.,-]){bare}(?![\d]|[.,]\d)", told) is not None
    if kind.startswith("link"):
        return new in {str(c["number"]) for c in evidence.citations}
    return False


def _digits(text: str) -> list[int]:
    return [place for place, char in enumerate(text) if char.isdigit()]


def swap(text: str, chance: random.Random) -> str | None:
    digits = _digits(text)
    pairs = [
        (a, b)
        for a, b in itertools.pairwise(digits)
        if text[a] != text[b] and not (a == digits[0] and text[b] == "0")
    ]
    if not pairs:
        return None
    a, b = chance.choice(pairs)
    return f"{text[:a]}{text[b]}{text[a + 1 : b]}{text[a]}{text[b + 1 :]}"


def nudge(text: str, chance: random.Random) -> str | None:
    digits = _digits(text)
    if not digits:
        return None
    last = digits[-1]
    up = (int(text[last]) + chance.choice((1, -1))) % 10
    changed = f"{text[:last]}{up}{text[last + 1 :]}"
    return changed if float(re.sub(r"\D", "", changed)) > 2 else None


def scale(text: str, chance: random.Random) -> str | None:
    number = re.fullmatch(r"(\D*)(\d[\d,]*)((?:\.\d+)?)(.*)", text)
    if number is None or re.search(r"\d", number[4]):
        return None
    before, whole, part, after = number.groups()
    if part and (whole == "0" or chance.random() < 0.5):
        moved = f"{whole}{part[1]}"
        return f"{before}{moved}.{part[2:] or '0'}{after}"
    if not part and "," not in whole:
        return f"{before}{whole}0{after}"
    return f"{before}{whole.replace(',', '')}0{part}{after}"


def flip(text: str, chance: random.Random) -> str | None:
    if text.startswith(("-", "−")):
        return text[1:]
    return f"-{text}" if re.fullmatch(r"[$€£]?\d[\d.,]*[ ]?%?", text) else None


def replace_word(text: str, chance: random.Random) -> str | None:
    words = text.split(" ")
    place = chance.randrange(len(words))
    if not words[place].isalpha():
        return None
    words[place] = chance.choice(OTHER_WORDS)
    return " ".join(words)


def add_word(text: str, chance: random.Random) -> str | None:
    words = text.split(" ")
    place = chance.randrange(1, len(words))
    return " ".join([*words[:place], chance.choice(OTHER_WORDS), *words[place:]])


def drop_word(text: str, chance: random.Random) -> str | None:
    words = text.split(" ")
    if len(words) < 4:
        return None
    place = chance.randrange(1, len(words) - 1)
    return " ".join([*words[:place], *words[place + 1 :]]) if words[place].isalpha() else None


def change_link(text: str, chance: random.Random) -> str | None:
    if text.isdigit():
        return str(int(text) + chance.choice((7, 20)))
    ways = [
        text.rstrip("/") + "-2",
        re.sub(r"://([^/]+)", r"://\1.example.net", text),
        text.rstrip("/") + "?id=8841",
        text.rsplit("/", 1)[0] + "/overview",
    ]
    return chance.choice(ways)


class Tally(NamedTuple):
    """How a set of cases fared."""

    originals: int
    rejected: list[str]
    made: dict[str, int]
    missed: list[str]
    caught: dict[str, int]

    def share(self, kind: str) -> float:
        """Return the part of the mutations of one kind that were caught."""
        made = sum(n for name, n in self.made.items() if name.startswith(kind))
        return sum(n for name, n in self.caught.items() if name.startswith(kind)) / made

    def __str__(self) -> str:
        ways = [f"{name}: {self.caught.get(name, 0)} of {n}" for name, n in self.made.items()]
        shown = [*ways, f"rejected: {len(self.rejected)} of {self.originals}", *self.rejected]
        return "\n".join([*shown, *self.missed])


def weigh(cases: Sequence[Case], seed: int = 1) -> Tally:
    tally = Tally(len(cases), [], {}, [], {})
    for case in cases:
        faults = find_faults(case.agent, case.original, case.evidence)
        if faults:
            said = [f"{fault['kind']} {fault['text']!r}" for fault in faults]
            tally.rejected.append(f"{case.name}: {', '.join(said)}")
            continue
        for mutation in mutate(case, seed):
            tally.made[mutation.kind] = tally.made.get(mutation.kind, 0) + 1
            if find_faults(case.agent, mutation.text, case.evidence):
                tally.caught[mutation.kind] = tally.caught.get(mutation.kind, 0) + 1
            else:
                tally.missed.append(f"missed in {case.name}: {mutation.kind}: {mutation.change}")
    return tally
