"""Numbers in prose, the programs made of them, and the sentences made of what those print."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest

from agents._kit.offline_arithmetic import find_expressions, write_arithmetic
from agents._kit.offline_numbers import find_range, find_series, find_unread
from agents._kit.offline_programs import Program
from agents._kit.offline_statistics import write_statistics


def run(program: Program) -> str:
    command = [sys.executable, "-I", "-c", program.code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def figures(text: str) -> dict[str, str]:
    lines = run(write_statistics(text, find_series(text))).splitlines()
    return dict(line.split(": ") for line in lines)


@pytest.mark.parametrize(
    ("text", "series"),
    [
        ("mean of 120, 135, 150 and 149", "120 135 150 149"),
        ("mean of 120,135,150", "120 135 150"),
        ("1,200, 1,350, and 1,500", "1200 1350 1500"),
        ("-1, -2.5, +3 and .5", "-1 -2.5 3 .5"),
        ("$1,200.50; €3k; 2M", "1200.50 3000 2000000"),
        ("12%, 15 %, 9%", "12 15 9"),
        ("5 7 9 11", "5 7 9 11"),
        ("- 120\n- 135\n- 150", "120 135 150"),
        ("Jan: 120, Feb: 135, Mar: 150", "120 135 150"),
        ("120 in 2020, 135 in 2021, 150 in 2022", "120 135 150"),
        ("2020: 120, 2021: 135, 2022: 150", "120 135 150"),
        ("in the years 2019, 2020, 2021 it was 10, 20, 30", "10 20 30"),
        ("the years 2019, 2020, 2021", "2019 2020 2021"),
        ("5 kg, 6 kg and 7 kg", "5 6 7"),
        ("from 80 to 100", "80 100"),
        ("Q1 10, Q2 20, Q3 30 (as in [1])", "10 20 30"),
        ("007, 08, 9", "7 8 9"),
        ("1e3, 2E-2, 3", "1e3 2e-2 3"),
        ("\N{MINUS SIGN}3, 4, 5", "-3 4 5"),
    ],
)
def test_a_series_is_read_from_prose(text: str, series: str) -> None:
    assert (
        find_series(text) == series.replace("E", "e").split()
        or find_series(text.lower()) == series.lower().split()
    )


@pytest.mark.parametrize(
    "text",
    [
        "I have 3 apples, buy 5 and eat 2, how many in total?",
        "A train travels 120 km in 2 hours.",
        "the first 10 prime numbers",
        "Python 3.11.7 and v2",
        "one number: 42",
        "see [1] and [2]",
        "",
    ],
)
def test_numbers_of_a_story_are_no_series(text: str) -> None:
    assert find_series(text) == []


def test_the_printed_figures_are_right() -> None:
    found = figures("Compute everything for 120, 135, 150, 149, 171")
    values = [120, 135, 150, 149, 171]

    assert found["n"] == "5"
    assert found["sum"] == "725"
    assert found["mean"] == "145"
    assert found["median"] == "149"
    assert float(found["stdev"]) == pytest.approx(statistics.stdev(values), abs=1e-4)
    assert (found["min"], found["max"]) == ("120", "171")
    assert found["change first to last"] == "51"
    assert found["growth first to last"] == "42.5%"
    assert found["average growth per step (compound)"] == "9.2581%"
    assert found["slope per step"] == "11.6"
    assert found["next value by linear trend"] == "179.8"


def test_what_was_asked_comes_first_and_the_rest_after_it() -> None:
    text = "Give me the growth, the mean and the trend of 10, 12, 17"
    program = write_statistics(text, find_series(text))
    answer = program.report(run(program))

    listed, _, also = answer.partition("Also: ")
    places = [listed.index(label) for label in ("growth first", "mean", "slope per step")]
    assert places == sorted(places)
    assert "median: 12" in also
    assert answer.endswith("The series is rising by 3.5 per step (linear trend).")


def test_the_answer_states_no_figure_that_was_not_printed() -> None:
    program = write_statistics("mean of 1, 2, 3", ["1", "2", "3"])
    answer = program.report("mean: 77\n")
    assert "mean: 77" in answer
    assert "median" not in answer


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (["9", "6", "3"], "falling by 3 per step"),
        (["5", "5", "5"], "no linear trend"),
        (["-2", "0", "2"], "rising by 2 per step"),
    ],
)
def test_the_trend_is_told_from_the_printed_slope(numbers: list[str], sentence: str) -> None:
    program = write_statistics("trend", numbers)
    assert sentence in program.report(run(program))


@pytest.mark.parametrize(
    "numbers",
    [["1", "2"], ["0", "0", "0"], ["0", "5", "5"], ["-1", "1", "4"], ["1e-9", "2e-9", "4e-9"],
     ["999999999999999999", "1", "2"], ["1e99", "1", "2"]],
)  # fmt: skip
def test_awkward_series_still_make_programs_that_run(numbers: list[str]) -> None:
    asked = "variance, mode, range and product of"
    assert "mean: " in run(write_statistics(asked, numbers))


def test_what_the_program_does_not_compute_is_said() -> None:
    program = write_statistics("mean of 1, 2, 3 and plot a chart, then double it", ["1", "2", "3"])
    answer = program.report(run(program))
    assert "Not done: double it." in answer
    assert "OPENAI_API_KEY" in answer
    assert "Not done: the chart. That needs matplotlib" in answer


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("What is 1234 * 5678?", "1234 * 5678 = 7006652"),
        ("17% of 80", "17 / 100 * 80 = 13.6"),
        ("what is 2^10", "2 ** 10 = 1024"),
        ("What is 0.1 + 0.2?", "0.1 + 0.2 = 0.3"),
        ("Calculate 1,234 + 1", "1234 + 1 = 1235"),
        ("How much is 19% of 2,450?", "19 / 100 * 2450 = 465.5"),
        ("what is 12 x 12", "12 * 12 = 144"),
        ("What is seven? No: 7 times 8 minus 6.", "7 * 8 - 6 = 50"),
        ("(what is 3*(4+5))", "3 * (4 + 5) = 27"),
        ("compute 10 divided by 4", "10 / 4 = 2.5"),
        ("What is 20% more than 50?", "50 * (1 + 20 / 100) = 60"),
        ("reduce 80 by 25%", "80 * (1 - 25 / 100) = 60"),
        ("What percentage is 45 of 180?", "45 / 180 * 100 = 25"),
        ("what is 7 mod 4", "7 % 4 = 3"),
        ("What is -5 + 3?", "-5 + 3 = -2"),
        ("the square root of 16 plus 2 squared", "16 ** 0.5 + 2 ** 2 = 8"),
    ],
)
def test_arithmetic_is_evaluated_as_it_was_asked(text: str, line: str) -> None:
    assert run(write_arithmetic(find_expressions(text))).splitlines() == [line]


def test_several_expressions_are_all_evaluated() -> None:
    found = find_expressions("Compute 3 + 4 and 5 * 6")
    assert run(write_arithmetic(found)).splitlines() == ["3 + 4 = 7", "5 * 6 = 30"]


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-01-15", "the 2024-2025 season", "What is 2024-2025?", "9**9**9", "2^5000",
        "(2^900)^900", "1000 at 5% for 3 years", "what is 42", "__import__('os')", "24/7 support",
        "call 555-1234", "what is " + "1 + " * 200 + "1",
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_or_too_much_of_it_is_left_alone(text: str) -> None:
    assert find_expressions(text) == []


def test_a_failing_computation_fails_in_the_program_not_here() -> None:
    program = write_arithmetic(find_expressions("What is 10 / 0?"))
    with pytest.raises(subprocess.CalledProcessError):
        run(program)


@pytest.mark.parametrize(
    "text",
    [
        "mean of 10, 20, N/A, 40", "mean of 10, twenty, 30 and 40", "mean of (120), 130, 140",
        "mean of 2^10, 4, 5", "median of [3, 1, [2, 8]]", "mean of 1e400, 2, 3",
        f"mean of {'9' * 31}, 2, 3", f"mean of 2, 3, {'9' * 31}", f"mean of {'9' * 99}, 2, 3",
        "mean of 3, 5, 2024-01-05, 9", "mean of 0x10, 5, 6", "mean of 10, 20, N/A",
        "mean of N/A, 10, 20", "mean of 10, 20 and thirty", "mean of 4, 5, 2^10",
        "mean of 1, 2, 3, ..., 100", "mean of 3 million, 4 million and 500000",
        "sum of 1 to 100", "sum the even numbers from 1 to 100", "sum the numbers from 1 to 99999",
        "sum the numbers between 1 and 100", "10\nN/A\n30\n40, mean", "mean of 10 20 N/A 40 50",
        "mean of [1, 2], [3, 4]", "mean of 10, oops, 30, 40", "mean of 10, 20, 30, oops, 40",
    ],
)  # fmt: skip
def test_a_list_that_was_not_read_whole_is_told(text: str) -> None:
    assert not find_range(text)
    assert find_unread(text)


@pytest.mark.parametrize(
    "text",
    [
        "mean of 120, 135, 150, 149, 171", "mean of [1, 2, 3]", "mean of (1, 2, 3).",
        "mean of 1,200, 1,350, and 1,500", "12%, 15 %, 9%", "$1,200.50; €3k; 2M",
        "-1, -2.5, +3 and .5", "- 120\n- 135\n- 150", "Jan: 120, Feb: 135, Mar: 150",
        "120 in 2020, 135 in 2021, 150 in 2022", "2020: 120, 2021: 135, 2022: 150",
        "in the years 2019, 2020, 2021 it was 10, 20, 30", "5 kg, 6 kg and 7 kg",
        "Q1 10, Q2 20, Q3 30 (as in [1])", "growth from 80 to 100", "1e3, 2E-2, 3",
        "mean of 1, 2, 3 and plot a chart, then double it", "In 2020, revenue was 10, 20, 30",
        "* 120\n* 135\n* 150", "mean of 1, 2, 3, please", "Compute:\n10, 20, 30\nThanks",
    ],
)  # fmt: skip
def test_a_list_that_was_read_whole_is_computed(text: str) -> None:
    assert find_series(text)
    assert find_unread(text) == ""


def test_a_dash_of_a_word_processor_is_a_minus() -> None:
    text = "mean of -5, \N{EN DASH}7, \N{MINUS SIGN}9"
    assert figures(text)["mean"] == "-7"
    assert find_unread(text) == ""


def test_a_range_of_integers_is_written_out() -> None:
    found = find_range("Sum the numbers from 1 to 100")
    assert sum(map(int, found)) == 5050
