"""What a text wants to know of a table: which columns, figures and groups, and whether a chart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Final, Literal, NamedTuple

from agents._kit.offline_charts import ASKED, ChartKind, asks_chart, chart_kind, refuses_chart
from agents._kit.offline_tables import SCAN_CHARS, Column, Description, plain_words

MAX_MEASURES: Final = 8
MAX_DRAWN: Final = 3
"""Columns that one grouping shows side by side."""
MAX_CATEGORIES: Final = 30
"""A text with more values than these is no category unless it is asked for."""
SHORTEST_VALUE: Final = 3
"""Shorter values are also words of any sentence."""
MANY_DATES: Final = 60
FEW_DAYS: Final = 62
MANY_DAYS: Final = 1_100

Figure = Literal["count", "sum", "mean", "median", "min", "max", "std"]
Step = Literal["day", "week", "month", "quarter", "year"]

ORDERED: Final = frozenset({"date", "year", "period"})
_BY: Final = (" by ", " per ", " each ", " every ", " across ")
_GROUPING: Final = frozenset({"date", "year", "period", "text", "flag"})

_FIGURES: Final[tuple[tuple[Figure, str], ...]] = (
    ("count", r"\bhow many\b|\bcounts?\b|\bnumber of\b|\bhow often\b"),
    ("sum", r"\bsums?\b|\btotals?\b|\badd(?:ed)? up\b|\baltogether\b"),
    ("mean", r"\bmeans?\b|\baverag"),
    ("median", r"\bmedian"),
    ("min", r"\bmin\b|\bminimum|\bsmallest|\blowest|\bcheapest|\bleast\b|\bworst\b"),
    ("max", r"\bmax\b|\bmaximum|\blargest|\bhighest|\bbiggest|\bmost\b|\bbest\b|\bpeak\b|\btop\b"),
    ("std", r"\bstd\b|\bstandard deviation|\bspread\b|\bdeviation"),
)
_OVER_TIME: Final = re.compile(
    r"\btrend|\bgrow(?:th|s|ing|n)?\b|\bgrew\b|\bover time\b|\bdevelop\w{0,5}\b"
    r"|\bchanged?\b|\bslope\b|\bforecast|\bpredict|\bextrapolat|\brising\b|\bfalling\b",
    re.IGNORECASE,
)
_NEXT: Final = re.compile(
    r"\bforecast|\bpredict|\bextrapolat|\bnext (?:month|year|quarter|week|day|value)", re.IGNORECASE
)
_RELATION: Final = re.compile(r"\bcorrelat|\brelation(?:ship)?\b|\bversus\b|\bvs\b", re.IGNORECASE)
_OVERVIEW: Final = re.compile(
    r"\banaly[sz]|\bsummar|\bdescri|\boverview\b|\bexplor|\breport\b|\binsights?\b|\bexamin|\bevaluat"
    r"|\bstud(?:y|ied)\b|\blook at\b|\btell me about\b|\bwhat(?:'s| is) in\b",
    re.IGNORECASE,
)
_STEP: Final = re.compile(
    r"\b(?:by|per|each|every|a)\s(?:the\s)?(?P<step>day|week|month|quarter|year)\b"
    r"|\b(?P<adverb>daily|weekly|monthly|quarterly|yearly|annual(?:ly)?)\b",
    re.IGNORECASE,
)
_ADVERBS: Final[dict[str, Step]] = {
    "daily": "day", "weekly": "week", "monthly": "month", "quarterly": "quarter",
    "yearly": "year", "annual": "year", "annually": "year",
}  # fmt: skip
_NOT_ADDED: Final = re.compile(
    r"\b(?:price|rate|percent|pct|ratio|share|score|rating|age|temp|temperature|avg|average|mean|median"
    r"|index|level)\b|%"
)
_MONEY: Final = re.compile(
    r"\b(?:revenues?|sales|turnover|amounts?|profits?|income|costs?|totals?|values?)\b"
)
_IDENTIFIER: Final = re.compile(r"\b(?:id|uuid|index|nr|no|zip|postcode|phone)\b")
_BEYOND: Final = re.compile(
    r"\b(?:explain(?: why)?|why|interpret\w{0,6}|recommend\w{0,8}|conclu\w{1,6}|advi[sc]e|suggest\w{0,6}|anomal\w{1,5}"
    r"|outliers?|cluster\w{0,6}|regression|p-values?|t-tests?|significant\w{0,2}|significance|season\w{1,6}|percentiles?|quartiles?"
    r"|publish\w{0,3}|pivot\w{0,3}|joins?|merged?|translate|clean(?:ed|ing)?|heat\s?maps?|dashboard|box\s?plots?|three-dimensional)\b",
    re.IGNORECASE,
)
_YEAR: Final = re.compile(r"(?<![\w./-])(?:19|20)\d\d(?![\w/-])")
_FILTER: Final = re.compile(
    r"\b(?P<how>where|only|except|excluding|without|ignoring|since|until|before|after|during|between|above|below"
    r"|over|under|more than|less than|in|for|from|at)\s(?:the\s|all\s)?(?P<what>[\w'-]{1,40})",
    re.IGNORECASE,
)
_KNOWN: Final = frozenset(
    """
    a all an and attached average by chart charts column columns csv current data dataset day days detail each
    every excel figures file files first general given graph graphs it its last line lines me month months next
    order our past plot previous pandas python quarter quarters row rows sheet spreadsheet summary table tables
    terms that the their them these this time total totals us values week weeks what which words workbook
    year years you
    """.split()  # noqa: SIM905 - a list literal would take eighty lines
)


class Group(NamedTuple):
    """By what figures are grouped."""

    column: Column
    step: Step | None = None
    """Of a date: into which spans; `None` for every single date."""


class Filter(NamedTuple):
    """Which rows count."""

    column: Column
    values: tuple[str, ...]
    """Texts that the column may have; of a date the year."""


class Question(NamedTuple):
    """What is to be computed of a table."""

    measures: tuple[Column, ...]
    drawn: tuple[Column, ...]
    """Those of them that are grouped and drawn, the first one above all."""
    figures: tuple[Figure, ...]
    """Those asked for, in the order of `Figure`; empty for the usual ones."""
    group: Group | None
    filters: tuple[Filter, ...]
    forecast: bool
    relation: bool
    chart: bool
    kind: ChartKind | None
    open_points: tuple[str, ...]
    """Words of the text that ask for what this cannot do."""


def read_question(text: str, table: Description, path: str) -> Question:
    """Return what a text wants to know; without any sign of that, the usual things of the whole table."""
    head = text[:SCAN_CHARS].replace(path, " ")
    words = f" {plain_words(head)} "
    mentioned = [column for column in table.columns if _mentions(words, column.name)]
    numbers = [column for column in mentioned if column.kind == "number"]
    figures = tuple(label for label, pattern in _FIGURES if re.search(pattern, head, re.IGNORECASE))
    filters = _find_filters(words, head, table.columns)
    overview = _OVERVIEW.search(head) is not None or not (mentioned or figures or asks_chart(head))
    relation = _RELATION.search(head) is not None
    group = _find_group(head, mentioned, filters, table.columns)
    if (
        group is None
        and (overview or asks_chart(head))
        and not relation
        and chart_kind(head) != "histogram"
    ):
        group = _usual_group(head, table.columns)
    measures = numbers or [c for c in table.columns if c.kind == "number" and not _identifies(c)]
    return Question(
        measures=tuple(measures[:MAX_MEASURES]),
        drawn=tuple((numbers or _rank(measures))[:MAX_DRAWN]),
        figures=figures,
        group=group,
        filters=tuple(filters),
        forecast=_NEXT.search(head) is not None,
        relation=relation,
        chart=not refuses_chart(head) and (asks_chart(head) or overview),
        kind=chart_kind(head),
        open_points=tuple(_find_open(head, words, mentioned, group, filters, table.columns)),
    )


def is_added(column: Column) -> bool:
    """Return whether the values of a column make sense as a total: prices and rates do not."""
    return _NOT_ADDED.search(plain_words(column.name)) is None and "%" not in column.name


def _rank(measures: Sequence[Column]) -> list[Column]:
    """Return the columns that tell most of a whole table: what adds up, money first."""
    added = [column for column in measures if is_added(column)]
    return sorted(added, key=lambda c: _MONEY.search(plain_words(c.name)) is None) or list(measures)


def _identifies(column: Column) -> bool:
    return _IDENTIFIER.search(plain_words(column.name)) is not None


def _mentions(words: str, name: str) -> bool:
    plain = plain_words(name)
    # One letter is also an article or a pronoun.
    if len(plain) < 2:  # noqa: PLR2004 - as said
        return f" column {plain} " in words
    forms = {
        plain,
        f"{plain}s",
        f"{plain}es",
        plain.removesuffix("s"),
        f"{plain.removesuffix('y')}ies",
    }
    return any(f" {form} " in words for form in forms)


def _find_group(
    text: str, mentioned: Sequence[Column], filters: Sequence[Filter], columns: Sequence[Column]
) -> Group | None:
    filtered = {one.column.name for one in filters if len(one.values) == 1}
    candidates = [c for c in mentioned if c.kind in _GROUPING and c.name not in filtered]
    step = _find_step(text)
    dates = [column for column in columns if column.kind == "date"]
    if candidates:
        places = {c.name: _place(text, c.name) for c in candidates}
        column = min(candidates, key=lambda c: places[c.name])
        return Group(column, _step_of(column, step)) if column.kind == "date" else Group(column)
    several = [one.column for one in filters if len(one.values) > 1]
    if several:
        return Group(several[0])
    if step and dates:
        return Group(dates[0], step)
    if _OVER_TIME.search(text):
        ordered = [c for c in columns if c.kind in ORDERED and c.name not in filtered]
        return Group(ordered[0], _step_of(ordered[0], step)) if ordered else None
    return None


def _place(text: str, name: str) -> int:
    """Return where a column is asked for: behind "by" it is surely meant."""
    plain = plain_words(name)
    words = plain_words(text)
    grouped = [f"{by.strip()} {plain}" for by in _BY]
    found = [words.find(phrase) for phrase in grouped if phrase in words]
    return min(found) - len(words) if found else words.find(plain)


def _usual_group(text: str, columns: Sequence[Column]) -> Group | None:
    ordered = [column for column in columns if column.kind in ORDERED]
    if ordered:
        return Group(ordered[0], _step_of(ordered[0], _find_step(text)))
    fitting = [c for c in columns if c.kind in {"text", "flag"} and c.distinct <= MAX_CATEGORIES]
    categories = [c for c in fitting if c.distinct > 1 or c.kind == "flag"]
    return Group(min(categories, key=lambda c: c.distinct)) if categories else None


def _find_step(text: str) -> Step | None:
    match = _STEP.search(text)
    if match is None:
        return None
    if match["adverb"]:
        return _ADVERBS[match["adverb"].lower()]
    steps: dict[str, Step] = {"day": "day", "week": "week", "month": "month", "quarter": "quarter"}
    return steps.get(match["step"].lower(), "year")


def _step_of(column: Column, asked: Step | None) -> Step | None:
    """Return into which spans dates are put: as asked, as the column's name says, or as fits how many they are."""
    if column.kind != "date" or asked:
        return asked if column.kind == "date" else None
    named: tuple[Step, ...] = ("day", "week", "month", "quarter", "year")
    words = plain_words(column.name).split()
    for step in named:
        if step in words:
            return step
    if column.distinct <= MANY_DATES or column.span is None:
        return None
    first, last = (date.fromisoformat(day) for day in column.span)
    days = (last - first).days
    if days <= FEW_DAYS:
        return "day"
    return "month" if days <= MANY_DAYS else "year"


