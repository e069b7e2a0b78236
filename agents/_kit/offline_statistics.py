"""Turns a series of numbers into a program that describes it, and the output into sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from agents._kit.offline_answers import explain_limit, fence
from agents._kit.offline_programs import Program

LISTED: Final = 12
"""Numbers an answer repeats one by one."""


class Figure(NamedTuple):
    """One labelled line of output."""

    label: str
    expression: str
    asked: str
    """What a text says when it asks for this figure."""
    fits: Callable[[Sequence[float]], bool] = lambda values: len(values) > 0
    usual: bool = True
    """Whether it is computed unasked."""
    unit: str = ""


def _several(values: Sequence[float]) -> bool:
    return len(values) > 1


def _many(values: Sequence[float]) -> bool:
    return len(values[1:]) > 1  # a trend takes two steps


def _starts_nonzero(values: Sequence[float]) -> bool:
    return len(values) > 1 and values[0] != 0


def _keeps_positive(values: Sequence[float]) -> bool:
    return _many(values) and values[0] > 0 and values[-1] > 0


_GROWTH: Final = (
    r"\bgrow(?:th|s|ing|n)?\b|\bgrew\b|\bby what percent"
    r"|\bpercent(?:age)? (?:change|increase|decrease)"
)
_TREND: Final = (
    r"\btrend|\bslope\b|\brising\b|\bfalling\b|\bincreasing\b|\bdecreasing\b|\bregression\b"
)
_NEXT: Final = (
    r"\btrend|\bforecast|\bpredict|\bproject(?:ion|ed)|\bextrapolat"
    r"|\bnext (?:value|number|one|month|year|quarter)"
)

FIGURES: Final = (
    Figure("n", "len(values)", r"\bhow many\b|\bcount\b"),
    Figure(
        "sum", "sum(values)", r"\bsums?\b|\btotal\b|\badd(?:ed)?(?: \w{1,12}){0,2} up\b|\badd\b"
    ),
    Figure("mean", "statistics.mean(values)", r"\bmeans?\b|\baverag"),
    Figure("median", "statistics.median(values)", r"\bmedian"),
    Figure(
        "stdev",
        "statistics.stdev(values)",
        r"\bstd|\bstandard deviation|\bspread\b|\bdeviation",
        _several,
    ),
    Figure("variance", "statistics.variance(values)", r"\bvariance", _several, usual=False),
    Figure("mode", "statistics.mode(values)", r"\bmode\b|\bmost (?:common|frequent)", usual=False),
    Figure("min", "min(values)", r"\bmin\b|\bminimum|\bsmallest|\blowest"),
    Figure("max", "max(values)", r"\bmax\b|\bmaximum|\blargest|\bhighest|\bbiggest"),
    Figure("range", "max(values) - min(values)", r"\brange\b", usual=False),
    Figure("product", "math.prod(values)", r"\bproduct of\b|\bmultiply\b", usual=False),
    Figure(
        "change first to last",
        "values[-1] - values[0]",
        r"\bchanged?\b|\bdifference\b|\bdelta\b|\bdrop|\bdecline",
        _several,
    ),
    Figure(
        "growth first to last",
        "(values[-1] - values[0]) / abs(values[0]) * 100",
        _GROWTH,
        _starts_nonzero,
        unit="%",
    ),
    Figure(
        "average growth per step (compound)",
        "((values[-1] / values[0]) ** (1 / (len(values) - 1)) - 1) * 100",
        _GROWTH,
        _keeps_positive,
        unit="%",
    ),
    Figure("slope per step", "slope", _TREND, _many),
    Figure("next value by linear trend", "intercept + slope * len(values)", _NEXT, _many),
)

_ANY_FIGURE: Final = re.compile("|".join(figure.asked for figure in FIGURES), re.IGNORECASE)
_CORRELATION: Final = re.compile(r"\bcorrelat", re.IGNORECASE)

# What this program does not compute; the answer must not pass over it in silence.
_BEYOND: Final = (
    (r"\b(?:plot|chart|graph|histogram|draw|visuali[sz]e)\b", "the chart"),
    (r"\b(?:quartiles?|percentiles?|outliers?|seasonal\w*|p-value|t-test|confidence)\b", "{}"),
    (r"\b(?:double|halve|multiply|divide|square)\s(?:it|that|them|this|the result)\b", "{}"),
    (r"\b(?:explain|interpret|recommend|conclude)\b", "the interpretation"),
)

_HEAD: Final = """\
import {modules}

