"""Charts: when one is asked for, and the lines of a program that draw a series."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal

from agents._kit.offline_answers import explain_missing

LIBRARY: Final = "matplotlib"

ChartKind = Literal["line", "bar", "histogram", "scatter", "pie"]

ASKED: Final = r"\b(?:plot|plots|plotted|charts?|charted|graphs?|histograms?|draw|visuali[sz]e)\b"

_ASKED: Final = re.compile(ASKED, re.IGNORECASE)
_UNWANTED: Final = re.compile(
    r"\b(?:no|without|not need|don't need|(?:don't|do not|never) (?:draw|plot|make))"
    r"(?: an?| any)?\s(?:charts?|plots?|graphs?)\b",
    re.IGNORECASE,
)
_KINDS: Final[tuple[tuple[ChartKind, str], ...]] = (
    ("histogram", r"\bhistogram|\bdistribution\b"),
    ("scatter", r"\bscatter"),
    ("pie", r"\bpie\b"),
    ("bar", r"\bbars?\b|\bcolumn charts?\b"),
    ("line", r"\bline (?:chart|plot|graph)\b|\bas (?:a )?lines?\b|\bover time\b"),
)

_SERIES: Final = """
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 4.5))
{draw}
axes.set_title("{title}")
axes.set_xlabel("{x}")
axes.set_ylabel("{y}")
figure.savefig("{path}", dpi=150, bbox_inches="tight")
"""
_IN_ORDER: Final = """\
high, low = max(values), min(values)
print(
    f"Chart: {path} shows the {{len(values)}} values in their order as a {kind}, from {{number(values[0])}} "
    f"to {{number(values[-1])}}; the highest is {{number(high)}} (step {{values.index(high) + 1}}), "
    f"the lowest {{number(low)}} (step {{values.index(low) + 1}})."
)
"""
_BY_SIZE: Final = """\
counts, edges, _ = bars
most = list(counts).index(max(counts))
print(
    f"Chart: {path} shows how the {{len(values)}} values are distributed; most of them, {{int(counts[most])}}, "
    f"lie between {{number(float(edges[most]))}} and {{number(float(edges[most + 1]))}}."
)
"""


def asks_chart(text: str) -> bool:
    """Return whether a text asks for a chart."""
    return _ASKED.search(text) is not None and not refuses_chart(text)


def refuses_chart(text: str) -> bool:
    """Return whether a text says that it wants none."""
    return _UNWANTED.search(text) is not None


def chart_kind(text: str) -> ChartKind | None:
    """Return the kind of chart that a text names."""
    return next((k for k, pattern in _KINDS if re.search(pattern, text, re.IGNORECASE)), None)


def draw_series(text: str, libraries: Collection[str]) -> str:
    """Return the end of a program that draws its `values` where a text asks for that; else nothing."""
    if not asks_chart(text) or LIBRARY not in libraries:
        return ""
    if chart_kind(text) == "histogram":
        head = _SERIES.format(
            draw='bars = axes.hist(values, bins=min(30, max(5, len(values) // 5)), edgecolor="white")',
            title=r"Distribution of {len(values)} values",
            x="value",
            y="count",
            path="histogram.png",
        ).replace('title("', 'title(f"')
        return head + _BY_SIZE.format(path="histogram.png")
    kind, method = ("bar chart", "bar") if chart_kind(text) == "bar" else ("line", "plot")
    marked = ', marker="o"' if method == "plot" else ""
    head = _SERIES.format(
        draw=f"axes.{method}(range(1, len(values) + 1), values{marked})",
        title=r"{len(values)} values in their order",
        x="step",
        y="value",
        path="values.png",
    ).replace('title("', 'title(f"')
    return head + _IN_ORDER.format(path="values.png", kind=kind)


def explain_no_chart(text: str, libraries: Collection[str]) -> str:
    """Return why there is no chart where a text asks for one; empty where there is one, or need not be."""
    missing = asks_chart(text) and LIBRARY not in libraries
    return explain_missing("the chart", LIBRARY) if missing else ""
