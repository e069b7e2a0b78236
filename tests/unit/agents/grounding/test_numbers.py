"""Which numbers of an answer are yielded by what was read, and which nearly are."""

from __future__ import annotations

import pytest

from agents._kit.grounding.check import Evidence, find_faults


def faults(answer: str, *outputs: str, **more) -> list[str]:
    return [
        fault["text"]
        for fault in find_faults("analyst", answer, Evidence(outputs=outputs, **more))
        if fault["kind"] == "number"
    ]


@pytest.mark.parametrize(
    ("output", "holds", "fails"),
    [
        ("total 1234567", "1,234,567", "1,234,568"),
        ("total 1234567", "1.234.567", "1.234.576"),
        ("total 1234567", "1 234 567", "1 243 567"),
        ("total 1234567", "1\u00a0234\u00a0567", "1\u00a0234\u00a0557"),
        ("total 1234567", "1'234'567", "1'234'667"),
        ("total 1234567", "12,34,567", "12,34,568"),
        ("total 1234567", "1.23 million", "1.24 million"),
        ("total 1234567", "1.2M", "1.3M"),
        ("total 1234567", "1235 thousand", "1236 thousand"),
        ("total 1234567", "1.234567e6", "1.234567e7"),
        ("total 1.2 billion", "1,200,000,000", "1,200,000"),
        ("Umsatz 1.234,5 Euro", "1,234.5", "1,243.5"),
        ("mean: 12.3456", "12.35", "12.36"),
        ("mean: 12.3456", "12.3", "12.4"),
        ("mean: 12.3456", "12", "13"),
        ("mean: 12.3456", "12.34560", "12.34650"),
        ("mean: 12.5", "12.50", "12.05"),
        ("count 12345", "about 12,300", "about 12,400"),
        ("count 12345", "more than 12,000", "more than 13,000"),
        ("count 12945", "nearly 13,000", "nearly 12,000"),
        ("count 12345", "12,345", "12,300"),
        ("compte 522 250 habitants", "environ 520 000", "environ 540 000"),
        ("Einwohner: 522250", "rund 520.000", "rund 540.000"),
        ("население 13 104 177", "13,1 млн", "13,2 млн"),
        ("spesa 2128000000", "2,13 miliardi", "2,14 miliardi"),
        ("change: -4.75", "−4.75", "4.75"),
        ("change: -4.75", "-4.8", "-4.6"),
        ("change: -4.75", "down 4.75", "up 4.75"),
        ("it fell by 4.75 points", "-4.75", "-4.57"),
        ("change: 4.75", "+4.75", "-4.75"),
        ("loss of (1,234)", "-1,234", "-1,243"),
        ("share: 0.4567", "45.67 %", "45.76 %"),
        ("share: 0.4567", "45.7 percent", "45.6 percent"),
        ("share: 45.7%", "0.457", "0.475"),
        ("share: 0.4567", "0.46", "46"),
        ("price €17.90", "€17.90", "€19.70"),
        ("price 17.9", "$17.90", "$71.90"),
        ("rate 6.02e+23", "6.02 × 10^23", "6.02 × 10^22"),
        ("rate 0.000123", "1.23e-4", "1.23e-5"),
        ("half of them", "50 %", "55 %"),
        ("add 1½ cups", "1.5", "1.6"),
        ("add 0.75 cups", "3/4", "3/5"),
        ("passed 7 of 9", "7/9", "7/8"),
        ("twelve of them", "12", "13"),
        ("twenty-five of them", "25", "26"),
        ("three hundred of them", "300", "400"),
        ("place 17", "17th", "18th"),
        ("figures in thousands: 4,512", "4.5 million", "4.6 million"),
        ("released 3.11.2", "3.11.2", "3.11.3"),
        ("released 3.11.2", "3.11", "3.12"),
        ("took ٣٤٥ ms", "345", "354"),
        ("weighs 17kg", "17 kg", "18 kg"),
        ("a 1920x1080 screen", "1920x1080", "1920x1081"),
        ("1e400 is big 7", "7", "8"),
        ("2**70 = 1180591620717411303424", "1180591620717411303424", "1180591620717411303425"),
    ],
)
def test_a_number_holds_as_it_may_be_written_and_nothing_next_to_it(output, holds, fails):
    assert not faults(f"It says {holds} here.", output)
    assert faults(f"It says {fails} here.", output)