def _find_filters(words: str, text: str, columns: Sequence[Column]) -> list[Filter]:
    filters = []
    taken = {plain_words(column.name) for column in columns} | _KNOWN
    for column in columns:
        if column.kind in {"text", "period"}:
            plain = {value: plain_words(value) for value in column.values}
            told = {v: p for v, p in plain.items() if len(p) >= SHORTEST_VALUE and p not in taken}
            named = [value for value, words_of in told.items() if f" {words_of} " in words]
            if named:
                filters.append(Filter(column, tuple(named)))
    years = list(dict.fromkeys(_YEAR.findall(text)))
    timed = [c for c in columns if c.kind in {"date", "year"}]
    if len(years) == 1 and timed and not _between(text):
        filters.append(Filter(timed[0], (years[0],)))
    return filters


def _between(text: str) -> bool:
    return (
        re.search(
            r"\b(?:since|until|before|after|between|from)\s(?:19|20)\d\d", text, re.IGNORECASE
        )
        is not None
    )


def _find_open(
    text: str,
    words: str,
    mentioned: Sequence[Column],
    group: Group | None,
    filters: Sequence[Filter],
    columns: Sequence[Column],
) -> list[str]:
    """Return the wishes that were not understood or cannot be met, as the text has them."""
    found = [match[0] for match in _BEYOND.finditer(text)]
    used = {one.column.name for one in filters} | ({group.column.name} if group else set())
    spare = [c.name for c in mentioned if c.kind in _GROUPING and c.name not in used]
    by = min((place for place in map(words.find, _BY) if place >= 0), default=len(words))
    found += [f"by {name}" for name in spare if words.find(f" {plain_words(name)}") >= by]
    known = {word for column in columns for word in plain_words(column.name).split()}
    known |= {
        word for one in filters for value in one.values for word in plain_words(value).split()
    }
    patterns = "|".join(
        [ASKED, *(pattern for _, pattern in _FIGURES), _OVER_TIME.pattern, _OVERVIEW.pattern]
    )
    for match in _FILTER.finditer(text):
        what = plain_words(match["what"])
        simple = what in known | _KNOWN or what.removesuffix("s") in known
        if not simple and not re.search(patterns, match["what"], re.IGNORECASE):
            found.append(" ".join(match[0].split()))
    return list(dict.fromkeys(found))[:6]
