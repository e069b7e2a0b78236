"""Writes the program that answers a question about a table; the program itself prints every sentence.

So nothing can stand in an answer that was not computed: what is known beforehand are names, never figures.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from agents._kit.offline_answers import explain_limit, explain_missing
from agents._kit.offline_charts import LIBRARY, asks_chart
from agents._kit.offline_programs import SHOW, Program
from agents._kit.offline_questions import (
    ORDERED,
    Figure,
    Filter,
    Group,
    Question,
    is_added,
    read_question,
)
from agents._kit.offline_tables import Column, Description, Table, plain_words

LISTED_COLUMNS: Final = 12

_USUAL: Final[tuple[Figure, ...]] = ("sum", "mean", "median", "min", "max")
_PLAIN_KINDS: Final = {"period": "text", "year": "number", "flag": "yes/no"}
_PERIODS: Final = {"day": "D", "week": "W", "month": "M", "quarter": "Q", "year": "Y"}
_PNG: Final = re.compile(r"(?<![\w./-])([\w-]{1,60}\.png)\b", re.IGNORECASE)

_HEAD: Final = """\
import pandas

table = {call}
table.columns = [str(name) for name in table.columns]
{dates}{filters}

{show}

def plain(value):
    text = "".join(c if c.isprintable() else " " for c in str(value).removesuffix(" 00:00:00")[:60])
    return text.translate(str.maketrans("|`[]<>", "/'()()"))


def extremes(line):
    if line.max() == line.min():
        return f"all have the value {{number(line.max())}}"
    return (
        f"the highest is {{number(line.max())}} ({{plain(line.idxmax())}}), "
        f"the lowest {{number(line.min())}} ({{plain(line.idxmin())}})"
    )


print(f"Rows used: {{len(table)}}" + {which!r} + "\\n")
"""
_FIGURES: Final = """
for name in {names!r}:
    values = pandas.to_numeric(table[name], errors="coerce").dropna()
    for figure in {figures!r}:
        if len(values) or figure == "count":
            show(f"- {{plain(name)}}, {{figure}}", getattr(values, figure)())
"""
_GROUPS: Final = """
what, by, how = {what!r}, {by!r}, {how!r}
keys = {keys}
groups = {groups}
empty = int(groups.isna().any(axis=1).sum())
groups = groups.dropna()
print(f"\\n{{what}}, {{len(groups)}} groups:\\n")
print(f"| {{by}} | " + " | ".join(f"{{plain(name)}} ({{how}})" for name in groups.columns) + " |")
print("|---" * (len(groups.columns) + 1) + "|")
for key, row in groups.head({shown}).iterrows():
    print(f"| {{plain(key)}} | " + " | ".join(number(value) for value in row) + " |")
print()
if len(groups) > {shown}:
    print(f"These are the first {shown} of {{len(groups)}} groups.")
if empty:
    print(f"Left out: {{empty}} groups with a value missing.")
line = groups[{measure!r}]
"""
_EXTREMES: Final = """\
if len(line):
    print(f"Of {what} {extremes(line)}.")
"""
_TREND: Final = """\
if len(line) > 2:
    first, last = float(line.iloc[0]), float(line.iloc[-1])
    growth = f" ({{number((last - first) / abs(first) * 100)}}%)" if first else ""
    print(
        f"From {{plain(line.index[0])}} to {{plain(line.index[-1])}} it changed by "
        f"{{number(last - first)}}{{growth}}, from {{number(first)}} to {{number(last)}}."
    )
    middle = (len(line) - 1) / 2
    rise = sum((step - middle) * float(value - line.mean()) for step, value in enumerate(line))
    slope = rise / sum((step - middle) ** 2 for step in range(len(line)))
    trend = "rising" if slope > 0 else "falling" if slope < 0 else "flat"
    print(f"Its linear trend is {{trend}}: {{number(slope)}} per {step}, over {{len(line)}} points.")
