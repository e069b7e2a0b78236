"""Reads a table of any usual format, and says how to read it again.

Runs in the sandbox only, where `tools.tables` sends it as text: it must import nothing of ours.
"""

from __future__ import annotations

import codecs
import csv
import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

MAX_ROWS: Final = 1_000_000
SAMPLE_BYTES: Final = 64 * 1024
SAMPLE_LINES: Final = 50
SAMPLE_CELLS: Final = 1_000
SHOWN_LINES: Final = 5
ENOUGH: Final = 0.95
"""Share of a column's values that must be of a kind, so that the column is."""

DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
ENCODINGS: Final = {
    "utf-8-sig": "UTF-8 with a byte order mark",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 without a byte order mark",
    "utf-16-be": "UTF-16 without a byte order mark, high bytes first",
    "latin-1": "Latin-1 (a guess: it is not UTF-8)",
}

NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:[ ']\d{3})+|\d+)?(?:[.,]\d+)?(?:[eE][-+]?\d+)?\s?%?")
_DECIMAL_COMMA: Final = re.compile(r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+")
_WITH_COMMAS: Final = re.compile(r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?")

_NO_HEADER: Final = (
    "there is no header row (every cell of the first row is a number), so columns are numbered"
)


class UnreadableTable(Exception):  # noqa: N818 - its name is what a reader sees before the sentence
    """Says in one sentence why a file is no table that can be described."""


class Source(NamedTuple):
    """A table as it was read, and how to read it again."""

    frame: Any
    """A data frame of pandas."""
    kind: str
    call: str
    """An expression of Python that reads the same table."""
    notes: list[str]
    total: int | None = None
    """Rows in the file where that is more than was read."""


class Ragged(NamedTuple):
    """The rows of a text that do not have as many cells as its first."""

    rows: int
    longer: int
    shorter: int
    longer_lines: list[int]
    """The first lines of that kind, counted from 1."""
    shorter_lines: list[int]


def read_table(path: str) -> Source:
    """Return the table in a file. Raises `UnreadableTable`."""
    file = Path(path)
    if file.stat().st_size == 0:
        msg = f"{path} is empty: it has no bytes."
        raise UnreadableTable(msg)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        msg = f"{path} is no table that can be read; those end in {', '.join(_READERS)}."
        raise UnreadableTable(msg)
    try:
        return reader(path)
    except (UnreadableTable, MemoryError):
        raise
    except Exception as error:
        # Whatever the library makes of a broken file, it is told in one sentence.
        said = " ".join(str(error).split())[:300] or type(error).__name__
        msg = f"{path} could not be read: {said}"
        raise UnreadableTable(msg) from error


def _read_text(path: str) -> Source:
    import pandas

    encoding = _find_encoding(path)
    with Path(path).open(encoding=encoding, errors="replace", newline="") as file:
        sample = file.read(SAMPLE_BYTES)
    if not sample.strip():
        msg = f"{path} is empty: it has nothing but blanks."
        raise UnreadableTable(msg)
    delimiter = _find_delimiter(sample)
    options: dict[str, Any] = {} if delimiter == "," else {"sep": delimiter}
    notes = []
    if encoding != "utf-8":
        options["encoding"] = encoding
        notes.append(f"the text is {ENCODINGS[encoding]}")
    first = next(csv.reader(sample.splitlines(), delimiter=delimiter), [])
    headless = all(cell.strip() and NUMBER.fullmatch(cell.strip()) for cell in first)
    if headless:
        options["header"] = None
        notes.append(_NO_HEADER)
    ragged = _count_ragged(path, encoding, delimiter)
    if ragged.longer or ragged.shorter:
        options |= {"index_col": False, "on_bad_lines": "skip"}
    read = functools.partial(pandas.read_csv, path, nrows=MAX_ROWS, low_memory=False)
    frame = read(**options)
    commas, note = _find_decimal_commas(frame, delimiter, lambda more: read(**options, **more))
    if note:
        notes.append(note)
        options |= commas
        frame = read(**options) if commas else frame
    rows = ragged.rows + headless
    if ragged.longer or ragged.shorter:
        skipped = ragged.longer > 0 and len(frame) < min(rows, MAX_ROWS)
        notes.insert(0, _tell_ragged(ragged, skipped=skipped))
    shown = [repr(path), *[f"{name}={value!r}" for name, value in options.items()]]
    call = f"pandas.read_csv({', '.join(shown)})"
    if headless:
        frame, call = frame.add_prefix("column_"), f'{call}.add_prefix("column_")'
    kind = f"{'TSV' if delimiter == '	' else 'CSV'} with {DELIMITERS[delimiter]}"
    return Source(frame, kind, call, notes, rows if rows > len(frame) >= MAX_ROWS else None)


def _find_encoding(path: str) -> str:
    """Return the encoding of a file of text. Raises `UnreadableTable` where it is no text."""
    with Path(path).open("rb") as file:
        head = file.read(SAMPLE_BYTES)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "utf-16"
        marks = head[:2_000]
        for encoding, zeros in (("utf-16-le", marks[1::2]), ("utf-16-be", marks[::2])):
            if len(zeros) > 1 and zeros.count(0) > len(zeros) * 0.7:
                return encoding
        controls = sum(byte < ord(" ") and byte not in b"\t\n\r\f\x1a" for byte in head)
        if b"\0" in head or controls > len(head) * 0.01:
            msg = f"{path} is binary, not a table of text, whatever its name says."
            raise UnreadableTable(msg)
        file.seek(0)
        try:
            for _ in _decoded(file):
                pass
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig" if head.startswith(b"\xef\xbb\xbf") else "utf-8"


def _decoded(file: BinaryIO) -> Iterator[str]:
    return codecs.iterdecode(iter(functools.partial(file.read, 1024**2), b""), "utf-8")


def _find_delimiter(sample: str) -> str:
    """Return what separates the cells: what cuts most of the first lines into equally many."""
    lines = sample.splitlines()[:SAMPLE_LINES]
    best, score = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        usual = max(set(widths), key=widths.count, default=1)
        fits = widths.count(usual) / len(widths) if usual > 1 else 0.0
        # Among equals the one that makes more cells.
        if fits + usual / 10_000 > score and fits:
            best, score = delimiter, fits + usual / 10_000
    return best


def _count_ragged(path: str, encoding: str, delimiter: str) -> Ragged:
    """Count the rows below the first one, and those of them that do not fit it."""
    csv.field_size_limit(2**31 - 1)
    rows = 0
    lines: dict[str, list[int]] = {"longer": [], "shorter": []}
    counts = {"longer": 0, "shorter": 0}
    with Path(path).open(encoding=encoding, errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        width = len(next(reader, []))
        for row in reader:
            rows += bool(row)
            if row and len(row) != width:
                which = "longer" if len(row) > width else "shorter"
                counts[which] += 1
                if len(lines[which]) < SHOWN_LINES:
                    lines[which].append(reader.line_num)
    return Ragged(rows, counts["longer"], counts["shorter"], lines["longer"], lines["shorter"])


def _tell_ragged(ragged: Ragged, *, skipped: bool) -> str:
    said = []
    if ragged.longer:
        what = "left out" if skipped else "cut to its width"
        where = _list_lines(ragged.longer_lines, ragged.longer)
        said.append(f"{ragged.longer} with more cells than the first one, {what} ({where})")
    if ragged.shorter:
        where = _list_lines(ragged.shorter_lines, ragged.shorter)
        said.append(f"{ragged.shorter} with fewer, filled with missing values ({where})")
    return f"ragged rows: {'; '.join(said)}"


def _list_lines(lines: list[int], count: int) -> str:
    more = ", …" if count > len(lines) else ""
    return f"line{'s' if count > 1 else ''} {', '.join(map(str, lines))}{more}"


def _find_decimal_commas(
    frame: Any, delimiter: str, read: Callable[[dict[str, Any]], Any]
) -> tuple[dict[str, Any], str]:
    """Return the options that read `1.234,5` as a number, and a note; neither where none is like it."""
    texts = {name: _texts(frame[name]) for name in frame.columns}
    if not any(_share(_DECIMAL_COMMA, cells) > ENOUGH / 2 for cells in texts.values()):
        return {}, ""
    if delimiter == ",":
        return {}, "some columns hold numbers with decimal commas, which were left as text"
    for options in ({"decimal": ",", "thousands": "."}, {"decimal": ","}):
        again = read(options)
        changed = [name for name in frame.columns if texts[name] and not _texts(again[name])]
        # `01.02.2024` and `1.2.3` lose their dots too, and must not pass for numbers.
        if changed and all(_share(_WITH_COMMAS, texts[name]) > ENOUGH for name in changed):
            return options, "numbers have decimal commas"
    return {}, "some columns hold numbers with decimal commas, which were left as text"


def _texts(column: Any) -> list[str]:
    """Return the first values of a column of text; nothing for any other."""
    if column.dtype.kind not in "OUT" and str(column.dtype) not in {"str", "string"}:
        return []
    return [str(value).strip() for value in column.dropna().head(SAMPLE_CELLS)]


def _share(pattern: re.Pattern[str], texts: list[str]) -> float:
    return sum(bool(pattern.fullmatch(text)) for text in texts) / len(texts) if texts else 0.0


def _read_excel(path: str) -> Source:
    import pandas

    with pandas.ExcelFile(path, engine="calamine") as book:
        names = [str(name) for name in book.sheet_names]
        frames = ((name, book.parse(name, nrows=MAX_ROWS)) for name in names)
        chosen, frame = next(((n, f) for n, f in frames if f.size), (names[0], None))
        if frame is None:
            msg = f"{path} has no sheet with rows; its sheets are {_list_sheets(names)}."
            raise UnreadableTable(msg)
        call = f"pandas.read_excel({path!r}, sheet_name={chosen!r}, engine='calamine')"
        notes = [f"the sheets are {_list_sheets(names)}; described is {chosen!a}"]
        if all(isinstance(name, int | float) for name in frame.columns):
            frame = book.parse(chosen, header=None, nrows=MAX_ROWS).add_prefix("column_")
            call = f'{call[:-1]}, header=None).add_prefix("column_")'
            notes.append(_NO_HEADER)
    return Source(frame, "workbook", call, notes)


def _list_sheets(names: list[str]) -> str:
    shown = ", ".join(f"{name[:80]!a}" for name in names[:SAMPLE_LINES])
    return shown if len(names) <= SAMPLE_LINES else f"{shown} and {len(names) - SAMPLE_LINES} more"


def _read_parquet(path: str) -> Source:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        total = int(file.metadata.num_rows)
        if total <= MAX_ROWS:
            frame = file.read().to_pandas()
        else:
            frame = next(file.iter_batches(batch_size=MAX_ROWS)).to_pandas()
    return Source(
        frame,
        "Parquet",
        f"pandas.read_parquet({path!r})",
        [],
        total if total > len(frame) else None,
    )


def _read_json_lines(path: str) -> Source:
    import pandas

    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                _require_object(path, line, number)
            if number >= SAMPLE_LINES:
                break
    options = "lines=True, dtype=False, convert_dates=False"
    frame = pandas.read_json(path, lines=True, dtype=False, convert_dates=False, nrows=MAX_ROWS)
    notes = [f"only the first {MAX_ROWS} rows were read"] if len(frame) >= MAX_ROWS else []
    return Source(frame, "JSON lines", f"pandas.read_json({path!r}, {options})", notes)


def _require_object(path: str, line: str, number: int) -> None:
    try:
        fine = isinstance(json.loads(line), dict)
    except ValueError:
        fine = False
    if not fine:
        msg = f"{path} has no JSON object in line {number}."
        raise UnreadableTable(msg)


def _read_json(path: str) -> Source:
    import pandas

    text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    try:
        content = json.loads(text)
    except ValueError:
        return _read_json_lines(path)
    if (
        not isinstance(content, list)
        or not content
        or not all(isinstance(row, dict) for row in content)
    ):
        msg = f"{path} is JSON, but not an array of objects, which is what a table looks like."
        raise UnreadableTable(msg)
    frame = pandas.DataFrame(content[:MAX_ROWS])
    call = f"pandas.read_json({path!r}, dtype=False, convert_dates=False)"
    return Source(frame, "JSON array", call, [], len(content) if len(content) > MAX_ROWS else None)


_READERS: Final = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".tab": _read_text,
    ".txt": _read_text,
    ".xlsx": _read_excel,
    ".xls": _read_excel,
    ".ods": _read_excel,
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
}
