"""Finds the table that a task speaks of, and reads what `describe_table` said about it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from agents._kit.hints import Weighed, refuses_agent, weigh_agents
from agents._kit.offline_charts import ASKED
from agents._kit.prompts import PromptParts
from domain.agent import AgentSpec

SCAN_CHARS: Final = 4_000
SUFFIXES: Final = (
    "csv", "tsv", "tab", "xlsx", "xls", "ods", "parquet", "jsonl", "ndjson", "json",
)  # fmt: skip

ColumnKind = Literal["number", "year", "date", "period", "flag", "text", "empty"]
"""What a column holds: `year` whole numbers that are calendar years · `period` text that names months,
quarters and the like, in the file's order · `flag` yes or no."""

MAX_PERIODS: Final = 60
_YEARS: Final = (1900, 2100)

_PATH: Final = re.compile(
    rf"(?<![\w./-])[\w-][\w./-]{{0,120}}\.(?:{'|'.join(SUFFIXES)})(?!\w)", re.IGNORECASE
)
_ANY_FILE: Final = re.compile(
    r"(?<![\w./-])[\w-]{1,60}\.(?:txt|md|log|xml|html?|ya?ml|toml|docx?|pdf|ini|cfg|sql"
    rf"|{'|'.join(SUFFIXES)})(?!\w)",
    re.IGNORECASE,
)
_COLUMN: Final = re.compile(
    r": (?P<kind>[a-z][a-z/ ]{1,14}?)(?P<day_first> with the day first)?(?: with [^,]{1,40})?, \d+ missing(?P<rest>.*)"
)
_BOUNDS: Final = re.compile(r"min (?P<low>\S{1,30}), .{0,200}max (?P<high>\S{1,30}),")
_DISTINCT: Final = re.compile(r"; (\d{1,12}) distinct")
_SPAN: Final = re.compile(
    r"first (?P<first>\d{4}-\d\d-\d\d).{0,20}, last (?P<last>\d{4}-\d\d-\d\d)"
)
_VALUE: Final = re.compile(r"('(?:[^'\\]|\\.){0,200}'|\"(?:[^\"\\]|\\.){0,200}\") \(\d{1,12}\)")
_PERIOD_NAME: Final = re.compile(
    r"\b(?:months?|quarters?|weekdays?|weeks?|days?|periods?|years?)\b"
)
_CODING: Final = re.compile(
    r"\b(?:scripts?|programs?|functions?|code|class|module|parser|unit tests?)\b", re.IGNORECASE
)
_LOOKING_UP: Final = re.compile(
    r"\blook(?:ing)?\s(?:\w{1,12}\s)?up\b|\bsearch|\bresearch\b|\bhandbook\b|\bdocumentation\b|\bdocs\b"
    r"|\bcit(?:e|ation)",
    re.IGNORECASE,
)
_ABOUT_DATA: Final = re.compile(
    r"\b(?:this|these|it|data|data\s?sets?|files?|tables?|sheets?|spreadsheets?|attach\w{0,5}|columns?|rows?)\b"
    rf"|{ASKED}|\b(?:mean|averag|median|sum|total|min|max|highest|lowest|most|least|best|worst|how many|count)"
    r"|\b(?:trend|grow|over time|correlat|forecast|predict|analy[sz]|summary|summari[sz]e|statistic)"
    r"|\b(?:describe|figures|per|by)\b",
    re.IGNORECASE,
)
_TABLE_WEIGHT: Final = 3.0
"""Outweighs what a verb suggests: "summarise" and "what is" speak of sources where there is no table."""

DESCRIBE: Final = "describe_table"

_KINDS: Final[dict[str, ColumnKind]] = {
    "number": "number",
    "whole number": "number",
    "date": "date",
    "date as text": "date",
    "yes/no": "flag",
    "text": "text",
}


class Table(NamedTuple):
    """The table that a text is about."""

    path: str
    named: bool
    """Whether the text names it; else it is only the one that came with the task."""
    others: tuple[str, ...] = ()
    """Other tables that came with the task, which are not looked at."""


class Column(NamedTuple):
    """A column as it was described."""

    name: str
    kind: ColumnKind
    distinct: int = 0
    day_first: bool = False
    """How dates that are text are written."""
    span: tuple[str, str] | None = None
    """The first and the last date, as `YYYY-MM-DD`."""
    values: tuple[str, ...] = ()
    """The commonest values of a text."""


class Description(NamedTuple):
    """What was said about a table."""

    title: str
    """Its first line: name, format, rows, columns."""
    call: str
    """The expression that reads it."""
    notes: tuple[str, ...]
    columns: tuple[Column, ...]


