"""Checks an answer against what the tools of its agent said: every number, quotation, mark and address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from agents._kit.grounding.characters import plain
from agents._kit.grounding.figures import Figures
from agents._kit.grounding.layout import Layout, lay_out
from agents._kit.grounding.links import find_false_marks, find_unknown_urls, read_urls
from agents._kit.grounding.numbers import find_numbers
from agents._kit.grounding.quotes import Words, find_false_quotes
from domain.agent import Citation
from domain.validation import Fault

Kind = Literal["number", "quote", "citation", "url"]

MAX_FAULTS: Final = 20
MAX_ANSWER_CHARS: Final = 100_000
"""Of a longer answer, the rest is not looked at."""
MAX_EVIDENCE_CHARS: Final = 1_000_000
"""Of the evidence together; later texts are cut to what is left. More than agents read in most runs, and
what is read holds everybody else up."""
MAX_FAULT_CHARS: Final = 300

_NOT_COMPUTED: Final = (
    "No tool output, page or task yields this number. Compute it with run_python and print it, "
    "find a source that says it, or leave it out."
)
_NO_TOOL: Final = (
    "No tool was used, and the task does not say this number. Compute it with run_python, "
    "find a source that says it, or leave it out."
)
_UNKNOWN_URL: Final = (
    "Neither a source, a page, a tool output nor the task names this address. "
    "Give the address exactly as it was read, or leave it out."
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an answer may rest on."""

    outputs: Sequence[str]
    """What the tools answered, whole texts as the model saw them, or stored pages."""
    programs: Sequence[str] = ()
    """The code that `run_python` ran."""
    given: str = ""
    """What the agent was told: the task, its assignment, earlier turns, names of files."""
    results: str = ""
    """Other agents' results that stood in its prompt."""
    citations: Sequence[Citation] = ()
    """Its numbered sources."""
    pages: Mapping[int, str] = field(default_factory=dict)
    """The stored text of each source by its number."""

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All that may yield a figure or hold a quotation, bounded, nothing twice."""
        cited = [f"{one['title']}\n{one['source']}\n{one['snippet']}" for one in self.citations]
        left = MAX_EVIDENCE_CHARS
        texts: dict[str, None] = {}
        for text in (self.given, self.results, *cited, *self.outputs, *self.pages.values()):
            if text and text not in texts:
                texts[text[:left]] = None
                left -= len(text)
            if left <= 0:
                break
        return tuple(texts)

    @cached_property
    def figures(self) -> Figures:
        """Every figure that the texts yield."""
        return Figures(plain(text) for text in self.texts)

    @cached_property
    def words(self) -> Words:
        """Every word of the texts and of the programs, in its place."""
        return Words((*self.texts, *self.programs))

    @cached_property
    def words_of_sources(self) -> Mapping[int, Words]:
        """The words of each source whose page is known."""
        snippets = {one["number"]: one["snippet"] for one in self.citations}
        return {
            number: Words((page, snippets.get(number, ""))) for number, page in self.pages.items()
        }

    @cached_property
    def urls(self) -> frozenset[str]:
        """Every address that the texts name, normalised."""
        return read_urls(self.texts)


def find_faults(agent: str, output: str, evidence: Evidence) -> list[Fault]:
    """Return what in an agent's answer does not hold, at most `MAX_FAULTS`, nothing twice.

    Blocks: a second or more for each megabyte of evidence, a few for the strangest answers.
    """
    written = output[:MAX_ANSWER_CHARS]
    layout = lay_out(plain(written))
    faults: dict[tuple[str, str], Fault] = {}
    # Where no character was invisible, a place in the one text is the same place in the other.
    shown = written if len(written) == len(layout.text) else layout.text
    for fault in _find(agent, layout, evidence, shown):
        faults.setdefault((fault["kind"], fault["text"]), fault)
        if len(faults) == MAX_FAULTS:
            break
    return list(faults.values())


def _find(agent: str, layout: Layout, evidence: Evidence, shown: str) -> Iterator[Fault]:
    if layout.urls:
        for url in find_unknown_urls(layout, evidence.urls):
            yield _fault(agent, "url", url, _UNKNOWN_URL)
    told = (evidence.given, evidence.results, *(() if evidence.citations else evidence.outputs))
    for mark in find_false_marks(layout, evidence.citations, told):
        yield _fault(agent, "citation", mark.text, mark.reason)
        blanked = layout.prose.replace(mark.text, " " * len(mark.text))
        layout = layout._replace(prose=blanked)
    for quote in find_false_quotes(layout, evidence.words, evidence.words_of_sources):
        yield _fault(agent, "quote", quote.text, quote.reason)
    reason = _NOT_COMPUTED if evidence.outputs else _NO_TOOL
    for number in find_numbers(layout, evidence.figures, evidence.programs):
        yield _fault(agent, "number", shown[number.start : number.end].strip(), reason)


def _fault(agent: str, kind: Kind, text: str, reason: str) -> Fault:
    return Fault(agent=agent, kind=kind, text=text[:MAX_FAULT_CHARS], reason=reason)
