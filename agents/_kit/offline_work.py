"""What an agent does without a model: which tool it calls, and what it answers from the results."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from agents._kit.offering import same_tools
from agents._kit.offline_answers import (
    NEEDS_MODEL,
    REMEDY,
    explain_limit,
    explain_unread,
    fence,
    last_line,
    why_failed,
)
from agents._kit.offline_arithmetic import find_expressions, write_arithmetic
from agents._kit.offline_charts import asks_chart
from agents._kit.offline_clauses import Clause, only_comments, split_task
from agents._kit.offline_code import find_code, is_python, read_pasted
from agents._kit.offline_numbers import find_range, find_series, find_unread
from agents._kit.offline_programs import Program
from agents._kit.offline_research import (
    NOTHING_FOUND,
    NOTHING_LOCAL,
    report_hits,
    write_query,
)
from agents._kit.offline_statistics import asks_figure, relates_series, write_statistics
from agents._kit.offline_studies import write_study
from agents._kit.offline_tables import (
    DESCRIBE,
    Table,
    find_table,
    read_description,
    weigh_for_tables,
)
from agents._kit.offline_templates import write_function
from agents._kit.prompts import PromptParts
from domain.agent import AgentSpec
from tools.control import ASK_USER
from tools.web import NOT_SEARCHED

RUN: Final = "run_python"
SEARCH: Final = "search_documents"
WEB: Final = "web_search"

TELLING_NUMBERS: Final = 3
"""Fewer numbers in a row may be anything; with a word that asks for a figure two are enough."""

_SAVE: Final = re.compile(
    r"\b(?:save|store|write)\b.{0,60}?\b(?:to|as|in|into)\s+(?:(?:a|the)\s+)?"
    r"(?:file\s+)?(?:named\s+|called\s+)?"
    r"[`'\"]?(?P<path>[\w-]{1,60}\.py)\b",
    re.IGNORECASE | re.DOTALL,
)
_LIST_FILES: Final = re.compile(r"\b(?:list|show|which|what)\b.{0,30}\bfiles\b", re.IGNORECASE)
_READ_FILE: Final = re.compile(
    r"\b(?:read|open|show|print)\b.{0,40}?[`'\"\s](?P<path>[\w-][\w./-]{0,100}\.[A-Za-z]\w{0,7})\b",
    re.IGNORECASE,
)
_POINTS_BACK: Final = re.compile(r"\b(?:them|those|these|it|one)\b", re.IGNORECASE)
_OF_A_LIST: Final = re.compile(
    r"\b(?:mean|average|median|variance|std|standard deviation)\b", re.IGNORECASE
)
_FAILURE: Final = re.compile(r"The program (?:failed: \w|was stopped )")


class Call(NamedTuple):
    """A tool call to make."""

    tool: str
    args: dict[str, Any]


class Reply(NamedTuple):
    """What an agent says next: tool calls or, without any, its answer."""

    text: str = ""
    call: Call | None = None


class ToolText(NamedTuple):
    """What a tool call came back with."""

    text: str
    failed: bool


class Desk(NamedTuple):
    """Everything an agent has in front of it."""

    prompt: PromptParts
    tools: Mapping[str, Sequence[str]]
    """The arguments of each offered tool, in order."""
    outputs: Sequence[ToolText]
    """What its tool calls have returned so far."""
    specs: Sequence[AgentSpec]
    libraries: Collection[str] = ()
    """What programs can import besides the standard library."""
    web: bool = False
    """The web can be searched."""


def reply(desk: Desk) -> Reply:
    """Return the next tool call of an agent, or its answer."""
    text = _own_part(desk)
    if RUN in desk.tools:
        table = find_table(text, desk.prompt) if DESCRIBE in desk.tools else None
        if table is not None and not _is_other_work(text, table):
            return _study(desk, table, text)
        program = write_program(text, desk.prompt, desk.libraries)
        if isinstance(program, str):
            return Reply(program)
        if program is not None:
            return _run(desk, program, text)
    if SEARCH in desk.tools:
        return _search(desk, write_query(text))
    return _look_at_files(desk, text) or Reply(NEEDS_MODEL)


def write_program(
    text: str, prompt: PromptParts, libraries: Collection[str] = ()
) -> Program | str | None:
    """Return the program that does what a text asks, or an answer in its place, or neither."""
    pasted = find_code(text)
    if pasted is not None:
        return read_pasted(pasted) if is_python(pasted) else None
    function = write_function(text)
    if function is None and prompt.results and _POINTS_BACK.search(text[:1_000]):
        # "… the first 12 of them": what they are stands in the task.
        function = write_function(f"{text}\n{prompt.task}")
    if function is not None:
        return function
    if relates_series(text):
        return explain_limit("the relation of two series")
    return _write_computation(text, prompt, libraries)


def _is_other_work(text: str, table: Table) -> bool:
    """Return whether a text brings what it wants computed, so that a table is not what it is about."""
    pasted = find_code(text)
    if (pasted is not None and is_python(pasted)) or write_function(text) is not None:
        return True
    if table.named:
        return False
    long = len(find_series(text)) >= TELLING_NUMBERS
    files = _LIST_FILES.search(text[:2_000]) or _READ_FILE.search(text[:2_000])
    return bool(long or find_range(text) or find_expressions(text) or files)


def _study(desk: Desk, table: Table, text: str) -> Reply:
    """Have the table described, then compute what is asked of it."""
    if not desk.outputs:
        return Reply(call=_call(desk, DESCRIBE, table.path))
    described = desk.outputs[0]
    if described.failed:
        return Reply(f"I could not look at `{table.path}`: {last_line(described.text)}")
    description = read_description(described.text)
    program = description and write_study(text, table, description, desk.libraries)
    if program is None:
        return Reply(f"`{table.path}` holds nothing to compute with:\n\n{fence(described.text)}")
    if not desk.outputs[1:]:
        return Reply(call=_call(desk, RUN, program.code))
    ran = desk.outputs[1]
    if ran.failed:
        failure = f"Running {program.about} did not work: {why_failed(ran.text)}"
        return Reply(f"{failure}\n\nWhat the table holds:\n\n{fence(described.text)}")
    return Reply(program.report(ran.text))


def read_output(text: str, *, failed: bool) -> ToolText:
    """Return a tool's result; a program that ended in an error has failed, however it is told."""
    return ToolText(text, failed or _FAILURE.match(text[:200]) is not None)


