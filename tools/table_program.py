"""Describes a table as text for a model.

Runs in the sandbox only, where `tools.tables` sends it as text together with `tools.table_reading`.
"""

from __future__ import annotations

import json
import re
import warnings
from typing import Any, Final, NamedTuple

from tools.table_reading import ENOUGH, NUMBER, Source, UnreadableTable, read_table

MAX_CHARS: Final = 15_000
COLUMNS_CHARS: Final = 11_000
MAX_COLUMNS: Final = 200
NAME_CHARS: Final = 200
CELL_CHARS: Final = 60
ROW_CHARS: Final = 900
LEFT_OUT_CHARS: Final = 800
COMMON_VALUES: Final = 6
FIRST_ROWS: Final = 3
SAMPLE_CELLS: Final = 1_000

_DATE: Final = re.compile(
    r"\d{4}-\d{1,2}(?:-\d{1,2})?(?:[T ]\d{1,2}:\d{2}.{0,25})?|\d{4}/\d{1,2}/\d{1,2}"
    r"|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}(?: \d{1,2}:\d{2}.{0,15})?"
    r"|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}|[A-Za-z]{3,9} (?:\d{1,2}, )?\d{4}"
)
_DAY_OR_MONTH: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})[./-]\d{2,4}")
MONTHS: Final = 12

DAY_FIRST: Final = "with the day first"
"""Said of dates that are read so; whoever converts them has to know it."""


class Dates(NamedTuple):
    """A column of text as dates."""

    values: Any
    """A series of pandas, without what is missing or no date."""
    note: str
    """How they are written, where that is not plain; else empty."""


def describe(path: str) -> str:
    """Return what a table holds, as text for a model. Raises `UnreadableTable`."""
    warnings.simplefilter("ignore")
    return _write(path, read_table(path))


def _write(path: str, source: Source) -> str:
    frame = source.frame
    frame.columns = [str(name) for name in frame.columns]
    width = len(frame.columns)
    if not width:
        msg = f"{path} holds no column."
        raise UnreadableTable(msg)
    notes = list(source.notes)
    if frame.columns.has_duplicates:
        notes.append("several columns have the same name; only the first of each is described")
        frame = frame.loc[:, ~frame.columns.duplicated()]
    rows = _count(len(frame), "row")
    if source.total is not None:
        rows = f"the first {len(frame)} of {source.total} rows"
    lines = [
        f"{_plain(path, 1_000)}: {source.kind}, {rows}, {_count(width, 'column')}",
        f"Read it with: {source.call}",
        *[f"Note: {note}" for note in notes],
        "Columns, with type, missing values and summary:",
        *_describe_columns(frame),
        *_show_rows(frame),
    ]
    text = "\n".join(lines)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}\n[cut here]"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _describe_columns(frame: Any) -> list[str]:
    lines: list[str] = []
    used = 0
    for name in list(frame.columns)[:MAX_COLUMNS]:
        line = f"{_name(name)}: {_summary(frame[name])}"
        used += len(line)
        if used > COLUMNS_CHARS:
            break
        lines.append(line)
    left_out = len(frame.columns) - len(lines)
    if left_out:
        names = ", ".join(_name(name) for name in list(frame.columns)[len(lines) :])
        lines.append(
            f"({_count(left_out, 'more column')} left out: {_plain(names, LEFT_OUT_CHARS)})"
        )
    return lines


def _summary(column: Any) -> str:
    import pandas

    missing = f"{int(column.isna().sum())} missing"
    values = column.dropna()
    if not len(values):
        return f"no values, {missing}"
    kinds = pandas.api.types
    if kinds.is_bool_dtype(values.dtype) or set(values.map(type)) == {bool}:
        true = int(values.astype(bool).sum())
        return f"yes/no, {missing}; true {true}, false {len(values) - true}"
    if kinds.is_datetime64_any_dtype(values.dtype):
        return f"date, {missing}; {_span(values)}"
    if kinds.is_numeric_dtype(values.dtype) and not kinds.is_complex_dtype(values.dtype):
        return _numeric(values, missing)
    return _textual(values, missing)


def _numeric(values: Any, missing: str) -> str:
    import pandas

    whole = "whole number" if pandas.api.types.is_integer_dtype(values.dtype) else "number"
    values = values.astype(float)
    figures = {
        "min": values.min(),
        "mean": values.mean(),
        "median": values.median(),
        "max": values.max(),
        "std": values.std(),
    }
    said = ", ".join(f"{label} {figure:.10g}" for label, figure in figures.items())
    return f"{whole}, {missing}; {said.replace('std nan', 'std -')}; {values.nunique()} distinct"


def _textual(values: Any, missing: str) -> str:
    texts = values.map(str)
    dates = _read_dates(texts)
    if dates is not None:
        return f"date as text{dates.note}, {missing}; {_span(dates.values)}"
    counts = texts.value_counts()
    common = counts.head(COMMON_VALUES).items()
    listed = ", ".join(f"{_cell(text)!r} ({count})" for text, count in common)
    label = "commonest" if len(counts) > COMMON_VALUES else "values"
    summary = f"text, {missing}; {len(counts)} distinct; {label}: {listed}"
    numbers = texts.head(SAMPLE_CELLS).map(lambda text: bool(NUMBER.fullmatch(text.strip())))
    hint = "; these look like numbers, but were not read as such"
    return f"{summary}{hint}" if numbers.mean() > ENOUGH else summary


def _read_dates(texts: Any) -> Dates | None:
    """Return a column of text as dates; `None` where it holds something else."""
    import pandas

    sample = [text.strip() for text in texts.head(SAMPLE_CELLS)]
    if sum(bool(_DATE.fullmatch(text)) for text in sample) < ENOUGH * len(sample):
        return None
    days = [match for match in map(_DAY_OR_MONTH.fullmatch, sample) if match]
    day_first = any(match[2] == "." or int(match[1]) > MONTHS for match in days)
    dates = pandas.to_datetime(texts, errors="coerce", dayfirst=day_first)
    if dates.notna().mean() < ENOUGH:
        return None
    note = f" {DAY_FIRST}" if day_first else ""
    if days and not day_first and all(int(match[3]) <= MONTHS for match in days):
        note = " with the month first (a guess)"
    return Dates(dates.dropna(), note)


def _span(dates: Any) -> str:
    texts = [str(date).removesuffix(" 00:00:00") for date in (dates.min(), dates.max())]
    return f"first {texts[0]}, last {texts[1]}; {dates.nunique()} distinct"


def _show_rows(frame: Any) -> list[str]:
    head = frame.head(FIRST_ROWS)
    if not len(head):
        return ["There are no rows below the header."]
    lines = [f"First {_count(len(head), 'row')}:"]
    for row in head.itertuples(index=False, name=None):
        cells = [_cell(str(value).removesuffix(" 00:00:00")) for value in row[:MAX_COLUMNS]]
        lines.append(_plain(" | ".join(cells), ROW_CHARS))
    return lines


def _name(name: str) -> str:
    return json.dumps(name, ensure_ascii=not name.isprintable())[: NAME_CHARS + 2]


def _cell(text: str) -> str:
    return _plain(text, CELL_CHARS)


def _plain(text: str, limit: int) -> str:
    """Return text on one line, shortened, with what cannot be printed written as an escape."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:limit])
    return f"{shown}…" if len(text) > limit else shown
