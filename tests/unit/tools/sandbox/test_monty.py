"""The sandbox `monty`: limits, output, errors, files, and nothing that is left running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from domain.sandbox import CodeLimits, CodeResult
from tools.sandbox import monty
from tools.sandbox.monty import MontySandbox

SHORT = CodeLimits(wall_seconds=2.0, cpu_seconds=1)


@pytest.fixture
async def sandbox() -> AsyncIterator[MontySandbox]:
    opened = MontySandbox()
    yield opened
    await opened.aclose()


async def test_a_program_prints_and_its_last_line_has_a_value(
    sandbox: MontySandbox, workspace: Path
) -> None:
    result = await sandbox.run(
        "import sys\nprint('a')\nprint('b', file=sys.stderr)\nx = 20\nx + 1", workspace
    )
    assert (result.stdout, result.stderr, result.value) == ("a\n", "b\n", "21")
    assert (result.fault, result.limit) == (None, None)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("", ""),
        ("# nothing", ""),
        ("None", ""),
        ("x = 1", ""),
        ("print('x')", ""),
        ("'ä'; 'two'", "'two'"),
        ("(1,\n 2)", "(1, 2)"),
        ("'''a\nb'''  # note", "'a\\nb'"),
        ("1\r\n2\r\n", "2"),
    ],
)
async def test_the_value_is_that_of_the_last_expression(
    sandbox: MontySandbox, workspace: Path, code: str, value: str
) -> None:
    result = await sandbox.run(code, workspace)
    assert (result.value, result.fault) == (value, None)


async def test_a_huge_value_is_not_unpacked(sandbox: MontySandbox, workspace: Path) -> None:
    result = await sandbox.run("[0] * 5_000_000", workspace)
    assert len(result.value) == monty.VALUE_CHARS


async def test_an_error_has_its_lines(sandbox: MontySandbox, workspace: Path) -> None:
    result = await sandbox.run("print(1)\ndef f():\n    return 1 / 0\nf()", workspace)
    assert result.stdout == "1\n"
    assert result.fault is not None
    assert (result.fault.type, result.fault.message) == ("ZeroDivisionError", "division by zero")
    assert result.fault.traceback == "  line 4, in <module>: f()\n  line 3, in f: return 1 / 0"


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("x = = 2", "SyntaxError"),
        ("import pandas", "ModuleNotFoundError"),
        ("nobody", "NameError"),
        ("def f(): f()\nf()", "RecursionError"),
        ("x = [0] * 10**9", "MemoryError"),
        ("open('/etc/passwd')", "PermissionError"),
        ("open('../up.txt', 'w')", "PermissionError"),
        ("import socket", "ModuleNotFoundError"),
        ("assert 1 == 2", "AssertionError"),
    ],
)
async def test_what_a_program_cannot_do_is_its_error(
    sandbox: MontySandbox, workspace: Path, code: str, fault: str
) -> None:
    result = await sandbox.run(code, workspace)
    assert result.fault is not None
    assert result.fault.type == fault


async def test_text_is_clean(sandbox: MontySandbox, workspace: Path) -> None:
    result = await sandbox.run("print('a\\0b')\nraise ValueError('\\ud800\\0')", workspace)
    assert result.stdout == "a\ufffdb\n"
    assert result.fault is not None
    (result.stdout + result.fault.message + result.fault.traceback).encode()
    assert "\0" not in result.fault.message


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("while True: pass", "cpu_time"),
        ("import time\nfor _ in range(9): time.sleep(5)", "wall_time"),
        ("while True: print('x' * 1000)", "output"),
        ("for n in range(99):\n    open(f'{n}', 'w').write('x' * 10_000)", "disk"),
    ],
)
async def test_a_limit_ends_a_program(
    sandbox: MontySandbox, workspace: Path, code: str, limit: str
) -> None:
    limits = CodeLimits(
        wall_seconds=2.0, cpu_seconds=1, workspace_bytes=100_000, stream_bytes=8 * 1024
    )
    result = await sandbox.run(code, workspace, limits=limits)
    assert (result.limit, result.fault) == (limit, None)
    assert len(result.stdout) < 9 * 1024


async def test_of_a_long_output_the_beginning_and_the_end_are_kept(
    sandbox: MontySandbox, workspace: Path
) -> None:
    limits = CodeLimits(stream_bytes=1_000)
    result = await sandbox.run("for n in range(2_000): print(n)", workspace, limits=limits)
    assert result.stdout.startswith("0\n1\n2\n")
    assert result.stdout.endswith("1998\n1999\n")
    assert "characters left out" in result.stdout


async def test_files_of_the_workspace_are_read_and_written(
    sandbox: MontySandbox, workspace: Path
) -> None:
    workspace.mkdir(parents=True)
    (workspace / "in.txt").write_text("3\n4\n")
    (workspace / "link").symlink_to("/etc/passwd")
    code = "total = sum([int(line) for line in open('in.txt')])\nopen('out.txt', 'w').write(str(total))"
    assert (await sandbox.run(code, workspace)).fault is None
    assert (workspace / "out.txt").read_text() == "7"
    refused = (await sandbox.run("open('link').read()", workspace)).fault
    assert refused is not None
    assert refused.type == "PermissionError"


async def test_a_program_makes_only_so_many_files(sandbox: MontySandbox, workspace: Path) -> None:
    result = await sandbox.run("for n in range(3_000): open(str(n), 'w').close()", workspace)
    assert result.fault is not None
    assert result.fault.message == "a program may use files 1000 times"
    full = CodeLimits(workspace_entries=100)
    result = await sandbox.run("open('one more', 'w').close()", workspace, limits=full)
    assert result.fault is not None
    assert not (workspace / "one more").exists()


async def test_nothing_of_one_program_reaches_the_next(
    sandbox: MontySandbox, workspace: Path
) -> None:
    await sandbox.run("import math\nmath_pi = 3\nmath.pi", workspace)
    assert (await sandbox.run("math_pi", workspace)).fault is not None


async def test_cancellation_ends_the_program_and_the_next_one_runs(
    sandbox: MontySandbox, workspace: Path
) -> None:
    running = asyncio.create_task(sandbox.run("while True: pass", workspace))
    await asyncio.wait([running], timeout=0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await sandbox.run("1 + 1", workspace)).value == "2"


async def test_programs_run_side_by_side_and_after_a_close(
    sandbox: MontySandbox, workspace: Path
) -> None:
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(sandbox.run(f"{n} + 1", workspace)) for n in range(8)]
    assert [one.result().value for one in runs] == [str(n + 1) for n in range(8)]
    await sandbox.aclose()
    await sandbox.aclose()
    result: CodeResult = await sandbox.run("2 + 2", workspace, limits=SHORT)
    assert result.value == "4"


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monty, "_INSTALLED", False)
    with pytest.raises(ConfigurationError, match=r"pip install 'pydantic-monty>=1\.4,<2'"):
        MontySandbox()
