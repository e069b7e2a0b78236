"""Finds arithmetic in a text and turns it into a program that evaluates exactly that."""

from __future__ import annotations

import ast
import re
from typing import Final

from agents._kit.offline_programs import Program

SCAN_CHARS: Final = 4_000
EXPRESSION_CHARS: Final = 300
MAX_EXPRESSIONS: Final = 10
MAX_EXPONENT: Final = 1_000

_NUM: Final = r"(\d{1,18}(?:\.\d{1,15})?)"

_REWRITES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.ASCII), replacement)
    for pattern, replacement in (
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"[$€£¥](?=\d)", ""),
        (r"[×·⋅]", "*"),  # noqa: RUF001 - people paste real multiplication signs
        (r"÷", "/"),
        (r"[−–]", "-"),  # noqa: RUF001 - and real minus signs
        (r"\^", "**"),
        (r"(?<=\d)\s{0,3}x\s{0,3}(?=\d)", " * "),
        (rf"what percent(?:age)? of {_NUM} is {_NUM}", r"= \2 / \1 * 100"),
        (rf"{_NUM} is what percent(?:age)? of {_NUM}", r"= \1 / \2 * 100"),
        (rf"what percent(?:age)? is {_NUM} of {_NUM}", r"= \1 / \2 * 100"),
        (rf"{_NUM}\s?(?:%|percent)\s+(?:more|higher)\s+than\s+{_NUM}", r"\2 * (1 + \1 / 100)"),
        (
            rf"{_NUM}\s?(?:%|percent)\s+(?:(?:less|lower)\s+than|off)\s+{_NUM}",
            r"\2 * (1 - \1 / 100)",
        ),
        (rf"increase\s+{_NUM}\s+by\s+{_NUM}\s?(?:%|percent)", r"= \1 * (1 + \2 / 100)"),
        (
            rf"(?:de|re)(?:crease|duce)\s+{_NUM}\s+by\s+{_NUM}\s?(?:%|percent)",
            r"= \1 * (1 - \2 / 100)",
        ),
        (rf"{_NUM}\s?(?:%|percent)\s+of\s+(?:the\s|a\s)?(?=[\d(])", r"\1 / 100 * "),
        (rf"{_NUM}\s?(?:%|percent\b)(?!\s?[\d(])", r"(\1 / 100)"),
        (r"\bplus\b", "+"),
        (r"\bminus\b", "-"),
        (r"\b(?:times|multiplied\s+by)\b", "*"),
        (r"\b(?:divided\s+by|over)\b", "/"),
        (r"\b(?:raised\s+)?to\s+the\s+power(?:\s+of)?\b", "**"),
        (r"\bmod(?:ulo)?\b", "%"),
        (r"(?<=[\d)])\s+squared\b", " ** 2"),
        (r"(?<=[\d)])\s+cubed\b", " ** 3"),
        (rf"\b(?:the\s+)?square\s+root\s+of\s+{_NUM}", r"\1 ** 0.5"),
    )
)

_CANDIDATE: Final = re.compile(r"[-+(]{0,8}\s?\d[\d\s.+\-*/%()]{2,320}", re.ASCII)
_CUE: Final = re.compile(
    r"(?:=|:|\b(?:what(?:'s|\s+is)|how\s+much\s+is|calculate|compute|evaluate|solve|work\s+out|of|to)"
    r"(?:\s+the)?(?:\s+(?:result|value|answer)\s+(?:of|to))?:?)\s{0,3}$",
    re.IGNORECASE,
)
_LISTED: Final = re.compile(r"(?:,|;|\band)\s{0,3}$", re.IGNORECASE)
_CLEAR: Final = re.compile(r"\*|\s[-+/%]\s|\d\s?\+\s?\d")
# A span of years, or a lone percentage: "5% for 3 years" asks for something else.
_NO_SUM: Final = re.compile(r"(?:19|20)\d\d\s?[-/]\s?\d{2,4}|\(?[\d.]{1,34} / 100\)?")

_PROGRAM: Final = """\
def show(text, value):
    print(text, "=", f"{value:.15g}" if isinstance(value, float) else value)


"""


def find_expressions(text: str) -> list[str]:
    """Return the arithmetic expressions a text asks to evaluate, as Python source."""
    text = text[:SCAN_CHARS]
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    found: list[str] = []
    for match in _CANDIDATE.finditer(text):
        if len(match[0]) >= EXPRESSION_CHARS or len(found) == MAX_EXPRESSIONS:
            # A part of the arithmetic would pass for the whole.
            return []
        raw = match[0].strip().rstrip(".,").strip()
        wanted = _is_asked(text, match, raw, listed=bool(found))
        source = _read_expression(raw) if wanted and not _NO_SUM.fullmatch(raw) else None
        if source:
            found.append(source)
    return found


def _is_asked(text: str, match: re.Match[str], raw: str, *, listed: bool) -> bool:
    """Return whether a text wants this evaluated: `24/7` and `555-1234` are mostly words."""
    before = text[max(0, match.start() - 48) : match.start()]
    alone = not text[: match.start()].strip() and not text[match.end() :].strip(" ?!.=\n")
    asked = alone or _CUE.search(before) or _CLEAR.search(raw)
    return bool(asked or (listed and _LISTED.search(before)))


def write_arithmetic(expressions: list[str]) -> Program:
    """Return the program that evaluates the expressions and prints each with its value."""
    lines = [f'show("{expression}", {expression})' for expression in expressions]
    return Program(
        code=_PROGRAM + "\n".join(lines) + "\n",
        report=lambda output: f"Computed with Python:\n\n{output.strip()}",
        about="the computation",
    )


def _read_expression(raw: str) -> str | None:
    """Return the text as an expression of numbers and operators; `None` where it is not one."""
    # A sentence in brackets leaves one of them behind.
    for text in (raw, raw.removesuffix(")"), raw.removeprefix("(")):
        try:
            tree = ast.parse(text, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if isinstance(tree.body, ast.BinOp) and _is_safe(tree):
            return ast.unparse(tree)
    return None


def _is_safe(tree: ast.AST) -> bool:
    allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    powers = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow)]
    # A power of a power could keep the interpreter busy until the time limit.
    if any(not _is_small(power.right) or _holds_power(power.left) for power in powers):
        return False
    return all(
        isinstance(node, allowed)
        or (isinstance(node, ast.Constant) and isinstance(node.value, (int, float)))
        for node in ast.walk(tree)
    )


def _holds_power(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Pow) for node in ast.walk(tree))


def _is_small(exponent: ast.expr) -> bool:
    while isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    return (
        isinstance(exponent, ast.Constant)
        and isinstance(exponent.value, (int, float))
        and exponent.value <= MAX_EXPONENT
    )
