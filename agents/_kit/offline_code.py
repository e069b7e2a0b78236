"""Finds Python pasted into a text, says where it does not compile, and reports what it printed."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from agents._kit.offline_answers import explain_limit, fence
from agents._kit.offline_programs import Program

SCAN_CHARS: Final = 40_000
PARSED_CHARS: Final = 8_000
"""Longer code goes to the interpreter unread: parsing it here would hold up other runs."""
MAX_TRIES: Final = 4

_FENCE: Final = re.compile(r"(?P<mark>```|~~~)[ \t]{0,4}(?P<language>[\w+#.-]{0,20})[ \t]{0,8}\n")
_PYTHON: Final = frozenset({"", "py", "python", "python3"})
_INLINE: Final = re.compile(r"`([^`\n]{3,400})`")
_CODE_LINE: Final = re.compile(
    r"\s{0,40}(?:(?:async )?def \w{1,60}\(|class \w{1,60}\s?[:(]|import \w"
    r"|from \w[\w.]{0,80} import "
    r"|for \w[^\n]{0,80} in [^\n]{1,120}:|(?:while|if|with) [^\n]{1,120}:\s{0,4}$"
    r"|print\(|assert |return\b|try:|@\w"
    r"|[A-Za-z_]\w{0,60}(?:\[[^\]\n]{0,60}\])? ?[-+*/]?= ?[^=\s]"
    r"|[A-Za-z_][\w.]{0,80}\([^\n]{0,200}\)\s{0,4}$)"
)
_TELLING: Final = re.compile(
    r"^\s{0,40}(?:(?:async )?def \w|class \w{1,60}\s?[:(]|import \w|from \w[\w.]{0,80} import "
    r"|for \w[^\n]{0,80} in |print\()",
    re.MULTILINE,
)
_CALL: Final = re.compile(r"\w\(")
_TRACEBACK: Final = "Traceback (most recent call last)"
_CHANGE: Final = re.compile(
    r"\b(?:fix|explain|refactor|optimi[sz]e|improve|translate|rewrite|review|document|mend|why|"
    r"add\s+\w{1,20}|write\s+(?:a\s+)?(?:unit\s+)?tests?)\b",
    re.IGNORECASE,
)
_TO_RUN: Final = re.compile(r"\b(?:run|execute|evaluate|output|prints?)\b", re.IGNORECASE)
_KEEP_STILL: Final = re.compile(
    r"\b(?:do\s+not|don't|never|without)\s+(?:run|execut)", re.IGNORECASE
)


class Pasted(NamedTuple):
    """Code found in a text and the words around it."""

    code: str
    words: str
    language: str


def find_code(text: str) -> Pasted | None:
    """Return the code a text holds: fenced, in backticks, after a colon, or as bare lines."""
    text = text[:SCAN_CHARS]
    return _find_fenced(text) or _find_inline(text) or _find_bare(text)


def is_python(pasted: Pasted) -> bool:
    """Return whether the code may be Python."""
    return pasted.language.lower() in _PYTHON


def find_fault(code: str) -> str:
    """Return where and why the code does not compile; empty where it does, or is too long."""
    if len(code) > PARSED_CHARS:
        return ""
    try:
        _parse(code)
    except SyntaxError as error:
        lines = code.splitlines()
        number = error.lineno or 1
        line = lines[number - 1].strip()[:200] if 0 < number <= len(lines) else ""
        return f"line {number}: {error.msg}" + (f", at `{line}`" if line else "")
    except (ValueError, RecursionError, MemoryError) as error:
        return f"it cannot be parsed ({type(error).__name__})"
    return ""


def read_pasted(pasted: Pasted) -> Program | str:
    """Return the program that runs pasted code as it is, or the answer where it must not be run."""
    fault = find_fault(pasted.code)
    if fault:
        return f"The code does not compile: {fault}. I did not run it."
    if _KEEP_STILL.search(pasted.words):
        return f"The code compiles. I did not run it, as asked.\n\n{_note(pasted.words)}".strip()
    return Program(
        code=pasted.code, report=partial(_report, words=pasted.words), about="the code you gave"
    )


def _report(output: str, *, words: str) -> str:
    said = f"I ran the code you gave, unchanged. It printed:\n\n{fence(output)}"
    return f"{said}\n\n{_note(words)}".strip()


def _note(words: str) -> str:
    match = _CHANGE.search(words)
    return explain_limit(f'"{match[0].lower()}"; I only run code') if match else ""


def _parse(code: str) -> ast.Module:
    with warnings.catch_warnings():
        # A stray backslash in pasted code is its author's affair, not ours.
        warnings.simplefilter("ignore")
        return ast.parse(code)


def _compiles(code: str) -> bool:
    return len(code) > PARSED_CHARS or not find_fault(code)


def _find_fenced(text: str) -> Pasted | None:
    match = _FENCE.search(text)
    if match is None:
        return None
    end = text.find(match["mark"], match.end())
    end = len(text) if end < 0 else end
    words = f"{text[: match.start()]} {text[end + 3 :]}"
    return Pasted(text[match.end() : end], words, match["language"])


def _find_inline(text: str) -> Pasted | None:
    if not _TO_RUN.search(_INLINE.sub(" ", text)):
        return None
    for match in _INLINE.finditer(text):
        code = match[1].strip("`")
        if _CODE_LINE.match(code) and _compiles(code):
            return Pasted(code, text.replace(match[0], " ", 1), "")
    return None


def _find_bare(text: str) -> Pasted | None:
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if _CODE_LINE.match(line[:400])), None)
    if first is None or _TRACEBACK in text:
        return None if _TRACEBACK in text else _find_after_colon(lines)
    before = "\n".join(lines[:first])
    for end in _likely_ends(lines, first):
        code = "\n".join(lines[first:end])
        if _does_something(code) and _compiles(code):
            return Pasted(code, f"{before} {' '.join(lines[end:])}", "")
    code = "\n".join(lines[first:])
    return Pasted(code, before, "") if _TELLING.search(code[:PARSED_CHARS]) else None


def _does_something(code: str) -> bool:
    """Return whether running the code can show anything: `revenue = 120, 135` is data, not code."""
    head = code[:PARSED_CHARS]
    return _TELLING.search(head) is not None or _CALL.search(head) is not None


def _likely_ends(lines: list[str], first: int) -> Iterator[int]:
    """Yield where the code may end: at the end of the text, else before a blank line."""
    yield len(lines)
    blanks = [i for i in range(len(lines) - 1, first, -1) if not lines[i].strip()]
    yield from blanks[:MAX_TRIES]


def _find_after_colon(lines: list[str]) -> Pasted | None:
    for number, line in enumerate(lines[:50]):
        words, colon, code = line.partition(": ")
        if colon and _CODE_LINE.match(code[:400]):
            code = "\n".join([code, *lines[number + 1 :]])
            return Pasted(code, words, "")
    return None
