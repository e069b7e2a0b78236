"""The supervisor's part of the offline planner, on tasks its rules were not made for."""

from __future__ import annotations

import time

import pytest

from agents._kit.offline_routing import decide_route, divide_task
from agents._kit.prompts import ResultText
from agents.analyst import AGENT as ANALYST
from agents.coder import AGENT as CODER
from agents.researcher import AGENT as RESEARCHER
from domain.agent import AgentSpec

TEAM = (ANALYST, CODER, RESEARCHER)
TRANSLATOR = AgentSpec(name="translator", description="Translates text between languages.")

# Written before the rules and never used to tune them: the agents of each round.
HELD_OUT: list[tuple[str, list[set[str]]]] = [
    ("Who wrote the asyncio documentation and where can I read it?", [{"researcher"}]),
    ("What does functools.lru_cache do?", [{"researcher"}]),
    ("Find the definition of idempotency and cite where you found it.", [{"researcher"}]),
    ("Explain how generators differ from iterators in Python.", [{"researcher"}]),
    ("Please summarise what our handbook says about travel expenses.", [{"researcher"}]),
    ("Which HTTP status code means too many requests?", [{"researcher"}]),
    ("What is the capital of Australia?", [{"researcher"}]),
    ("Average these temperatures: 18.5, 21, 19.25, 23.", [{"analyst"}]),
    ("Is there a rising trend in 3, 4, 4, 6, 9, 12?", [{"analyst"}]),
    ("How much is 19% of 2,450?", [{"analyst"}]),
    ("By what percentage did sales grow from 80 to 100?", [{"analyst"}]),
    ("Forecast the next value of 10, 12, 14, 16.", [{"analyst"}]),
    ("Standard deviation of 5 7 9 11", [{"analyst"}]),
    ("What is (17 + 5) * 3 - 2^6?", [{"analyst"}]),
    ("Code up a fizzbuzz in Python.", [{"coder"}]),
    ("Why does this crash?\n```python\nprint(undefined_name)\n```", [{"coder"}]),
    ("Implement a class for a stack with push and pop.", [{"coder"}]),
    ("I need a script that renames files by date.", [{"coder"}]),
    ("Refactor this: def f(x): return x+1", [{"coder"}]),
    ("Write unit tests for a date parser.", [{"coder"}]),
    ("Check whether 'level' is a palindrome with a small Python function.", [{"coder"}]),
    ("Write a function to read, sort and count words in a text.", [{"coder"}]),
    ("Ask the coder to work out 12 * 12.", [{"coder"}]),
    (
        "Compute the median of 4, 8, 15, 16, 23, 42. Also, look up what the GIL is.",
        [{"analyst", "researcher"}],
    ),
    (
        "Search the docs for pathlib; then write a script that lists all files of a folder.",
        [{"researcher"}, {"coder"}],
    ),
    (
        "Write a function that checks if a number is even and tell me what the walrus operator does.",
        [{"coder", "researcher"}],
    ),
    (
        "Independently: 1) find out what WSGI is, 2) compute the sum of 11, 22 and 33, "
        "3) write a gcd function.",
        [{"researcher", "analyst", "coder"}],
    ),
    (
        "Find out what the quarterly figures are and based on that compute the growth.",
        [{"researcher"}, {"analyst"}],
    ),
]