values = [{values}]


def show(label, value, unit=""):
    if isinstance(value, float):
        value = f"{{value:.4f}}" if abs(value) >= 0.01 else f"{{value:.6g}}"
        value = value.rstrip("0").rstrip(".") if "." in value and "e" not in value else value
    print(f"{{label}}: {{value}}{{unit}}")


"""

_LINE: Final = re.compile(r"^([a-z][a-z ()]{0,60}): (-?[\d.][\w.+-]*)(%?)$", re.MULTILINE)


def asks_figure(text: str) -> bool:
    """Return whether a text asks for a figure of a series."""
    return _ANY_FIGURE.search(text) is not None


def relates_series(text: str) -> bool:
    """Return whether a text asks how two series hang together, which no figure of one can tell."""
    return _CORRELATION.search(text) is not None


def write_statistics(text: str, literals: Sequence[str], *, origin: str = "") -> Program:
    """Return the program that computes the usual figures and those asked for, asked ones first."""
    values = [float(literal) for literal in literals]
    asked = _find_asked(text)
    fitting = [f for f in FIGURES if f.fits(values) and (f.usual or f.label in asked)]
    figures = sorted(fitting, key=lambda f: asked.get(f.label, len(text) + FIGURES.index(f)))
    lines = ["slope, intercept = statistics.linear_regression(range(len(values)), values)"]
    lines = lines if _many(values) else []
    for figure in figures:
        unit = f', "{figure.unit}"' if figure.unit else ""
        lines.append(f'show("{figure.label}", {figure.expression}{unit})')
    modules = "math\nimport statistics" if "product" in asked else "statistics"
    head = _HEAD.format(values=", ".join(literals), modules=modules)
    first = [f.label for f in figures if f.label in asked]
    about = ", ".join([*literals[:LISTED], "…"] if len(literals) > LISTED else literals)
    report = partial(_report, first=first, about=about + origin, beyond=_find_beyond(text))
    return Program(code=head + "\n".join(lines) + "\n", report=report, about="the computation")


def _find_asked(text: str) -> dict[str, int]:
    """Return the labels a text asks for, each with the place where it does."""
    places: dict[str, int] = {}
    for figure in FIGURES:
        match = re.search(figure.asked, text, re.IGNORECASE)
        if match:
            places[figure.label] = match.start()
    return places


def _find_beyond(text: str) -> list[str]:
    found = []
    for pattern, name in _BEYOND:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            found.append(name.format(match[0]))
    return found


def _report(output: str, *, first: Sequence[str], about: str, beyond: Sequence[str]) -> str:
    printed = {m[1]: m[2] + m[3] for m in _LINE.finditer(output)}
    if not printed:
        return f"Computed with Python from {about}; it printed:\n\n{fence(output)}"
    leading = [label for label in first if label in printed] or list(printed)
    rest = [label for label in printed if label not in leading]
    parts = [f"Computed with Python from {about}:"]
    parts.append("\n".join(f"- {label}: {printed[label]}" for label in leading))
    if rest:
        parts.append("Also: " + "; ".join(f"{label}: {printed[label]}" for label in rest) + ".")
    if "slope per step" in printed:
        parts.append(_describe_trend(printed["slope per step"]))
    if beyond:
        parts.append(explain_limit(", ".join(beyond)))
    return "\n\n".join(parts)


def _describe_trend(slope: str) -> str:
    if float(slope) == 0:
        return "The series shows no linear trend: its slope is 0."
    direction = "falling" if slope.startswith("-") else "rising"
    return f"The series is {direction} by {slope.lstrip('-')} per step (linear trend)."