def _write_computation(
    text: str, prompt: PromptParts, libraries: Collection[str]
) -> Program | str | None:
    """Return the program for the numbers of a text: a series or arithmetic, else from around it."""
    numbers = find_range(text)
    if numbers and asks_figure(text):
        return write_statistics(text, numbers, libraries=libraries)
    series, expressions = find_series(text), find_expressions(text)
    long = len(series) >= TELLING_NUMBERS
    figure = asks_figure(text)
    if series and figure and (long or not expressions):
        return _write_series(text, text, series, libraries)
    if expressions and series and _OF_A_LIST.search(text):
        return explain_unread(find_unread(text) or expressions[0])
    if expressions:
        return write_arithmetic(expressions)
    if long:
        return _write_series(text, text, series, libraries)
    return _write_from_context(text, prompt, libraries) if figure or asks_chart(text) else None


def _write_series(
    text: str, source: str, series: Sequence[str], libraries: Collection[str], *, origin: str = ""
) -> Program | str:
    """Return the program for a series if the whole of it was read, else what was not."""
    unread = find_unread(source)
    if unread:
        return explain_unread(unread)
    return write_statistics(text, series, origin=origin, libraries=libraries)


def _write_from_context(
    text: str, prompt: PromptParts, libraries: Collection[str]
) -> Program | str | None:
    """Take the numbers an instruction lacks from the results so far, else from the task."""
    for result in reversed(prompt.results):
        series = find_series(result.text) if result.status == "completed" else []
        if len(series) >= TELLING_NUMBERS:
            origin = f" (from the {result.agent}'s result)"
            return _write_series(text, result.text, series, libraries, origin=origin)
    series = find_series(prompt.task) if prompt.task != text else []
    if series:
        return _write_series(text, prompt.task, series, libraries)
    if prompt.results:
        return f"The results so far hold no series of numbers that I could compute with. {REMEDY}"
    return None