def find_table(text: str, prompt: PromptParts) -> Table | None:
    """Return the table that a text names, else the first one that came with the task; `None` without."""
    head = text[:SCAN_CHARS]
    posted = tables_of(prompt.files)
    named = _names_in(head, posted)
    if not named and prompt.results:
        # A file that an agent wrote before stands in the task: "… save it as t.csv, then chart it".
        named = _names_in(prompt.task[:SCAN_CHARS], posted) if not _ANY_FILE.search(head) else []
    if named:
        return Table(named[0], named=True, others=tuple(named[1:]))
    if not posted or _ANY_FILE.search(head):
        return None
    words = f" {plain_words(head)} "
    stems = [name for name in posted if f" {plain_words(name.rpartition('.')[0])} " in words]
    chosen = (stems or posted)[0]
    return Table(chosen, named=False, others=tuple(name for name in posted if name != chosen))


def weigh_for_tables(text: str, specs: Sequence[AgentSpec], files: Sequence[str]) -> list[Weighed]:
    """Return every agent with its weight, as `weigh_agents` does, minding the tables a text is about."""
    weighed = weigh_agents(text, specs)
    if not _is_about_table(text[:SCAN_CHARS], files):
        return weighed
    able = [
        w._replace(weight=w.weight + _TABLE_WEIGHT) if _can_describe(w, text) else w
        for w in weighed
    ]
    return sorted(able, key=lambda w: -w.weight)


def _can_describe(weighed: Weighed, text: str) -> bool:
    return DESCRIBE in weighed.spec.tools and not refuses_agent(text, weighed.spec)


def _is_about_table(text: str, files: Sequence[str]) -> bool:
    if _CODING.search(text) or _LOOKING_UP.search(text):
        return False
    posted = tables_of(files)
    if _names_in(text, posted):
        return True
    return bool(posted) and not _ANY_FILE.search(text) and _ABOUT_DATA.search(text) is not None


def tables_of(files: Sequence[str]) -> list[str]:
    """Return those of the files that are tables by their names."""
    endings = tuple(f".{suffix}" for suffix in SUFFIXES)
    return [name for name in files if name.lower().endswith(endings)]


def mentions_table(text: str) -> bool:
    """Return whether a text names a file that may be a table."""
    return _PATH.search(text[:SCAN_CHARS]) is not None


def _names_in(text: str, posted: Sequence[str]) -> list[str]:
    """Return the tables that a text names, in its order; names of posted ones may hold blanks."""
    places = {name: text.lower().find(name.lower()) for name in posted}
    found = {name: place for name, place in places.items() if place >= 0}
    for match in _PATH.finditer(text):
        # A part of a posted name with blanks is not a file of its own.
        if not any(place <= match.start() < place + len(name) for name, place in found.items()):
            found.setdefault(match[0].removeprefix("./"), match.start())
    return sorted(found, key=lambda name: found[name])


def plain_words(text: str) -> str:
    """Return the words of a text in small letters, one blank between them: `Unit_price` is two."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def read_description(text: str) -> Description | None:
    """Return what a result of `describe_table` says; `None` where it cannot be read."""
    head, mark, body = text.partition("\nColumns, with type, missing values and summary:\n")
    lines = head.splitlines()
    if not mark or len(lines) < 2 or not lines[1].startswith("Read it with: "):  # noqa: PLR2004 - title and call
        return None
    columns = [column for line in body.splitlines() if (column := _read_column(line))]
    return Description(
        title=lines[0],
        call=lines[1].removeprefix("Read it with: "),
        notes=tuple(line for line in lines[2:] if line.startswith("Note: ")),
        columns=tuple(columns),
    )


def _read_column(line: str) -> Column | None:
    if not line.startswith('"'):
        return None
    try:
        name, end = json.JSONDecoder().raw_decode(line)
    except ValueError:
        return None  # a name so long that it was cut
    match = _COLUMN.match(line, end)
    if match is None:
        return Column(name, "empty") if line[end:].startswith(": no values") else None
    rest = match["rest"]
    distinct = _DISTINCT.search(rest)
    count = int(distinct[1]) if distinct else 0
    kind = _KINDS.get(match["kind"].strip(), "text")
    if match["kind"] == "whole number" and _are_years(rest):
        kind = "year"
    if kind == "text" and _PERIOD_NAME.search(plain_words(name)) and 1 < count <= MAX_PERIODS:
        kind = "period"
    span = _SPAN.search(rest)
    return Column(
        name,
        kind,
        distinct=count,
        day_first=match["day_first"] is not None,
        span=(span["first"], span["last"]) if span else None,
        values=tuple(_read_values(rest)) if kind in {"text", "period"} else (),
    )


def _are_years(summary: str) -> bool:
    bounds = _BOUNDS.search(summary)
    if bounds is None or not (bounds["low"].isdecimal() and bounds["high"].isdecimal()):
        return False
    return _YEARS[0] <= int(bounds["low"]) and int(bounds["high"]) <= _YEARS[1]


def _read_values(summary: str) -> list[str]:
    values = []
    for match in _VALUE.finditer(summary):
        try:
            value = ast.literal_eval(match[1])
        except (SyntaxError, ValueError):
            continue
        if isinstance(value, str) and not value.endswith("…"):
            values.append(value)
    return values