"""
_NEXT: Final = """\
    following = float(line.mean()) + slope * (len(line) - middle)
    print(f"By that trend the next value would be {number(following)}.")
"""
_RELATION: Final = """
first, second = {names!r}
pairs = table[[first, second]].apply(pandas.to_numeric, errors="coerce").dropna()
show(
    f"- correlation (Pearson) of {{plain(first)}} and {{plain(second)}}, {{len(pairs)}} rows",
    float(pairs[first].corr(pairs[second])),
)
"""
_DRAW: Final = """
import matplotlib.pyplot as plt


def label(value):
    return plain(value).replace("$", r"\\$")


figure, axes = plt.subplots(figsize=(8, 4.5))
{draw}
axes.set_title(label({title!r}))
{labels}figure.savefig({path!r}, dpi=150, bbox_inches="tight")
"""
_LABELS: Final = """\
axes.set_xlabel(label({x!r}))
axes.set_ylabel(label({y!r}))
"""
_TELL_LINE: Final = """\
if len(drawn):
    print(
        f"\\nChart: `{path}` shows {{what}} as {kind}, from {{plain(drawn.index[0])}} "
        f"({{number(drawn.iloc[0])}}) to {{plain(drawn.index[-1])}} ({{number(drawn.iloc[-1])}}); "
        f"{{extremes(drawn)}}."
    )
