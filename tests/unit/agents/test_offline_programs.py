"""Every program that the planner makes by itself runs without libraries, and says the same everywhere."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from agents._kit.offline_arithmetic import find_expressions, write_arithmetic
from agents._kit.offline_statistics import FIGURES, write_statistics
from agents._kit.offline_templates import TEMPLATES
from tools.sandbox.monty import MontySandbox

EVERYTHING = "variance, mode, range, product of, growth, trend and forecast"

SERIES = [
    ["120", "135", "150", "149", "171"],
    ["1", "2"],
    ["7"],
    ["0", "0", "0"],
    ["-1", "1", "4"],
    ["-5", "-2.5", "0", "2.5"],
    ["0.1", "0.2", "0.3"],
    ["1e-9", "2e-9", "4e-9"],
    ["1e99", "1", "2"],
    ["999999999999999999", "1", "2"],
    ["123456789012345678", "123456789012345679", "123456789012345680"],
    ["18.5", "21", "19.25", "23", "18.5"],
    ["100000.01", "100000.02", "100000.03"],
    [str(n * n % 97) for n in range(300)],
    [f"{n / 7:.3f}" for n in range(300)],
]

ARITHMETIC = [
    "What is 3 * 4?",
    "(17 + 5) * 3 - 2^6",
    "19% of 2,450",
    "2 ** 200 + 1",
    "10 / 4 + 1",
    "7 // 2 + 1, 7 mod 4",
    "square root of 2",
    "2 ** -3 * 1.5",
    "1 / 3",
    "0.1 + 0.2",
]

PROGRAMS = {
    **{f"series {n}": write_statistics(EVERYTHING, series).code for n, series in enumerate(SERIES)},
    **{text: write_arithmetic(find_expressions(text)).code for text in ARITHMETIC},
    **{
        template.title: f"{template.source}\n\n{template.test}\nprint({template.call('')})"
        for template in TEMPLATES
    },
}


def run_here(code: str) -> str:
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS.keys())
async def test_a_made_program_prints_the_same_in_both_interpreters(
    code: str, tmp_path: Path
) -> None:
    sandbox = MontySandbox()
    try:
        result = await sandbox.run(code, tmp_path)
    finally:
        await sandbox.aclose()
    assert result.fault is None, result.fault
    assert result.stdout == run_here(code)
    assert result.stdout


def shown(value: float) -> str:
    """Return a figure as the programs print it."""
    text = f"{value:.4f}" if abs(value) >= 0.01 else f"{value:.6g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


# Beyond 2**53 the library's own regression is not exact, and what it said is no measure.
@pytest.mark.parametrize("literals", [s for s in SERIES if len(s) > 2 and max(map(len, s)) < 16])
def test_the_figures_are_those_of_the_standard_library(literals: list[str]) -> None:
    values = [int(text) if text.lstrip("-").isdecimal() else float(text) for text in literals]
    program = write_statistics(EVERYTHING, literals)
    printed = dict(line.split(": ") for line in run_here(program.code).splitlines())
    slope, intercept = statistics.linear_regression(range(len(values)), values)
    expected = {
        "mean": statistics.mean(values),
        "median": statistics.median(values),
        "stdev": statistics.stdev(values),
        "variance": statistics.variance(values),
        "mode": statistics.mode(values),
        "slope per step": slope,
        "next value by linear trend": intercept + slope * len(values),
    }
    for label, value in expected.items():
        # Past the digits of a float the two may round differently: 1e99 has a hundred before its point.
        if abs(value) < 1e12:
            assert printed[label] == shown(value)
        else:
            assert float(printed[label]) == pytest.approx(value)
    assert set(printed) <= {figure.label for figure in FIGURES}
