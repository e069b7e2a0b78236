"""Decides by rule who works next: the supervisor's part of the offline planner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from agents._kit.hints import (
    FALLBACK_TOOL,
    Weighed,
    names_agent,
    pick_agent,
    refuses_agent,
)
from agents._kit.offline_arithmetic import find_expressions
from agents._kit.offline_clauses import SCAN_CHARS, Clause, only_comments, split_task
from agents._kit.offline_code import find_code, is_python
from agents._kit.offline_numbers import find_series
from agents._kit.offline_statistics import asks_figure
from agents._kit.offline_tables import DESCRIBE, mentions_table, tables_of, weigh_for_tables
from agents._kit.prompts import ResultText
from domain.agent import AgentSpec
from domain.routing import Route, RouteAssignment

MAX_ASSIGNMENTS: Final = 6
MAX_ROUNDS: Final = 4

_RUN: Final = "run_python"
_POINTS_BACK: Final = re.compile(
    r"\b(?:it|its|this|them|their|they|those|these|both|above|such)\b"
    r"|\b(?:from|on|with|using|of|for|to|about|summari[sz]e|explain|translate)\s+that\b|\bthat$"
    r"|\bthe\s+(?:results?|answers?|output|findings?|outcome|former|latter)\b",
    re.IGNORECASE,
)
_COMMENTS: Final = re.compile(
    r"(?:explain|summari[sz]e|describe|interpret|compare|discuss|comment|tell me)\b", re.IGNORECASE
)
_CODING: Final = re.compile(
    r"\b(?:write|implement|create|build|code|develop|draft)\b", re.IGNORECASE
)


class Part(NamedTuple):
    """A clause with the agent that takes it and the round it belongs to, counted from 0."""

    text: str
    spec: AgentSpec
    round: int
    sure: bool = True
    """Whether anything in the text suggests the agent."""


def decide_route(
    task: str,
    results: Sequence[ResultText],
    specs: Sequence[AgentSpec],
    files: Sequence[str] = (),
) -> Route:
    """Return who works next; nobody once every part of the task has a result or has failed.

    `files` are the names of what came with the task.
    """
    parts = divide_task(task, specs, files)
    done = len({result.round for result in results})
    due = [part for part in parts if part.round == done]
    if not due:
        return Route(reason=_say_end(results), assignments=[])
    assignments = [RouteAssignment(agent=part.spec.name, task=part.text) for part in due]
    waiting = any(part.round > done for part in parts)
    return Route(reason=_say_why(due, waiting=waiting), assignments=assignments)


def divide_task(task: str, specs: Sequence[AgentSpec], files: Sequence[str] = ()) -> list[Part]:
    """Return the parts of a task, in order; one part unless it plainly has several."""
    specs = [spec for spec in specs if not refuses_agent(task, spec)] or specs
    clauses = split_task(task, [spec.name for spec in specs]) if _is_prose(task) else []
    parts: list[Part] = []
    for clause in clauses:
        _add_clause(parts, clause, specs, files)
    if parts[1:]:
        return [_add_numbers(part, task, files) for part in parts]
    best = _weigh_best(task, specs, files)
    spec = best.spec if best.weight else _pick(task, specs, files)
    return [Part(task.strip(), spec, 0)]


def _pick(text: str, specs: Sequence[AgentSpec], files: Sequence[str]) -> AgentSpec:
    """Return who takes what suggests nobody: with a table, whoever can look into it."""
    able = [spec for spec in specs if DESCRIBE in spec.tools] if tables_of(files) else []
    return able[0] if able else pick_agent(text, specs)


def _is_prose(task: str) -> bool:
    """Return whether a task may be split: bare code may not, and long material is left whole."""
    if len(task) > SCAN_CHARS:
        return False
    pasted = find_code(task)
    return pasted is None or "`" in task


def _add_clause(
    parts: list[Part], clause: Clause, specs: Sequence[AgentSpec], files: Sequence[str]
) -> None:
    best = _weigh_best(clause.text, specs, files)
    if not parts:
        spec = best.spec if best.weight else _pick(clause.text, specs, files)
        parts.append(Part(clause.text, spec, 0, best.weight > 0))
        return
    last = parts[-1]
    if not last.sure:
        # What was said so far only sets the scene for this clause.
        text = f"{last.text}{clause.gap}{clause.text}"
        spec = best.spec if best.weight else last.spec
        parts[-1] = Part(text, spec, last.round, best.weight > 0)
        return
    later = _must_wait(clause, best.spec, last)
    if best.weight == 0 or len(parts) >= MAX_ASSIGNMENTS or _belongs(clause, best.spec, last):
        parts[-1] = last._replace(text=f"{last.text}{clause.gap}{_link(clause)}{clause.text}")
    else:
        round_ = min(last.round + 1, MAX_ROUNDS - 1) if later else 0
        parts.append(Part(clause.text, best.spec, round_))


def _weigh_best(text: str, specs: Sequence[AgentSpec], files: Sequence[str]) -> Weighed:
    """Return the most suggested agent; pasted code goes to one that can run it."""
    weighed = weigh_for_tables(text, specs, files)
    best = weighed[0]
    pasted = find_code(text)
    if pasted is None or not is_python(pasted) or names_agent(text, best.spec):
        return best
    return next((w for w in weighed if _RUN in w.spec.tools), best)


def _must_wait(clause: Clause, spec: AgentSpec, last: Part) -> bool:
    points_back = spec is not last.spec and _POINTS_BACK.search(clause.text)
    return clause.relation == "dependent" or bool(points_back)


def _belongs(clause: Clause, spec: AgentSpec, last: Part) -> bool:
    """Return whether the clause is better left with the one before it."""
    if only_comments(clause.text):
        return True
    if FALLBACK_TOOL in spec.tools and _COMMENTS.match(clause.text):
        # "… and explain them" wants words about a result, and no search can bring those.
        return _POINTS_BACK.search(clause.text) is not None
    alone = _stands_alone(clause, spec)
    if clause.relation == "joined" and not _POINTS_BACK.search(clause.text):
        return not alone
    # A different agent gets what points back in the round after.
    return spec is last.spec and not alone


def _stands_alone(clause: Clause, spec: AgentSpec) -> bool:
    """Return whether a clause makes sense without the one before it."""
    if _POINTS_BACK.search(clause.text):
        return False
    computes = _RUN in spec.tools and FALLBACK_TOOL not in spec.tools
    return not computes or bool(
        find_series(clause.text)
        or find_expressions(clause.text)
        or _CODING.search(clause.text)
        or mentions_table(clause.text)
    )


def _link(clause: Clause) -> str:
    return "then " if clause.relation == "dependent" else ""


def _add_numbers(part: Part, task: str, files: Sequence[str]) -> Part:
    """Give a part of the first round the numbers it speaks of but does not hold."""
    lacks = (
        _RUN in part.spec.tools
        and not (DESCRIBE in part.spec.tools and (tables_of(files) or mentions_table(part.text)))
        and part.round == 0
        and asks_figure(part.text)
        and not _CODING.search(part.text)
        and not find_series(part.text)
        and not find_expressions(part.text)
    )
    series = find_series(task) if lacks else []
    return part._replace(text=f"{part.text} (numbers: {', '.join(series)})") if series else part


def _say_end(results: Sequence[ResultText]) -> str:
    failed = list(dict.fromkeys(r.agent for r in results if r.status != "completed"))
    if failed:
        return f"Every part of the task was worked on; {', '.join(failed)} did not finish."
    return "Every part of the task has a result."


def _say_why(parts: Iterable[Part], *, waiting: bool) -> str:
    reasons = list(dict.fromkeys(_reason(part) for part in parts))
    text = "; ".join(reasons)
    rest = "; the rest waits for these results." if waiting else "."
    return f"{text[0].upper()}{text[1:]}{rest}"


def _reason(part: Part) -> str:
    if names_agent(part.text, part.spec):
        return f"the task asks for the {part.spec.name}"
    if FALLBACK_TOOL in part.spec.tools:
        return "the question needs sources"
    if DESCRIBE in part.spec.tools and mentions_table(part.text):
        return "the table needs analysing"
    if _RUN in part.spec.tools:
        code = "write_file" in part.spec.tools or _CODING.search(part.text)
        return "the code needs writing and running" if code else "the numbers need computing"
    return f"the words of the task suggest the {part.spec.name}"
