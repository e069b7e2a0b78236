"""Well-known functions that can be written by rule, each with a self-test that would fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from agents._kit.offline_answers import REMEDY, fence
from agents._kit.offline_numbers import find_series
from agents._kit.offline_programs import Program

SCAN_CHARS: Final = 4_000
MAX_COUNT: Final = 1_000
"""Larger requests would print more than a tool result holds."""


class Template(NamedTuple):
    """A function with its self-test and the call that shows it working."""

    title: str
    pattern: str
    source: str
    test: str
    call: Callable[[str], str]
    """Makes the call to show from the text, with its numbers or its quoted words."""


def write_function(text: str) -> Program | None:
    """Return the program for a well-known function, `None` where something else is asked for."""
    head = text[:SCAN_CHARS]
    if _ELSEWHERE.search(head):
        return None
    template = next((t for t in TEMPLATES if re.search(t.pattern, head, re.IGNORECASE)), None)
    if template is None:
        return None
    call = template.call(head)
    code = (
        f"{template.source}\n\n{template.test}\n"
        f'print({call!r}, "=", {call})\nprint("self-test passed")\n'
    )
    return Program(
        code=code,
        report=lambda output: _report(template, output),
        about=f"the function for {template.title}",
    )


def _report(template: Template, output: str) -> str:
    return (
        f"A function for {template.title}:\n\n{fence(template.source, 'python')}\n\n"
        f"Running it with a self-test printed:\n\n{fence(output)}\n\n"
        "It is a ready-made function of the offline planner; "
        f"wishes beyond it need a language model. {REMEDY}"
    )


# Another language, a library or a bigger subject: a ready-made function would miss the point.
_ELSEWHERE: Final = re.compile(
    r"\b(?:rust|golang|in\s+go|java|javascript|typescript|ruby|php|kotlin|swift|haskell|sql|bash"
    r"|numpy|pandas|linked\s+list|binary\s+tree|dictionar(?:y|ies)|dicts?|dataframe|tuples|heap"
    r"|web|api|html|generator|haiku|game|cli|decorator)\b|\bc(?:\+\+|#)|\b(?:in\s+c|c\s+program)\b",
    re.IGNORECASE,
)


def _count(text: str, usual: int, *, keyed: bool = False) -> int:
    """Return the number a text asks for; `keyed` ignores numbers without a word such as "first"."""
    match = re.search(r"\b(?:first|top|to|below|under|than)\s+(\d{1,9})\b", text)
    if match is None and not keyed:
        match = re.search(r"(?<![\w.-])(\d{1,9})\b", text)
    return min(int(match[1]), MAX_COUNT) if match else usual


def _quoted(text: str, usual: str) -> str:
    match = re.search(
        r"[\"“]([^\"”\n]{1,200})[\"”]|(?<!\w)'([^'\n]{1,200})'(?!\w)|`([^`\n]{1,200})`", text
    )
    return next((group for group in match.groups() if group), usual) if match else usual


def _pair(text: str, usual: tuple[int, int]) -> tuple[int, int]:
    numbers = [int(n) for n in re.findall(r"\b\d{1,15}\b", text)]
    return (numbers[0], numbers[1]) if len(numbers) > 1 else usual


def _list(text: str) -> str:
    return f"[{', '.join(find_series(text) or ['5', '2', '9', '1', '5', '6'])}]"


TEMPLATES: Final = (
    Template(
        "whether a number is prime",
        r"\bis_prime\b|\bis\s+\d{1,9}\s+(?:a\s+)?prime\b|\b(?:check|tests?|whether|if|determines?|tells?)\b.{0,40}\bprime\b",
        '''\
def is_prime(n):
    """Return whether n is a prime number."""
    if n < 2:
        return False
    return all(n % d for d in range(2, int(n**0.5) + 1))''',
        "assert [n for n in range(30) if is_prime(n)] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]\n"
        "assert not is_prime(-7) and not is_prime(7917) and is_prime(7919)",
        lambda text: f"is_prime({_count(text, 97)})",
    ),
    Template(
        "the primes below a limit",
        r"\bprimes?\b.{0,20}\b(?:below|under|up\s+to|less\s+than|smaller\s+than)\s+\d",
        '''\
def primes_below(limit):
    """Return every prime number smaller than limit."""
    sieve = [True] * max(limit, 2)
    sieve[0] = sieve[1] = False
    for n in range(2, int(len(sieve) ** 0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = [False] * len(sieve[n * n :: n])
    return [n for n in range(limit) if sieve[n]]''',
        "assert primes_below(20) == [2, 3, 5, 7, 11, 13, 17, 19]\n"
        "assert primes_below(0) == primes_below(2) == [] and len(primes_below(1000)) == 168",
        lambda text: f"primes_below({_count(text, 100)})",
    ),
    Template(
        "the first prime numbers",
        r"\bprimes?\b|\bprime\s+numbers?\b",
        '''\
def first_primes(count):
    """Return the first count prime numbers."""
    primes = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % p for p in primes if p * p <= candidate):
            primes.append(candidate)
        candidate += 1
    return primes''',
        "assert first_primes(5) == [2, 3, 5, 7, 11]\n"
        "assert first_primes(0) == [] and first_primes(100)[-1] == 541",
        lambda text: f"first_primes({_count(text, 10)})",
    ),
    Template(
        "the Fibonacci numbers",
        r"\bfibonacci\b",
        '''\
def fibonacci(count):
    """Return the first count Fibonacci numbers, starting with 0 and 1."""
    numbers = []
    a, b = 0, 1
    for _ in range(count):
        numbers.append(a)
        a, b = b, a + b
    return numbers''',
        "assert fibonacci(8) == [0, 1, 1, 2, 3, 5, 8, 13]\n"
        "assert fibonacci(0) == [] and fibonacci(31)[-1] == 832040",
        lambda text: f"fibonacci({min(_count(text, 10), 200)})",
    ),
    Template(
        "the factorial",
        r"\bfactorials?\b",
        '''\
def factorial(n):
    """Return the product of the whole numbers from 1 to n."""
    if n < 0:
        raise ValueError("factorial needs n >= 0")
    product = 1
    for factor in range(2, n + 1):
        product *= factor
    return product''',
        "assert [factorial(n) for n in range(6)] == [1, 1, 2, 6, 24, 120]\n"
        "assert factorial(20) == 2432902008176640000",
        lambda text: f"factorial({min(_count(text, 10), 500)})",
    ),
    Template(
        "FizzBuzz",
        r"\bfizz\s?-?buzz\b",
        '''\
def fizzbuzz(count):
    """Return 1 to count, with Fizz for multiples of 3, Buzz for 5 and FizzBuzz for both."""
    return [
        "Fizz" * (n % 3 == 0) + "Buzz" * (n % 5 == 0) or str(n) for n in range(1, count + 1)
    ]''',
        'assert fizzbuzz(5) == ["1", "2", "Fizz", "4", "Buzz"]\n'
        'assert fizzbuzz(15)[-1] == "FizzBuzz"',
        lambda text: f"fizzbuzz({_count(text, 15, keyed=True)})",
    ),
    Template(
        "palindromes",
        r"\bpalindromes?\b",
        '''\
def is_palindrome(text):
    """Return whether text reads the same backwards, ignoring case and punctuation."""
    letters = [c for c in text.casefold() if c.isalnum()]
    return letters == letters[::-1]''',
        'assert is_palindrome("A man, a plan, a canal: Panama")\n'
        'assert is_palindrome("") and not is_palindrome("Python")',
        lambda text: f"is_palindrome({_quoted(text, 'level')!r})",
    ),
    Template(
        "reversing a text",
        r"\brevers\w{1,3}\b.{0,30}\b(?:string|text|word|sentence|characters)"
        r"|\b(?:string|text|word)\b.{0,20}\brevers",
        '''\
def reverse_text(text):
    """Return text with its characters in the opposite order."""
    return text[::-1]''',
        'assert reverse_text("abc") == "cba"\nassert reverse_text("") == ""',
        lambda text: f"reverse_text({_quoted(text, 'Signalbox')!r})",
    ),
    Template(
        "the greatest common divisor",
        r"\bgcd\b|\bgreatest\s+common\s+(?:divisor|factor)\b",
        '''\
def gcd(a, b):
    """Return the greatest common divisor of two whole numbers."""
    while b:
        a, b = b, a % b
    return abs(a)''',
        "assert gcd(48, 18) == 6 and gcd(17, 5) == 1\nassert gcd(0, 9) == 9 and gcd(-12, 8) == 4",
        lambda text: "gcd({}, {})".format(*_pair(text, (48, 18))),
    ),
    Template(
        "the least common multiple",
        r"\blcm\b|\b(?:least|lowest)\s+common\s+multiple\b",
        '''\
def lcm(a, b):
    """Return the least common multiple of two whole numbers."""
    x, y = a, b
    while y:
        x, y = y, x % y
    return abs(a * b) // abs(x) if x else 0''',
        "assert lcm(4, 6) == 12 and lcm(7, 3) == 21\nassert lcm(0, 5) == 0",
        lambda text: "lcm({}, {})".format(*_pair(text, (4, 6))),
    ),
    Template(
        "counting words",
        r"\b(?:word\s?(?:count|frequenc\w{1,3})"
        r"|counts?\s+(?:the\s+|how\s+often\s+)?(?:number\s+of\s+)?(?:words?|each\s+word))\b(?!.{0,40}\bfiles?\b)",
        '''\
def count_words(text):
    """Return how often each word occurs, ignoring case, the most frequent first."""
    counts = {}
    for word in "".join(c if c.isalnum() else " " for c in text.casefold()).split():
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))''',
        'assert count_words("To be, or not to be") == {"to": 2, "be": 2, "or": 1, "not": 1}\n'
        'assert count_words("") == {}',
        lambda text: f"count_words({_quoted(text, 'the cat and the hat')!r})",
    ),
    Template(
        "leap years",
        r"\bleap[\s_]years?\b",
        '''\
def is_leap_year(year):
    """Return whether a year of the Gregorian calendar has 366 days."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)''',
        "assert is_leap_year(2024) and is_leap_year(2000)\n"
        "assert not is_leap_year(2023) and not is_leap_year(1900)",
        lambda text: f"is_leap_year({(re.findall(r'[12][0-9]{3}', text) or ['2024'])[0]})",
    ),
    Template(
        "sorting numbers",
        r"\b(?:sort(?:s|ing|ed)?|merge\s?sort|order)\b.{0,30}"
        r"\b(?:numbers|lists?|integers|arrays?|values)\b(?!.{0,20}\bby\b)|\bmerge\s?sort\b",
        '''\
def merge_sort(values):
    """Return the values in ascending order; equal ones keep their order."""
    if len(values) < 2:
        return list(values)
    middle = len(values) // 2
    left, right = merge_sort(values[:middle]), merge_sort(values[middle:])
    merged = []
    while left and right:
        merged.append(left.pop(0) if left[0] <= right[0] else right.pop(0))
    return merged + left + right''',
        "assert merge_sort([3, 1, 2]) == [1, 2, 3] and merge_sort([]) == []\n"
        "assert merge_sort([2, -1, 2, 0]) == sorted([2, -1, 2, 0])",
        lambda text: f"merge_sort({_list(text)})",
    ),
)
