"""Turns a series of numbers into a program that describes it, and the output into sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, NamedTuple

from agents._kit.offline_answers import explain_limit, fence
from agents._kit.offline_charts import draw_series, explain_no_chart
from agents._kit.offline_programs import SHOW, Program

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
    needs: tuple[str, ...] = ()
    """The steps before it, in their order: keys of `_STEPS`."""


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
    Figure("mean", "mean", r"\bmeans?\b|\baverag", needs=("mean",)),
    Figure("median", "median", r"\bmedian", needs=("median",)),
    Figure(
        "stdev",
        "math.sqrt(variance)",
        r"\bstd|\bstandard deviation|\bspread\b|\bdeviation",
        _several,
        needs=("mean", "variance"),
    ),
    Figure(
        "variance",
        "variance",
        r"\bvariance",
        _several,
        usual=False,
        needs=("mean", "variance"),
    ),
    Figure("mode", "mode", r"\bmode\b|\bmost (?:common|frequent)", usual=False, needs=("mode",)),
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
    Figure("slope per step", "slope", _TREND, _many, needs=("mean", "slope")),
    Figure(
        "next value by linear trend",
        "intercept + slope * len(values)",
        _NEXT,
        _many,
        needs=("mean", "slope"),
    ),
)

_ANY_FIGURE: Final = re.compile("|".join(figure.asked for figure in FIGURES), re.IGNORECASE)
_CORRELATION: Final = re.compile(r"\bcorrelat", re.IGNORECASE)

# What this program does not compute; the answer must not pass over it in silence.
_BEYOND: Final = (
    (r"\b(?:quartiles?|percentiles?|outliers?|seasonal\w*|p-value|t-test|confidence)\b", "{}"),
    (r"\b(?:double|halve|multiply|divide|square)\s(?:it|that|them|this|the result)\b", "{}"),
    (r"\b(?:explain|interpret|recommend|conclude)\b", "the interpretation"),
)

# Without the module `statistics`, which not every sandbox has. Sums of whole numbers are exact, and so
# is what is divided last; of others, `fsum` loses nothing on the way.
_WHOLE: Final = {
    "mean": """\
total = sum(values)
mean = total // len(values) if total % len(values) == 0 else total / len(values)
""",
    "variance": """\
squares = len(values) * sum([value**2 for value in values]) - total**2
pairs = len(values) * (len(values) - 1)
variance = squares // pairs if squares % pairs == 0 else squares / pairs
""",
}
_STEPS: Final = {
    "mean": "mean = math.fsum(values) / len(values)\n",
    "median": """\
ordered = sorted(values)
half = len(values) // 2
median = ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
""",
    "variance": """\
variance = math.fsum([(value - mean) ** 2 for value in values]) / (len(values) - 1)
""",
    "mode": """\
counts = {}
for value in values:
    counts[value] = counts.get(value, 0) + 1
mode = max(counts, key=lambda value: counts[value])
""",
    "slope": """\
middle = (len(values) - 1) / 2
rise = math.fsum([(step - middle) * (value - mean) for step, value in enumerate(values)])
slope = rise / math.fsum([(step - middle) ** 2 for step in range(len(values))])
intercept = mean - slope * middle
""",
}

_LINE: Final = re.compile(r"^([a-z][a-z ()]{0,60}): (-?[\d.][\w.+-]*)(%?)$", re.MULTILINE)


def asks_figure(text: str) -> bool:
    """Return whether a text asks for a figure of a series."""
    return _ANY_FIGURE.search(text) is not None


def relates_series(text: str) -> bool:
    """Return whether a text asks how two series hang together, which no figure of one can tell."""
    return _CORRELATION.search(text) is not None


def write_statistics(
    text: str, literals: Sequence[str], *, origin: str = "", libraries: Collection[str] = ()
) -> Program:
    """Return the program that computes the usual figures and those asked for, asked ones first.

    It draws the chart that the text asks for where `libraries` can.
    """
    values = [float(literal) for literal in literals]
    asked = _find_asked(text)
    fitting = [f for f in FIGURES if f.fits(values) and (f.usual or f.label in asked)]
    figures = sorted(fitting, key=lambda f: asked.get(f.label, len(text) + FIGURES.index(f)))
    shows = [_show(figure) for figure in figures]
    code = "\n".join(
        [
            f"import math\n\nvalues = [{', '.join(literals)}]\n\n\n{SHOW}\n",
            _write_steps(figures, whole=all(_is_whole(literal) for literal in literals)),
            "\n".join(shows),
            draw_series(text, libraries),
        ]
    )
    first = [f.label for f in figures if f.label in asked]
    about = ", ".join([*literals[:LISTED], "…"] if len(literals) > LISTED else literals)
    notes = [explain_no_chart(text, libraries)]
    notes += [explain_limit(", ".join(beyond)) for beyond in [_find_beyond(text)] if beyond]
    report = partial(_report, first=first, about=about + origin, notes=[n for n in notes if n])
    return Program(code=code, report=report, about="the computation")


def _is_whole(literal: str) -> bool:
    return literal.lstrip("-").isdecimal()


def _write_steps(figures: Sequence[Figure], *, whole: bool) -> str:
    needed = {step for figure in figures for step in figure.needs}
    steps = {**_STEPS, **_WHOLE} if whole else _STEPS
    return "".join(steps[name] for name in _STEPS if name in needed)


def _show(figure: Figure) -> str:
    unit = f', "{figure.unit}"' if figure.unit else ""
    return f'show("{figure.label}", {figure.expression}{unit})'


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


def _report(output: str, *, first: Sequence[str], about: str, notes: Sequence[str]) -> str:
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
    parts += [line for line in output.splitlines() if line.startswith("Chart: ")]
    parts += notes
    return "\n\n".join(parts)


def _describe_trend(slope: str) -> str:
    if float(slope) == 0:
        return "The series shows no linear trend: its slope is 0."
    direction = "falling" if slope.startswith("-") else "rising"
    return f"The series is {direction} by {slope.lstrip('-')} per step (linear trend)."
