"""Which agent a text suggests, by rules alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from domain.agent import AgentSpec

SCAN_CHARS: Final = 4_000
"""How much of a text is read: who should do a task shows at its beginning."""

FALLBACK_TOOL: Final = "search_documents"
"""Where nothing suggests anyone, the agent that can at least look is asked."""

_NAMED: Final = 100.0
"""Outweighs every hint: a person who names an agent wants that agent."""
_OPENING: Final = 1.5
"""Extra for a hint the text opens with: there stands the verb that says what to do."""
_NAME_ECHO: Final = 2.0
"""For a word that shares its stem with the agent's name, as "translate" with "translator"."""

_POLITE: Final = re.compile(
    r"(?:\W|\b(?:please|kindly|hi|hello|hey|can|could|would|will|you|i|we|want|need|like|to|now|"
    r"also|and|then|first|help|me|us)\b){0,40}",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[a-z]{5,}")
_STEM_CHARS: Final = 6
_COMMON: Final = frozenset(
    """
    about after again agent answer answers based before being between could every first from
    given gives hands handed other others should some something task tasks text their them there
    these thing things those through using what when where which while with within would write
    writes takes makes please
    """.split()  # noqa: SIM905 - a list literal would take forty lines
)


class Weighed(NamedTuple):
    """An agent and how strongly a text suggests it."""

    spec: AgentSpec
    weight: float


def weigh_agents(text: str, specs: Sequence[AgentSpec]) -> list[Weighed]:
    """Return every agent with its weight, the most suggested first; equals keep their order."""
    head = text[:SCAN_CHARS]
    opening = _opening_of(head)
    words = {word[:_STEM_CHARS]: word for word in _WORD.findall(head.lower())}
    own_words = _distinctive_words(tuple(spec.description for spec in specs))
    weighed = []
    for spec, own in zip(specs, own_words, strict=True):
        weight = _weigh_hints(head, spec.hints, opening) + _weigh_words(words, spec, own)
        refused = refuses_agent(head, spec)
        weighed.append(Weighed(spec, 0 if refused else weight + _weigh_naming(head, spec.name)))
    return sorted(weighed, key=lambda w: -w.weight)


def rank_agents(text: str, specs: Sequence[AgentSpec]) -> list[AgentSpec]:
    """Return every agent, the one that a text suggests most first."""
    return [weighed.spec for weighed in weigh_agents(text, specs)]


def pick_agent(text: str, specs: Sequence[AgentSpec]) -> AgentSpec:
    """Return the agent a text suggests most; with no sign one that can search, else the first."""
    best = weigh_agents(text, specs)[0]
    if best.weight > 0:
        return best.spec
    return next((spec for spec in specs if FALLBACK_TOOL in spec.tools), specs[0])


def names_agent(text: str, spec: AgentSpec) -> bool:
    """Return whether a text asks for an agent by its name."""
    return _weigh_naming(text[:SCAN_CHARS], spec.name) > 0


def refuses_agent(text: str, spec: AgentSpec) -> bool:
    """Return whether a text says not to use an agent, and nowhere else to use it."""
    named = [bool(match["no"]) for match in _naming(spec.name).finditer(text[:SCAN_CHARS])]
    return bool(named) and all(named)


@lru_cache(maxsize=256)
def name_pattern(name: str) -> str:
    """Return the pattern of an agent's name in prose: `web_reader` is also written "web reader"."""
    return re.escape(name).replace("_", r"[ _-]")


@lru_cache(maxsize=256)
def _naming(name: str) -> re.Pattern[str]:
    word = name_pattern(name)
    return re.compile(
        r"(?P<no>\b(?:not|never|don't|dont|without)\s{1,3})?"
        rf"(?:\b(?:ask|use|using|let|have|tell|get|give|assign|send|hand|delegate|call|via|with|by)"
        rf"\s{{1,3}}(?:(?:it|this|that)\s{{1,3}})?(?:(?:over\s{{1,3}})?to\s{{1,3}})?"
        rf"(?:(?:the|our)\s{{1,3}})?{word}\b"
        rf"|@{word}\b|\bthe\s{{1,3}}{word}\s{{1,3}}(?:agent|to|should|must|can)\b"
        rf"|^\s{{0,9}}{word}\s?:)",
        re.IGNORECASE,
    )


def _weigh_naming(text: str, name: str) -> float:
    for match in _naming(name).finditer(text):
        if not match["no"]:
            # Of two that are named the first comes first.
            return _NAMED - match.start() / SCAN_CHARS
    return 0.0


def _weigh_hints(text: str, hints: Sequence[str], opening: int) -> float:
    weight = 0.0
    for hint in hints:
        match = _compile(hint).search(text)
        if match:
            weight += 1.0 + (_OPENING if match.start() <= opening else 0.0)
    return weight


def _weigh_words(words: dict[str, str], spec: AgentSpec, own: frozenset[str]) -> float:
    # Where hints are given they are the better sign; the description then only breaks a tie.
    each = 0.25 if spec.hints else 1.0
    weight = min(len(own & words.keys()), 3) * each
    stems = [part[: max(len(part) - 3, 5)] for part in _WORD.findall(spec.name)]
    if any(word.startswith(stem) for word in words.values() for stem in stems):
        weight += _NAME_ECHO
    return weight


@lru_cache(maxsize=64)
def _distinctive_words(descriptions: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """Return for each description the stems that no other one has."""
    stems = [
        {w[:_STEM_CHARS] for w in _WORD.findall(text.lower()) if w not in _COMMON}
        for text in descriptions
    ]
    return tuple(
        frozenset(own.difference(*(other for j, other in enumerate(stems) if j != i)))
        for i, own in enumerate(stems)
    )


@lru_cache(maxsize=1024)
def _compile(hint: str) -> re.Pattern[str]:
    return re.compile(hint, re.IGNORECASE | re.DOTALL)


def _opening_of(text: str) -> int:
    match = _POLITE.match(text)
    return match.end() if match else 0