def _own_part(desk: Desk) -> str:
    """Return the clauses meant for this agent where it was given a task with work for several."""
    text = desk.prompt.assignment or desk.prompt.task
    clauses = split_task(text, [spec.name for spec in desk.specs])
    if not clauses[1:] or not desk.specs:
        return text
    own: list[Clause] = []
    for number, clause in enumerate(clauses):
        if only_comments(clause.text) and own and clauses[number - 1] is own[-1]:
            own.append(clause)
            continue
        best = weigh_for_tables(clause.text, desk.specs, desk.prompt.files)[0]
        # What every agent has besides its own tools tells nothing about who it is.
        if best.weight == 0 or same_tools([*best.spec.tools, ASK_USER], [*desk.tools, ASK_USER]):
            own.append(clause)
    return "".join(f"{clause.gap}{clause.text}" for clause in own).strip(" ,;") or text


def _run(desk: Desk, program: Program, text: str) -> Reply:
    saved = _SAVE.search(text[:4_000]) if "write_file" in desk.tools else None
    if not desk.outputs:
        return Reply(call=_call(desk, RUN, program.code))
    first = desk.outputs[0]
    if first.failed:
        return Reply(f"Running {program.about} did not work: {why_failed(first.text)}")
    answer = program.report(first.text)
    if saved is None:
        return Reply(answer)
    if len(desk.outputs) == 1:
        return Reply(call=_call(desk, "write_file", saved["path"], program.code))
    kept = desk.outputs[1]
    note = (
        f"Saving it failed: {last_line(kept.text)}"
        if kept.failed
        else f"Saved as `{saved['path']}`."
    )
    return Reply(f"{answer}\n\n{note}")


def _search(desk: Desk, query: str) -> Reply:
    if not desk.outputs:
        return Reply(call=_call(desk, SEARCH, query))
    found = desk.outputs[0]
    if found.failed:
        return Reply(f"The search did not work: {last_line(found.text)}")
    answer = report_hits(found.text, query)
    if answer or not desk.web:
        return Reply(answer or NOTHING_FOUND)
    if not desk.outputs[1:]:
        return Reply(call=_call(desk, WEB, query))
    more = desk.outputs[1]
    if more.failed:
        return Reply(f"{NOTHING_LOCAL} The web search did not work: {last_line(more.text)}")
    on_web = report_hits(more.text, query, where="The local documents say nothing. The web says")
    if on_web:
        return Reply(on_web)
    said = more.text.partition("\n")[0]
    about = said if said.startswith(NOT_SEARCHED) else "The web search found nothing, either."
    return Reply(f"{NOTHING_LOCAL} {about}")


def _look_at_files(desk: Desk, text: str) -> Reply | None:
    read = _READ_FILE.search(text[:2_000]) if "read_file" in desk.tools else None
    if read is None and not ("list_files" in desk.tools and _LIST_FILES.search(text[:2_000])):
        return None
    if not desk.outputs:
        return Reply(
            call=_call(desk, "read_file", read["path"]) if read else Call("list_files", {})
        )
    result = desk.outputs[0]
    what = f"`{read['path']}`" if read else "The workspace"
    if result.failed:
        return Reply(f"Reading {what} did not work: {last_line(result.text)}")
    return Reply(f"{what} holds:\n\n{fence(result.text)}")


def _call(desk: Desk, tool: str, *values: str) -> Call:
    """Return a call; the arguments take the tool's own names, in its order."""
    return Call(tool, dict(zip(desk.tools[tool], values, strict=False)))
