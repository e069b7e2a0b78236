"""Pasted code, ready-made functions, and quotations from documents."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agents._kit.offline_code import find_code, find_fault, read_pasted
from agents._kit.offline_programs import Program
from agents._kit.offline_research import read_hits, report_hits, write_query
from agents._kit.offline_templates import TEMPLATES, write_function


def run(code: str) -> str:
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Run this:\n```python\nprint(1)\n```\nplease", "print(1)\n"),
        ("```\nx = 1\n", "x = 1\n"),
        ("Run `print(3 * 4)` for me", "print(3 * 4)"),
        ("Run this: print(1)", "print(1)"),
        ("What does this print?\nfor i in range(2):\n    print(i)", None),
        ("def f(x):\n    return x\nprint(f(2))", None),
        ("import math\nprint(math.pi)\n\nThank you very much!", "import math\nprint(math.pi)"),
    ],
)
def test_pasted_code_is_found(text: str, code: str | None) -> None:
    found = find_code(text)
    assert found is not None
    assert found.code == (code or text[text.index(found.code[:3]) :])


@pytest.mark.parametrize(
    "text",
    [
        "What is a context manager in Python?",
        "Explain `print(1)`",
        "Revenue = 120, 135\n\nWhat is the mean?",
        "from here to there, for all of us: good luck",
        'Why?\nTraceback (most recent call last):\n  File "a.py", line 1\nNameError: x',
        "",
    ],
)
def test_prose_is_not_taken_for_code(text: str) -> None:
    assert find_code(text) is None


def test_code_that_does_not_compile_is_diagnosed_and_not_run() -> None:
    pasted = find_code("Fix this:\ndef f(x)\n    return x")
    assert pasted is not None
    answer = read_pasted(pasted)
    assert isinstance(answer, str)
    assert "line 1: expected ':', at `def f(x)`" in answer
    assert "did not run" in answer


@pytest.mark.parametrize(
    "code", ["(" * 9_000, "-" * 7_000 + "1", "x = '\\d'", "\x00", "1+" * 3_999]
)
def test_looking_for_a_fault_survives_any_code(code: str) -> None:
    assert isinstance(find_fault(code), str)


def test_code_is_not_run_against_its_author_s_wish() -> None:
    pasted = find_code("Don't run this, just check it:\n```python\nprint(1)\n```")
    assert pasted is not None
    assert read_pasted(pasted) == "The code compiles. I did not run it, as asked."


def test_what_pasted_code_printed_is_reported_with_what_was_left_undone() -> None:
    pasted = find_code("Refactor this: def f(x): return x+1")
    assert pasted is not None
    program = read_pasted(pasted)
    assert isinstance(program, Program)
    answer = program.report("```odd```")
    assert "````\n```odd```\n````" in answer
    assert '"refactor"' in answer
    assert "OPENAI_API_KEY" in answer


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("first 10 prime numbers", "first_primes(10) = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]"),
        ("Is 97 prime?", "is_prime(97) = True"),
        ("all primes below 12", "primes_below(12) = [2, 3, 5, 7, 11]"),
        ("fibonacci, the first 7", "fibonacci(7) = [0, 1, 1, 2, 3, 5, 8]"),
        ("the factorial of 5", "factorial(5) = 120"),
        ("fizzbuzz from 1 to 5", "fizzbuzz(5) = ['1', '2', 'Fizz', '4', 'Buzz']"),
        ("is 'level' a palindrome", "is_palindrome('level') = True"),
        ('reverse the string "ab\'c"', """reverse_text("ab'c") = c'ba"""),
        ("gcd of 12 and 18", "gcd(12, 18) = 6"),
        ("least common multiple of 4 and 10", "lcm(4, 10) = 20"),
        ("count words in 'a b a'", "count_words('a b a') = {'a': 2, 'b': 1}"),
        ("is 1900 a leap year", "is_leap_year(1900) = False"),
        ("sort the list 5, 3, 9", "merge_sort([5, 3, 9]) = [3, 5, 9]"),
    ],
)
def test_a_ready_made_function_passes_its_self_test_and_shows_the_asked_case(
    text: str, printed: str
) -> None:
    program = write_function(text)
    assert program is not None
    output = run(program.code)
    assert output.splitlines() == [printed, "self-test passed"]
    answer = program.report(output)
    assert printed in answer
    assert "```python\ndef " in answer


def test_every_ready_made_function_runs_with_its_usual_case() -> None:
    for template in TEMPLATES:
        code = f"{template.source}\n{template.test}\nprint({template.call('')})"
        assert run(code)


@pytest.mark.parametrize(
    "text",
    [
        "Write a haiku generator in Rust.",
        "Write a function that sorts a list of dictionaries by key",
        "Write a prime sieve with numpy",
        "reverse a linked list",
        "Write unit tests for a date parser.",
        "count the words in a file",
    ],
)
def test_no_ready_made_function_is_offered_for_something_else(text: str) -> None:
    assert write_function(text) is None


def test_a_query_holds_the_words_that_carry_the_subject() -> None:
    assert write_query("Look up what a context manager is in Python") == "context manager Python"
    assert write_query("What does functools.lru_cache do?") == "functools.lru_cache"
    assert write_query("what is it") == "what is it"
    assert len(write_query("word " * 9_000 + "other " * 9_000).split()) <= 12


HITS = (
    "[3] Gardening — docs/a — b.md\nTomatoes need sun.\n\n"
    "[4] With Statement — pydoc:with\nA context manager defines\n the runtime context.\n\n"
    "[5] contextlib — https://docs.python.org/3/\nUtilities for context managers in Python."
)


def test_hits_are_read_with_their_numbers_titles_and_sources() -> None:
    hits = read_hits(HITS)
    assert [(h.number, h.title, h.source) for h in hits] == [
        (3, "Gardening — docs/a", "b.md"),
        (4, "With Statement", "pydoc:with"),
        (5, "contextlib", "https://docs.python.org/3/"),
    ]


def test_the_best_hits_are_quoted_and_cited_by_their_own_numbers() -> None:
    answer = report_hits(HITS, "context manager Python")
    assert answer is not None
    assert "> A context manager defines the runtime context. [4]" in answer
    assert answer.endswith(
        "Sources:\n[4] With Statement — pydoc:with\n[5] contextlib — https://docs.python.org/3/"
    )
    assert "Tomatoes" not in answer


@pytest.mark.parametrize("found", ["No local document answers this query.", "", HITS])
def test_without_a_fitting_hit_nothing_is_claimed(found: str) -> None:
    assert report_hits(found, "capital Australia") is None


def test_a_long_excerpt_is_cut_at_the_end_of_a_sentence() -> None:
    text = "[1] T — s\n" + "A context manager helps. " * 60
    quote = str(report_hits(text, "context")).split("\n\n")[1]
    assert len(quote) < 520
    assert quote.endswith("helps. [1]")
