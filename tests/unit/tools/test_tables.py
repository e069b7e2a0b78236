"""`describe_table` over real files of every format, in the interpreter that programs have."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ToolFailedError
from domain.sandbox import USUAL_LIMITS, CodeFault, CodeLimits, CodeResult, SandboxState
from tests.fakes.sandbox import PYTHON, open_sandbox
from tests.fakes.workbooks import write_workbook
from tools.knowledge import Knowledge
from tools.registry import build_toolbox
from tools.sandbox.off import NoSandbox
from tools.sandbox.unsafe_local import UnsafeLocal
from tools.tables import make_describe_table, tables_off_reason

DESCRIBE = make_describe_table(open_sandbox())

SALES = (
    "month,region,revenue,units\n"
    "2024-01-01,north,100.5,3\n2024-01-01,south,80,2\n"
    "2024-02-01,north,120,4\n2024-02-01,south,,1\n"
)


async def describe(call: Any, workspace: Path, name: str, content: str | bytes) -> str:
    workspace.mkdir(parents=True, exist_ok=True)
    file = workspace / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    text: str = (await call(DESCRIBE, path=name)).content
    return text


def make(workspace: Path, program: str) -> None:
    """Make files in the workspace with pandas."""
    workspace.mkdir(parents=True, exist_ok=True)
    code = f"import numpy, pandas\n{program}"
    subprocess.run([PYTHON, "-c", code], cwd=workspace, check=True, timeout=50)


async def test_a_table_is_described_by_rows_columns_summaries_and_first_rows(
    call: Any, workspace: Path
) -> None:
    assert await describe(call, workspace, "sales.csv", SALES) == (
        "sales.csv: CSV with commas, 4 rows, 4 columns\n"
        "Read it with: pandas.read_csv('sales.csv')\n"
        "Columns, with type, missing values and summary:\n"
        '"month": date as text, 0 missing; first 2024-01-01, last 2024-02-01; 2 distinct\n'
        "\"region\": text, 0 missing; 2 distinct; values: 'north' (2), 'south' (2)\n"
        '"revenue": number, 1 missing; min 80, mean 100.1666667, median 100.5, max 120, '
        "std 20.00208322; 3 distinct\n"
        '"units": whole number, 0 missing; min 1, mean 2.5, median 2.5, max 4, '
        "std 1.290994449; 4 distinct\n"
        "First 3 rows:\n"
        "2024-01-01 | north | 100.5 | 3\n"
        "2024-01-01 | south | 80.0 | 2\n"
        "2024-02-01 | north | 120.0 | 4"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a;b\n1;2\n3;4\n", ["CSV with semicolons, 2 rows, 2 columns", "sep=';'"]),
        ("a\tb\n1\t2\n", ["TSV with tabs", "sep='\\t'", "1 row,"]),
        ("a|b\n1|2\n", ["vertical bars"]),
        ('a,b\n"x, y; z",2\n"u; v",3\n', ["CSV with commas, 2 rows, 2 columns"]),
        ("\ufeffa,b\n1,2\n", ["UTF-8 with a byte order mark", '"a": whole number']),
        ("name,n\nKöln,3\n".encode("latin-1"), ["Latin-1 (a guess", "'Köln' (1)"]),
        ("a\tb\n1\t2\n".encode("utf-16"), ["UTF-16", '"a": whole number']),
        ("a,b\n1,2\n".encode("utf-16-le"), ["UTF-16 without a byte order mark"]),
        ("1,2,3\n4,5,6\n", ["no header row", "2 rows, 3 columns", '"column_0": whole number', "1 | 2 | 3"]),
        ("value\n1\n2\n", ["2 rows, 1 column"]),
        ("a,b\n", ["0 rows", '"a": no values', "no rows below the header"]),
        ("flag,x\ntrue,1\nfalse,2\n", ['"flag": yes/no, 0 missing; true 1, false 1']),
        ("a,a\n1,2\n", ['"a.1"']),
        ("id\n007\n1 234\n", ["look like numbers, but were not read as such"]),
        ("d,n\n13/02/2024,1\n14/02/2024,2\n", ["with the day first", "first 2024-02-13"]),
        ("d,n\n01/02/2024,1\n", ["with the month first (a guess)"]),
        ("t,n\n2024-01-01 10:00,1\n2024-01-02 11:30,1\n", ["last 2024-01-02 11:30:00"]),
    ],
)  # fmt: skip
async def test_a_text_is_read_as_it_is_written(
    call: Any, workspace: Path, content: str | bytes, said: list[str]
) -> None:
    text = await describe(call, workspace, "t.csv", content)
    for part in said:
        assert part in text, text


async def test_decimal_commas_are_read_and_dates_with_dots_stay_dates(
    call: Any, workspace: Path
) -> None:
    content = "Datum;Preis;Version\n01.02.2024;1.234,50;1.2.3\n13.02.2024;2,75;1.2.4\n"
    text = await describe(call, workspace, "t.csv", content)
    assert "numbers have decimal commas" not in text
    assert "decimal commas, which were left as text" in text
    assert '"Datum": date as text with the day first, 0 missing; first 2024-02-01' in text
    plain = await describe(call, workspace, "t.csv", "Preis;Ort\n1.234,50;Bonn\n2,75;Kiel\n")
    assert "decimal=',', thousands='.'" in plain
    assert "max 1234.5" in plain
    dated = await describe(
        call, workspace, "t.csv", "Tag;Preis\n01.02.2024;4,50\n02.02.2024;2,75\n"
    )
    assert "Read it with: pandas.read_csv('t.csv', sep=';', decimal=',')" in dated
    assert '"Tag": date as text' in dated


async def test_ragged_rows_are_reported_with_their_lines(call: Any, workspace: Path) -> None:
    text = await describe(call, workspace, "t.csv", "a,b,c\n1,2,3\n4,5\n6,7,8,9\n10,11,12\n")
    assert "1 with more cells than the first one, left out (line 4)" in text
    assert "1 with fewer, filled with missing values (line 3)" in text
    assert "3 rows" in text
    trailing = await describe(call, workspace, "t.csv", "a,b\n1,2,\n3,4,\n")
    assert "2 with more cells than the first one, cut to its width (lines 2, 3)" in trailing
    assert '"a": whole number, 0 missing; min 1' in trailing


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "", "t.csv is empty: it has no bytes."),
        ("t.csv", " \n \n", "t.csv is empty: it has nothing but blanks."),
        ("t.csv", bytes(range(256)) * 9, "t.csv is binary, not a table of text"),
        ("t.xlsx", "hello", "t.xlsx could not be read"),
        ("t.parquet", "hello", "t.parquet could not be read"),
        ("t.jsonl", '{"a": 1}\nxx\n', "t.jsonl has no JSON object in line 2."),
        ("t.json", '{"a": 1}', "t.json is JSON, but not an array of objects"),
        ("t.pdf", "x", "t.pdf is no table that can be read; those end in .csv, .tsv"),
    ],
)
async def test_what_is_no_table_is_refused_in_one_sentence(
    call: Any, workspace: Path, name: str, content: str | bytes, sentence: str
) -> None:
    with pytest.raises(ToolFailedError) as refused:
        await describe(call, workspace, name, content)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


async def test_every_format_says_how_to_read_it_again(call: Any, workspace: Path) -> None:
    make(
        workspace,
        "t = pandas.DataFrame({'when': pandas.date_range('2024', periods=3), 'x': [1, 2, 4]})\n"
        "t.to_parquet('t.parquet'); t.to_json('t.jsonl', orient='records', lines=True, date_format='iso')\n"
        "t.to_json('t.json', orient='records', date_format='iso')",
    )
    for name, kind in (
        ("t.parquet", "Parquet"),
        ("t.jsonl", "JSON lines"),
        ("t.json", "JSON array"),
    ):
        text: str = (await call(DESCRIBE, path=name)).content
        assert text.startswith(f"{name}: {kind}, 3 rows, 2 columns\nRead it with: pandas.read_")
        assert '"when": date' in text
        assert '"x": whole number, 0 missing; min 1' in text
        read = text.splitlines()[1].removeprefix("Read it with: ")
        make(workspace, f"assert {read}['x'].sum() == 7")


async def test_the_sheets_of_a_workbook_are_named(call: Any, workspace: Path) -> None:
    workspace.mkdir(parents=True)
    costs: list[list[str | float]] = [["item", "price"], ["pen", 1.5], ["ink", 4]]
    write_workbook(workspace / "b.xlsx", {"Notes": [], "Costs": costs})
    text = (await call(DESCRIBE, path="b.xlsx")).content
    assert text.startswith("b.xlsx: workbook, 2 rows, 2 columns\n")
    assert "the sheets are 'Notes', 'Costs'; described is 'Costs'" in text
    assert "sheet_name='Costs', engine='calamine'" in text
    assert '"price": number' in text


async def test_a_wide_table_says_how_many_columns_are_left_out(call: Any, workspace: Path) -> None:
    names = [f"column number {n}" for n in range(600)]
    content = ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n"
    text = await describe(call, workspace, "t.csv", content)
    assert len(text) <= 16_000
    assert "more columns left out: " in text
    assert "600 columns" in text


async def test_cells_are_cut_and_what_cannot_be_printed_is_escaped(
    call: Any, workspace: Path
) -> None:
    content = f'"a\nb",c\n"x\u202ey\nz",1\n{"q" * 5_000},2\n' + "more,3\n" * 300
    text = await describe(call, workspace, "t.csv", content)
    assert '"a\\nb": text' in text
    assert "x\\u202ey\\nz" in text
    assert "q" * 61 not in text
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}


async def test_a_hundred_thousand_rows_take_seconds(call: Any, workspace: Path) -> None:
    make(
        workspace,
        "pandas.DataFrame(numpy.random.rand(100_000, 6)).assign(k='x', "
        "d=pandas.date_range('2020', periods=100_000, freq='h').astype(str)).to_csv('big.csv', index=False)",
    )
    started = time.perf_counter()
    text = (await call(DESCRIBE, path="big.csv")).content
    assert "100000 rows, 8 columns" in text
    assert time.perf_counter() - started < 20  # about two seconds on an idle machine


async def test_more_than_a_million_rows_are_not_read(call: Any, workspace: Path) -> None:
    text = await describe(call, workspace, "t.csv", "a\n" + "1\n" * 1_000_005)
    assert "the first 1000000 of 1000005 rows" in text


async def test_a_file_that_is_not_there_lists_those_that_are(call: Any, workspace: Path) -> None:
    with pytest.raises(ToolFailedError, match="The workspace is empty"):
        await call(DESCRIBE, path="sales.csv")
    workspace.mkdir(parents=True, exist_ok=True)
    (workspace / "real.csv").write_text("a\n1\n")
    (workspace / "link.csv").symlink_to("/etc/passwd")
    for missing in ("sales.csv", "link.csv"):
        with pytest.raises(ToolFailedError, match=r"The files there are: real\.csv\."):
            await call(DESCRIBE, path=missing)


@pytest.mark.parametrize("path", ["../x.csv", "/etc/passwd", "~/x.csv", "a\0.csv", ""])
async def test_a_path_that_leads_out_is_refused(call: Any, path: str) -> None:
    with pytest.raises(ToolFailedError):
        await call(DESCRIBE, path=path)


async def test_a_name_is_data_and_never_code(call: Any, workspace: Path) -> None:
    name = "a'); raise SystemExit('\"{path}{0}.csv"
    text = await describe(call, workspace, name, "a\n1\n")
    assert "1 row, 1 column" in text


def test_without_pandas_the_tool_is_off_and_says_what_to_do(tmp_path: Path) -> None:
    toolbox = build_toolbox(knowledge=Knowledge(tmp_path / "i", None), sandbox=UnsafeLocal())
    reason = toolbox.get("describe_table").off_reason
    assert reason is not None
    assert "unsafe-local" in reason
    assert "SIGNALBOX_SANDBOX" in reason
    assert tables_off_reason(NoSandbox("No sandbox.")) == "No sandbox."
    assert tables_off_reason(open_sandbox()) is None


class Ending:
    """A sandbox in which every program ends in the same way."""

    state = SandboxState("native", "for a test", ("pandas",))

    def __init__(self, result: CodeResult) -> None:
        self._result = result

    async def load(self) -> None:
        pass

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        return self._result


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (CodeResult(limit="wall_time"), "took more than a program may use"),
        (CodeResult(fault=CodeFault("MemoryError", "")), "does not fit into memory"),
        (CodeResult(fault=CodeFault("KeyError", "'x'")), "was not described: KeyError: 'x'"),
    ],
)
async def test_a_program_that_fails_is_told_as_a_sentence(
    call: Any, workspace: Path, result: CodeResult, sentence: str
) -> None:
    workspace.mkdir(parents=True)
    (workspace / "t.csv").write_text("a\n1\n")
    with pytest.raises(ToolFailedError, match=sentence):
        await call(make_describe_table(Ending(result)), path="t.csv")


async def test_a_file_of_the_workspace_is_no_library_of_the_description(
    call: Any, workspace: Path
) -> None:
    """pandas looks for this one, which is not installed: what nobody has approved must not run."""
    workspace.mkdir(parents=True)
    (workspace / "zstandard.py").write_text("open('ran.txt', 'w').close()\nraise SystemExit")
    described = await describe(call, workspace, "t.jsonl", '{"a": 1}\n')
    assert described.startswith("t.jsonl: JSON lines, 1 row")
    assert not (workspace / "ran.txt").exists()