@pytest.mark.parametrize(
    ("output", "holds", "fails"),
    [
        ("on 2024-01-05", "5 January 2024", "6 January 2024"),
        ("on 2024-01-05", "January 5th, 2024", "January 5th, 2023"),
        ("on 2024-01-05", "5 Jan", "5 Feb"),
        ("on 2024-01-05", "January 2024", "March 2024"),
        ("on 2024-01-05", "05.01.2024", "05.02.2024"),
        ("on 2024-01-05", "01/05/2024", "01/06/2024"),
        ("on 2024-01-05", "in 2024", "in 2025"),
        ("on 2024-01-05", "on the 5th", "on the 7th"),
        ("on 5 March 2021", "2021-03-05", "2021-03-06"),
        ("am 17. Mai 2021", "17 May 2021", "18 May 2021"),
        ("le 1er août 2023", "1 August 2023", "3 August 2023"),
        ("from 3 to 7 March 2024", "3–7 March 2024", "3–8 March 2024"),
        ("from 2019 to 2021", "2019-21", "2019-22"),
        ("at 14:30", "2:30 pm", "2:40 pm"),
        ("at 2024-01-05T14:30:59Z", "14:30", "14:31"),
        ("at 9 pm", "21:00", "20:00"),
    ],
)
def test_a_date_or_a_time_holds_however_it_is_written(output, holds, fails):
    assert not faults(f"It was {holds}.", output)
    assert faults(f"It was {fails}.", output)


@pytest.mark.parametrize(
    "answer",
    [
        "1. first\n2. second\n3. third\n4. fourth",
        "There are 3 reasons:\n- one\n- two\n- another",
        "| # | name |\n|---|---|\n| 1 | a |\n| 2 | b |\n| 3 | c |\n\nThese 3 rows are all.",
        "## 4. Method\n\nSee step 5 and table 7.",
        "UTF-8, python3.11, H1, GPT-4, COVID-19, report-2024.csv, v12 and `x[33]`",
        "The commit is 9f3c2a77b1d04e55, the id 550e8400-e29b-41d4-a716-446655440000.",
        "Two runs, 1 of them short, 0 failed.",
        "It is O(n^3), in Python 3.",
        "```python\nprint(17 * 93)\n```",
    ],
)
def test_what_is_no_figure_needs_no_evidence(answer):
    assert not faults(answer, "nothing to see", programs=["print(17 * 93)"])


def test_a_small_count_is_free_only_where_it_is_the_count():
    assert faults("There are 4 reasons:\n- one\n- two\n- another", "nothing to see") == ["4"]


def test_numbers_of_code_that_did_not_run_are_looked_at():
    answer = "```python\nrevenue = 48213\nfor _ in range(10):\n    pass\n```"
    assert faults(answer, "ok", programs=["print(1)"]) == ["48213"]
    assert not faults(answer, "ok", programs=[f"x = 1\n{answer[10:-4]}"])


def test_what_a_program_chose_may_be_told_and_nothing_else_of_it():
    program = "random.seed(77)\nguess = 4711\n"
    assert not faults("With seed 77 it is stable.", "ok", programs=[program])
    assert faults("Revenue is 4711.", "ok", programs=[program]) == ["4711"]


def test_a_number_may_come_from_the_task_a_page_a_source_or_another_agent():
    citation = {
        "number": 1,
        "title": "Report of 2031",
        "source": "a.md",
        "snippet": "it weighs 417",
    }
    answer = "31, 417, 2031, 59 and 88."
    assert faults(answer) == ["31", "417", "2031", "59", "88"]
    assert not faults(
        answer, given="take 31", results="59", citations=[citation], pages={1: "there were 88"}
    )


def test_a_fault_shows_the_number_as_it_stands_and_says_what_to_do():
    [fault] = find_faults("analyst", "It fell to −7.3 %.", Evidence(outputs=["x"]))
    assert fault == {
        "agent": "analyst",
        "kind": "number",
        "text": "−7.3 %",
        "reason": "No tool output, page or task yields this number. Compute it with run_python and print it, "
        "find a source that says it, or leave it out.",
    }
    [fault] = find_faults("analyst", "It is 73.", Evidence(outputs=[]))
    assert fault["reason"].startswith("No tool was used, and the task does not say this number.")
