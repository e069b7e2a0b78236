"""Takes a task apart into clauses: what can be asked of one agent at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from agents._kit.hints import name_pattern

SCAN_CHARS: Final = 6_000
"""A longer task is one clause: it is mostly material, and its structure would be guesswork."""

MAX_CLAUSES: Final = 16
"""A text with more of them is a document, not a list of things to do."""

Relation = Literal["sentence", "joined", "independent", "dependent"]
"""How a clause hangs on the one before: `sentence` begins a sentence or line of its own, `joined`
follows a bare comma or "and", `independent` and `dependent` say so ("also"; "then", "based on
that")."""


class Clause(NamedTuple):
    """A part of a task."""

    text: str
    gap: str
    """What stands between it and the clause before, so that two can be put together again."""
    relation: Relation


_SPACES: Final = re.compile(r"[ \t\r\f\v]+")
_LINES: Final = re.compile(r" ?\n[ \n]*")
_MASKED: Final = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]{1,500}`|\"[^\"\n]{1,500}\"|“[^”\n]{1,500}”", re.DOTALL
)
_PRIVATE: Final = 0xE000
"""First of the private-use characters that stand for masked text."""
_MAX_MASKED: Final = 256

_BOUNDARY: Final = re.compile(
    r"(?P<strong>(?<=[.?!]) (?=\S)| ?; ?|\n|[,:]? (?=\(?[1-9]\) ))"
    r"|(?P<weak>, (?:and |then )?(?!and\b)| and,? | then (?!\w{1,8}ing\b))"
)
_BULLET: Final = re.compile(r"(?:[-*•] |\(?\d{1,2}[.)] )")
_POLITE: Final = (
    r"(?:(?:please|kindly|now|first|and|(?:can|could|would|will) you"
    r"|i(?: would|'d) like (?:you )?to|i (?:want|need) (?:you )?to|you (?:should|must)|to) ){0,3}"
)
_LATER: Final = (
    r"then|after (?:that|this)|afterwards?|next|finally|lastly"
    r"|(?:based|building) (?:up)?on (?:that|this|it|these|those)"
    r"|(?:based|building) (?:up)?on the (?:results?|answers?|findings?)"
    r"|(?:using|with|from) (?:that|this|these|those|it|the (?:results?|answers?|findings?))"
    r"(?= |,)"
)
_BESIDE: Final = (
    r"independently(?: of (?:that|this))?|separately|also|additionally|in addition|in parallel"
    r"|at the same time|meanwhile|besides|furthermore|moreover|plus|as well as"
)
_MARKER: Final = re.compile(
    rf"(?:and |but )?(?:(?P<later>{_LATER})|(?P<beside>{_BESIDE}))\b[,:]? ?", re.IGNORECASE
)
_VERBS: Final = (
    r"look(?:ing)? up|find(?: out)?|search|research|investigate|write|implement|compute|calculate"
    r"|explain|analy[sz]e|translate|summari[sz]e|tell me|draft|create|build|forecast|determine"
    r"|evaluate|describe|define|ask|let|have the|use the|code up|work out"
)
_MORE_VERBS: Final = (
    r"what|what's|who|whom|whose|when|where|why|how|which|is|are|was|were|does|do|did|run|sort"
    r"|check|list|show|give|make|plot|count|read|save|fix|debug|test|average|sum|convert|compare|review"
    r"|predict|refactor|execute|develop|generate|i need|i want|need|we need|by what|in which"
    r"|(?:the )?(?:mean|average|median|standard deviation|sum|growth|trend)"
)
_ASKS: Final = re.compile(rf"{_POLITE}(?:{_VERBS}|{_MORE_VERBS})\b", re.IGNORECASE)


_COMMENT: Final = re.compile(
    r"(?:then )?(?:explain|interpret|comment|discuss)(?: (?:why|how|on|it|this|that|them|these|the (?:results?"
    r"|charts?|figures?|numbers?|trends?))){0,3}[.?! ]{0,5}",
    re.IGNORECASE,
)


def only_comments(text: str) -> bool:
    """Return whether a clause wants words about what the one before it brings, and nothing else."""
    return _COMMENT.fullmatch(text) is not None


def split_task(task: str, names: Sequence[str] = ()) -> list[Clause]:
    """Return the clauses of a task, at least one; `names` are the agents it may speak to."""
    if len(task) > SCAN_CHARS:
        return [Clause(task.strip(), "", "sentence")]
    text, hidden = _mask(task)
    clauses: list[Clause] = []
    for piece in _join_pieces(text, _strong_start(tuple(names))):
        shown = _unmask(piece.text, hidden).strip(" ,;\n")
        if shown.strip(":"):
            clauses.append(Clause(shown, piece.gap, piece.relation))
        if len(clauses) > MAX_CLAUSES:
            break
    if not clauses or len(clauses) > MAX_CLAUSES:
        return [Clause(task.strip(), "", "sentence")]
    return clauses


@lru_cache(maxsize=64)
def _strong_start(names: tuple[str, ...]) -> re.Pattern[str]:
    """Return what begins a clause after a bare comma: a telling verb, or an agent's name."""
    spoken = "".join(rf"|(?:the )?{name_pattern(name)} (?:to|should|must|can)" for name in names)
    return re.compile(rf"{_POLITE}(?:{_VERBS}{spoken})\b", re.IGNORECASE)


def _mask(task: str) -> tuple[str, list[str]]:
    """Put one private-use character for each quotation or code: it is no place to split."""
    hidden: list[str] = []

    def hide(match: re.Match[str]) -> str:
        if len(hidden) >= _MAX_MASKED:
            return match[0]
        hidden.append(match[0])
        return chr(_PRIVATE + len(hidden) - 1)

    clean = re.sub("[\ue000-\uf8ff]", " ", task.strip())
    text = _MASKED.sub(hide, clean)
    return _LINES.sub("\n", _SPACES.sub(" ", text)), hidden


def _unmask(text: str, hidden: Sequence[str]) -> str:
    return re.sub("[\ue000-\ue0ff]", lambda m: hidden[ord(m[0]) - _PRIVATE], text)


def _join_pieces(text: str, strong_start: re.Pattern[str]) -> Iterator[Clause]:
    """Yield the text's clauses; a piece that asks nothing of its own stays with the one before."""
    current = Clause("", "", "sentence")
    asked = False
    told: Relation | None = None
    for gap, piece, strong in _cut(text):
        relation, rest = _read_marker(piece, strong=strong)
        if not rest and relation in {"independent", "dependent"}:
            # "…, independently, …": the word stands between two commas and speaks of what follows.
            told = relation
            continue
        relation, told = told or relation, None
        verb = _ASKS.match(rest) or strong_start.match(rest)
        begins = bool(verb) if relation != "joined" else bool(strong_start.match(rest))
        if not current.text.strip(" :,"):
            current = Clause(rest, "", relation if relation != "joined" else "sentence")
            asked = bool(verb)
        elif begins and asked:
            yield current
            current = Clause(rest, gap, relation)
        else:
            current = current._replace(text=f"{current.text}{gap}{piece}")
            asked = asked or begins
    yield current


def _cut(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield gap, piece, and whether the gap ends a sentence or a line."""
    gap, start, strong = "", 0, True
    for match in _BOUNDARY.finditer(text):
        yield gap, text[start : match.start()], strong
        gap, start, strong = match[0], match.end(), match["strong"] is not None
        if "then" in gap:
            # "then" is part of the next piece: it says how the two hang together.
            gap, start = gap.replace("then ", ""), match.end() - len("then ")
    yield gap, text[start:], strong


def _read_marker(piece: str, *, strong: bool) -> tuple[Relation, str]:
    if strong:
        piece = _BULLET.sub("", piece, count=1) if _BULLET.match(piece) else piece
        piece = piece.removeprefix("and ")
    match = _MARKER.match(piece)
    if match is None:
        return ("sentence" if strong else "joined"), piece
    rest = piece[match.end() :].lstrip(" ,:")
    return ("dependent" if match["later"] else "independent"), rest