"""
_TELL_BINS: Final = """\
most = list(counts).index(max(counts))
print(
    f"\\nChart: `{path}` shows how {{len(values)}} values of {{plain(name)}} are distributed; most of them, "
    f"{{int(counts[most])}}, lie between {{number(float(edges[most]))}} and {{number(float(edges[most + 1]))}}."
)
"""
_TELL_POINTS: Final = """\
print(
    f"\\nChart: `{path}` shows {{plain(second)}} over {{plain(first)}} as {{len(pairs)}} points; "
    f"their correlation (Pearson) is {{number(float(pairs[first].corr(pairs[second])))}}."
)
"""
_TURNED: Final = "if len(drawn) > 6:\n    figure.autofmt_xdate(rotation=45)"
SHOWN_GROUPS: Final = 30
SHOWN_WEDGES: Final = 12
DRAWN_KINDS: Final = {
    "line": "a line of {len(drawn)} points",
    "bar": "{len(drawn)} bars",
    "pie": "a pie of {len(drawn)} wedges",
}
"""How a chart is called; these stand in an f-string of the program."""


def write_study(
    text: str, table: Table, description: Description, libraries: Collection[str]
) -> Program | None:
    """Return the program that answers a text about a table; `None` where there is nothing to compute."""
    question = read_question(text, description, table.path)
    if not question.measures and question.group is None:
        return None
    drawable = question.chart and LIBRARY in libraries
    parts = [_write_head(question, description), _write_figures(question)]
    if question.group is not None:
        parts.append(_write_groups(question, question.group))
    if question.relation and len(question.measures) > 1:
        parts.append(_RELATION.format(names=[one.name for one in question.measures[:2]]))
    if drawable:
        parts.append(_write_chart(text, question))
    notes = _write_notes(text, table, question, libraries)
    report = partial(_report, table=table, description=description, notes=notes)
    return Program(code="".join(parts), report=report, about=f"the program for `{table.path}`")


def _write_head(question: Question, description: Description) -> str:
    wanted = [question.group.column] if question.group else []
    wanted += [one.column for one in question.filters]
    dates = {column.name: column for column in wanted if column.kind == "date"}
    conversions = [
        f'table[{name!r}] = pandas.to_datetime(table[{name!r}], errors="coerce"'
        f"{', dayfirst=True' if column.day_first else ''})\n"
        for name, column in dates.items()
    ]
    said = "; ".join(_say_filter(one) for one in question.filters)
    return _HEAD.format(
        call=description.call,
        dates="".join(conversions),
        filters="".join(_write_filter(one) for one in question.filters),
        show=SHOW,
        which=f" (only those where {said})" if said else "",
    )


def _write_filter(one: Filter) -> str:
    place = f"table[{one.column.name!r}]"
    if one.column.kind == "date":
        return f"table = table[{place}.dt.year == {int(one.values[0])}]\n"
    if one.column.kind == "year":
        return f"table = table[{place} == {int(one.values[0])}]\n"
    return f"table = table[{place}.isin({list(one.values)!r})]\n"


def _say_filter(one: Filter) -> str:
    return f"{_shown(one.column.name)} is {' or '.join(_shown(value) for value in one.values)}"


def _write_figures(question: Question) -> str:
    wanted = question.figures or _USUAL
    if question.group is not None and set(wanted) <= {"min", "max"}:
        # "Which region has the highest revenue": of the groups, not of the rows.
        wanted = ("sum", "mean")
    by_figures: dict[tuple[Figure, ...], list[str]] = {}
    for column in question.measures:
        fitting = [f for f in wanted if f != "sum" or f in question.figures or is_added(column)]
        by_figures.setdefault(tuple(fitting), []).append(column.name)
    return "".join(
        _FIGURES.format(names=names, figures=list(figures)) for figures, names in by_figures.items()
    )


def _how(question: Question) -> Figure:
    """Return how the values of a group become one: as asked, else a sum where that makes sense."""
    if not question.drawn:
        return "count"
    added = is_added(question.drawn[0])
    usual: Figure = "sum" if added else "mean"
    # "Which region has the highest revenue" compares totals; "the highest price by shop" does not.
    asked = [
        f
        for f in question.figures
        if f not in {"min", "max"} or (not added and len(question.figures) == 1)
    ]
    return asked[0] if asked else usual


def _write_groups(question: Question, group: Group) -> str:
    column, how = group.column, _how(question)
    place = f"table[{column.name!r}]"
    keys = f'{place}.dt.to_period("{_PERIODS[group.step]}")' if group.step else place
    sort = "False" if column.kind == "period" else "True"
    names = [one.name for one in question.drawn]
    if how == "count" and not names:
        groups = f'table.groupby(keys, sort={sort}).size().to_frame("rows")'
    else:
        numbers = f'table[{names!r}].apply(pandas.to_numeric, errors="coerce")'
        # Without `min_count` a group that has no value at all would pass for one of 0.
        call = "sum(min_count=1)" if how == "sum" else f"{how}()"
        groups = f"{numbers}.groupby(keys, sort={sort}).{call}"
    measure = names[0] if names else "rows"
    if column.kind not in ORDERED:
        groups += f".sort_values({measure!r}, ascending=False)"
    code = _GROUPS.format(
        what=_name_line(question, group),
        by=_name_group(group),
        how=how,
        keys=keys,
        groups=groups,
        measure=measure,
        shown=SHOWN_GROUPS,
    )
    code += _EXTREMES
    if column.kind in ORDERED:
        code += _TREND.format(step=f"{group.step} that has rows" if group.step else "step")
        code += _NEXT if question.forecast else ""
    return code


def _name_line(question: Question, group: Group) -> str:
    how = _how(question)
    what = f"{_shown(question.drawn[0].name)} ({how})" if question.drawn else "rows (count)"
    return f"{what} by {_name_group(group)}"


def _name_group(group: Group) -> str:
    name = _shown(group.column.name)
    step = group.step
    return (
        name
        if step is None or step in plain_words(group.column.name).split()
        else f"{step} of {name}"
    )


def _write_chart(text: str, question: Question) -> str:
    group, kind = question.group, question.kind
    if kind == "scatter" and len(question.measures) > 1:
        return _write_scatter(text, question.measures)
    if group is None or kind == "histogram":
        return _write_histogram(text, question.drawn[0]) if question.drawn else ""
    ordered = group.column.kind in ORDERED
    title = _name_line(question, group)
    drawn_name = question.drawn[0].name if question.drawn else "rows"
    path = _path(text, f"{drawn_name} by {group.step or group.column.name}")
    labels = _LABELS.format(x=_name_group(group), y=title.partition(" by ")[0])
    if kind == "pie":
        labels, drawn_kind = "", "pie"
        draw = (
            f"drawn = line[line > 0].head({SHOWN_WEDGES})\n"
            'axes.pie(drawn, labels=[label(key) for key in drawn.index], autopct="%1.1f%%")'
        )
    elif ordered and kind in {None, "line"}:
        drawn_kind = "line"
        places = "drawn.index.to_timestamp()" if group.step else "drawn.index"
        if group.column.kind != "date":
            places = "[label(key) for key in drawn.index]"
        draw = f'drawn = line\naxes.plot({places}, drawn.to_list(), marker="o")\n{_TURNED}'
    else:
        drawn_kind = "bar"
        draw = f"drawn = line.head({SHOWN_GROUPS})\naxes.bar([label(key) for key in drawn.index], drawn)\n{_TURNED}"
    code = _DRAW.format(draw=draw, title=title, labels=labels, path=path)
    return code + _TELL_LINE.format(path=path, kind=DRAWN_KINDS[drawn_kind])


def _write_histogram(text: str, column: Column) -> str:
    title = f"Distribution of {_shown(column.name)}"
    path = _path(text, title)
    draw = (
        f"name = {column.name!r}\n"
        'values = pandas.to_numeric(table[name], errors="coerce").dropna()\n'
        'counts, edges, _ = axes.hist(values, bins=20, edgecolor="white")'
    )
    labels = _LABELS.format(x=_shown(column.name), y="rows")
    code = _DRAW.format(draw=draw, title=title, labels=labels, path=path)
    return code + _TELL_BINS.format(path=path)


def _write_scatter(text: str, measures: Sequence[Column]) -> str:
    first, second = measures[0].name, measures[1].name
    title = f"{_shown(second)} over {_shown(first)}"
    path = _path(text, title)
    draw = (
        f"first, second = {first!r}, {second!r}\n"
        "pairs = table[[first, second]].dropna()\n"
        "axes.scatter(pairs[first], pairs[second], s=12)"
    )
    labels = _LABELS.format(x=_shown(first), y=_shown(second))
    code = _DRAW.format(draw=draw, title=title, labels=labels, path=path)
    return code + _TELL_POINTS.format(path=path)


def _path(text: str, title: str) -> str:
    asked = _PNG.search(text[:4_000])
    return asked[1] if asked else f"{'_'.join(plain_words(title).split())[:60] or 'chart'}.png"


def _shown(name: str) -> str:
    """Return a name of the table as it may stand in a sentence, whatever characters it has."""
    text = "".join(c if c.isprintable() else " " for c in name[:60])
    return text.translate(str.maketrans("|`[]<>", "/'()()"))


def _write_notes(
    text: str, table: Table, question: Question, libraries: Collection[str]
) -> list[str]:
    notes = []
    if question.chart and LIBRARY not in libraries and asks_chart(text):
        notes.append(explain_missing("the chart", LIBRARY))
    if table.others:
        notes.append(f"Not looked at: {', '.join(table.others)}.")
    if question.open_points:
        said = ", ".join(f'"{_shown(point)}"' for point in question.open_points)
        notes.append(explain_limit(f"{said} (the figures are without it)"))
    return notes


def _report(output: str, *, table: Table, description: Description, notes: Sequence[str]) -> str:
    columns = [
        f"{_shown(column.name)} ({_PLAIN_KINDS.get(column.kind, column.kind)})"
        for column in description.columns[:LISTED_COLUMNS]
    ]
    more = len(description.columns) - len(columns)
    listed = ", ".join(columns) + (f" and {more} more" if more > 0 else "")
    parts = [f"{description.title}: {listed}."]
    parts += list(description.notes)
    parts.append(f"Computed with Python from `{table.path}`:")
    parts.append(output.strip())
    return "\n\n".join([*parts, *notes])
