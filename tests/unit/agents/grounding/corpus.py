"""Two hundred and more answers as a good model writes them, over what this product's tools return."""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agents._kit.grounding.check import Evidence
from agents._kit.offline_arithmetic import find_expressions, write_arithmetic
from agents._kit.offline_programs import Program
from agents._kit.offline_research import report_hits
from agents._kit.offline_statistics import write_statistics
from agents._kit.offline_templates import TEMPLATES
from domain.agent import Citation
from tests.unit.agents.grounding.mutations import Case
from tests.unit.agents.grounding.written import WRITTEN

ROOT: Final = Path(__file__).parents[4]
_PROSE_NUMBER: Final = re.compile(r"(?<![\w.,\[/-])\d[\d,]*\.?\d+(?![\w\]/]|\.\d)")
_FENCED: Final = re.compile(r"(```.*?```)", re.DOTALL)
_QUERIES: Final = (
    "approval of a tool call",
    "resume after a crash",
    "budget of a run",
    "limits of the sandbox",
    "event stream and last event id",
    "webhook signature",
)
_WISHES: Final = (
    "mean and median",
    "variance, mode and range",
    "sum and product",
    "growth, trend and forecast",
    "the standard deviation and quartiles",
)
_SUMS: Final = (
    "What is 3 * 417?",
    "(17 + 5) * 3 - 2^6",
    "19% of 2,450",
    "2 ** 70 + 1",
    "1043 / 4 + 1",
    "square root of 2310",
    "1 / 3 + 118",
    "0.1 + 0.2 + 77.25",
)


def make_corpus() -> list[Case]:
    """Return every case; the same ones each time."""
    return [*_statistics(), *_arithmetic(), *_functions(), *_searches(), *_written()]


def run_here(code: str) -> str:
    """Return what a program prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {"__name__": "__main__"})
    return printed.getvalue()


def _mark(answer: str) -> str:
    """Mark the numbers of an answer outside its code."""
    parts = _FENCED.split(answer)
    return "".join(
        part if part.startswith("```") else _PROSE_NUMBER.sub(r"⟦\g<0>⟧", part) for part in parts
    )


def _statistics() -> Iterator[Case]:
    chance = random.Random(11)
    for number in range(30):
        size = chance.randrange(4, 30)
        digits = number % 3
        series = [f"{chance.uniform(-20 * (number % 2), 900):.{digits}f}" for _ in range(size)]
        for wish in _WISHES[number % 5 :][:2]:
            task = f"Give me {wish} of {', '.join(series)}"
            yield _computed(f"statistics {number} {wish}", task, write_statistics(wish, series))


def _arithmetic() -> Iterator[Case]:
    for text in _SUMS:
        yield _computed(f"sum {text}", text, write_arithmetic(find_expressions(text)))


def _computed(name: str, task: str, program: Program) -> Case:
    output = run_here(program.code)
    evidence = Evidence(outputs=[output], programs=[program.code], given=task)
    return Case(name=name, agent="analyst", answer=_mark(program.report(output)), evidence=evidence)


def _functions() -> Iterator[Case]:
    for template in TEMPLATES:
        call = template.call("")
        code = f'{template.source}\n\n{template.test}\nprint({call!r}, "=", {call})\n'
        output = run_here(code)
        answer = (
            f"A function for {template.title}:\n\n```python\n{template.source}\n```\n\n"
            f"Running it printed:\n\n```\n{output}```\n"
        )
        evidence = Evidence(outputs=[output], programs=[code], given=f"Write {template.title}")
        yield Case(
            name=f"function {template.title}", agent="coder", answer=answer, evidence=evidence
        )


def _paragraphs() -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        source = path.relative_to(ROOT).as_posix()
        found += [
            (path.stem, source, part[:900])
            for part in text.split("\n\n")
            if len(part) > 250 and not part.startswith(("```", "|", "#"))
        ]
    return found


def _searches() -> Iterator[Case]:
    chance = random.Random(12)
    paragraphs = _paragraphs()
    for number in range(36):
        query = _QUERIES[number % len(_QUERIES)]
        hits = chance.sample(paragraphs, 4)
        citations = [
            Citation(number=n, title=title, source=source, snippet=snippet)
            for n, (title, source, snippet) in enumerate(hits, 1)
        ]
        listed = "\n\n".join(
            f"[{c['number']}] {c['title']} — {c['source']}\n{c['snippet']}" for c in citations
        )
        answer = report_hits(listed, f"{query} {hits[0][2][:60]}")
        assert answer is not None
        answer = re.sub(r"^> (.*?)( …)?( \[\d+\])$", r"> ⟪\1⟫\2\3", answer, flags=re.MULTILINE)
        evidence = Evidence(
            outputs=[listed],
            given=query,
            citations=citations,
            pages={c["number"]: c["snippet"] for c in citations},
        )
        yield Case(name=f"search {number}", answer=answer, evidence=evidence)


def _written() -> Iterator[Case]:
    chance = random.Random(13)
    for number in range(8):
        for write in WRITTEN:
            yield _named(write, number, chance)


def _named(write: Callable[[random.Random], Case], number: int, chance: random.Random) -> Case:
    case = write(chance)
    return Case(
        name=f"{write.__name__} {number}",
        agent=case.agent,
        answer=case.answer,
        evidence=case.evidence,
    )
