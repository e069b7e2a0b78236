"""Keeps what a program draws: figures as PNG, and the data behind each saved figure as CSV.

It runs in the interpreter of the sandbox and imports the standard library only; matplotlib is taken
from `sys.modules` once the program, or whoever started it, has imported it. Nothing here may fail a
program: what cannot be kept is told on standard error.
"""

from __future__ import annotations

import csv
import datetime as dt
import functools
import importlib.abc
import importlib.util
import math
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from itertools import islice, pairwise
from types import ModuleType
from typing import Any, Final, NamedTuple

MAX_ROWS: Final = 100_000
MAX_FIGURES: Final = 10
"""Figures saved without having been asked for: with the data of each, as many files as a call may leave."""

MAX_TICKS: Final = 1_000
"""Names on an axis that are looked at for each bar."""

TEXT_CHARS: Final = 200

HEADER: Final = "axes,series,x,y"
"""The first line of a file that this module wrote, by which it is known again."""

_FIGURES: Final = "matplotlib.figure"

# Weakly: a figure that its program has let go of is to be freed.
_saved: weakref.WeakSet[Any] = weakref.WeakSet()


class Row(NamedTuple):
    """One point, bar or wedge."""

    axes: str
    series: str
    x: Any
    y: Any


class _Waiting(importlib.abc.MetaPathFinder):
    """Waits for the import of the module that holds the class of figures."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name != _FIGURES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Wrapping(spec.loader)
        return spec


class _Wrapping(importlib.abc.Loader):
    """Loads the module as its own loader does, then wraps the class in it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]  # any loader may stand here

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _wrap(module)


def install() -> None:
    """See to it that the data of every figure that is saved in this folder is saved beside it."""
    if _FIGURES in sys.modules:
        _wrap(sys.modules[_FIGURES])
    else:
        sys.meta_path.insert(0, _Waiting())


def save_open_figures() -> None:
    """Save the figures that a program drew and did not save, as `figure_1.png` and so on; close all."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    _told(_save_open, pyplot)
    _told(pyplot.close, "all")


def _wrap(module: ModuleType) -> None:
    original = module.Figure.savefig
    if hasattr(original, "keeps_data"):
        return

    @functools.wraps(original)
    def savefig(self: Any, fname: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, fname, *args, **kwargs)
        _told(_keep_data, self, fname)
        return result

    savefig.keeps_data = True  # type: ignore[attr-defined]  # a mark for the next call
    module.Figure.savefig = savefig


def _told(do: Callable[..., object], *args: object) -> None:
    try:
        do(*args)
    except Exception as error:  # noqa: BLE001 - a program's own objects may raise anything
        print(f"(a chart was not kept: {type(error).__name__})", file=sys.stderr)


def _save_open(pyplot: Any) -> None:
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    unsaved = [figure for figure in figures if figure not in _saved and figure.axes]
    for figure in unsaved[:MAX_FIGURES]:
        _told(figure.savefig, _free_name())
    if unsaved[MAX_FIGURES:]:
        print(f"({len(unsaved) - MAX_FIGURES} more open figures were not saved)", file=sys.stderr)


def _free_name() -> str:
    number = 1
    while os.path.lexists(f"figure_{number}.png"):
        number += 1
    return f"figure_{number}.png"


def _keep_data(figure: Any, target: Any) -> None:
    if not isinstance(target, str | os.PathLike):
        return
    stem, suffix = os.path.splitext(os.fspath(target))
    folder = os.path.realpath(os.curdir)
    place = os.path.realpath(stem)
    if os.path.commonpath([folder, place]) != folder or suffix.lower() == ".csv":
        return
    _saved.add(figure)
    path = next((p for p in (f"{stem}.csv", f"{stem}.data.csv") if _is_ours(p)), None)
    if path is None:
        print(f"(the data of {stem}{suffix} was not saved: its names are taken)", file=sys.stderr)
        return
    rows = list(islice(_rows(figure), MAX_ROWS + 1))
    if not rows:
        return
    if len(rows) > MAX_ROWS:
        print(f"(the data of {stem}{suffix} ends after {MAX_ROWS} rows)", file=sys.stderr)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(f"{HEADER}\n")
        csv.writer(file, lineterminator="\n").writerows(rows[:MAX_ROWS])


def _is_ours(path: str) -> bool:
    """Return whether a file may be written: it is not there, or an earlier chart's data."""
    if not os.path.lexists(path):
        return True
    if not os.path.isfile(path) or os.path.islink(path):
        return False
    with open(path, "rb") as file:
        return file.readline(len(HEADER) + 2).strip() == HEADER.encode()


def _rows(figure: Any) -> Iterator[Row]:
    for number, axes in enumerate(figure.axes, 1):
        if _text(axes.get_label()) == "<colorbar>":
            continue
        name = _text(axes.get_title()) or str(number)
        for read in (_lines, _bars, _points, _wedges):
            try:
                for series, x, y in read(axes):
                    yield Row(name, series, _value(x), _value(y))
            except Exception as error:  # noqa: BLE001 - the rest of the figure is still worth keeping
                print(f"(a part of a chart has no data: {type(error).__name__})", file=sys.stderr)


def _lines(axes: Any) -> Iterator[tuple[str, Any, Any]]:
    for number, line in enumerate(axes.get_lines(), 1):
        if line.get_transform() != axes.transData:
            continue  # a ruler across the axes, which shows no data
        series = _label(line, f"line {number}")
        for x, y in zip(line.get_xdata(orig=True), line.get_ydata(orig=True), strict=False):
            yield series, _place(axes.xaxis, x), _place(axes.yaxis, y)


def _bars(axes: Any) -> Iterator[tuple[str, Any, Any]]:
    containers = [c for c in axes.containers if hasattr(c, "patches") and hasattr(c, "orientation")]
    for number, bars in enumerate(containers, 1):
        series = _label(bars, f"bars {number}")
        lying = bars.orientation == "horizontal"
        axis = axes.yaxis if lying else axes.xaxis
        spans = [_span(bar, lying=lying) for bar in islice(bars.patches, MAX_ROWS + 1)]
        touching = len(spans) > 1 and all(
            math.isclose(left[1], right[0], abs_tol=1e-9) for left, right in pairwise(spans)
        )
        names = _tick_names(axis)
        for bar, (start, end) in zip(bars.patches, spans, strict=False):
            x = _place(axis, round((start + end) / 2, 12))
            if names:
                x = names(x)
            elif touching:
                x = f"{_value(_place(axis, start))} to {_value(_place(axis, end))}"
            yield series, x, bar.get_width() if lying else bar.get_height()


def _span(bar: Any, *, lying: bool) -> tuple[float, float]:
    start = float(bar.get_y() if lying else bar.get_x())
    return start, start + float(bar.get_height() if lying else bar.get_width())


def _points(axes: Any) -> Iterator[tuple[str, Any, Any]]:
    clouds = [c for c in axes.collections if type(c).__name__ == "PathCollection"]
    for number, cloud in enumerate(clouds, 1):
        series = _label(cloud, f"points {number}")
        for x, y in islice(cloud.get_offsets(), MAX_ROWS + 1):
            yield series, _place(axes.xaxis, x), _place(axes.yaxis, y)


def _wedges(axes: Any) -> Iterator[tuple[str, Any, Any]]:
    wedges = [patch for patch in axes.patches if type(patch).__name__ == "Wedge"]
    for number, wedge in enumerate(wedges, 1):
        share = (float(wedge.theta2) - float(wedge.theta1)) / 360
        yield "pie", _label(wedge, f"wedge {number}"), round(share, 6)


def _tick_names(axis: Any) -> Callable[[Any], Any] | None:
    """Return what names a place on an axis by its nearest tick; `None` where ticks are numbers."""
    if type(axis.get_major_formatter()).__name__ not in {
        "FixedFormatter",
        "StrCategoryFormatter",
        "FuncFormatter",
    }:
        return None
    places = [float(place) for place in axis.get_ticklocs()]
    texts = [_text(label.get_text()) for label in axis.get_ticklabels()]
    named = [(place, text) for place, text in zip(places, texts, strict=False) if text]
    named = named[:MAX_TICKS]
    if not named:
        return None
    reach = min((abs(b - a) for (a, _), (b, _) in pairwise(named)), default=1.0) / 2

    def name(place: Any) -> Any:
        if not isinstance(place, float):
            return place
        nearest, text = min(named, key=lambda tick: abs(tick[0] - place))
        return text if abs(nearest - place) <= reach else place

    return name


def _place(axis: Any, value: Any) -> Any:
    """Return a value of an axis as the program meant it: a date where the axis counts days."""
    if not isinstance(value, int | float) and not hasattr(value, "dtype"):
        return value
    converter = axis.get_converter() if hasattr(axis, "get_converter") else axis.converter
    kind = type(converter).__name__
    if "Date" in kind and getattr(value, "dtype", None) in (None, "float64", "int64"):
        return sys.modules["matplotlib.dates"].num2date(float(value)).replace(tzinfo=None)
    if "Period" in kind and getattr(axis, "freq", None) is not None:
        # pandas counts periods where its index has a frequency; bars of a group stand beside the count.
        return sys.modules["pandas"].Period(ordinal=round(float(value)), freq=axis.freq)
    if kind == "StrCategoryConverter" and not isinstance(value, str):
        return _category(axis, value)
    return value


def _category(axis: Any, value: Any) -> Any:
    names = {place: name for name, place in axis.get_units()._mapping.items()}  # noqa: SLF001 - there is no public way
    return names.get(value, value)


def _label(artist: Any, otherwise: str) -> str:
    label = _text(artist.get_label())
    return otherwise if not label or label.startswith("_") else label


def _text(value: object) -> str:
    try:
        text = str(value)[:TEXT_CHARS]
    except Exception:  # noqa: BLE001 - a label may be an object of the program's own
        return ""
    return "".join(c if c.isprintable() else " " for c in text)


def _value(value: Any) -> Any:
    """Return a value as it stands in the file: numbers as such, dates in ISO form, nothing for gaps."""
    if hasattr(value, "mask") and value.mask is not False and bool(value.mask):
        return ""
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat().removesuffix("T00:00:00")
    if type(value).__name__ == "datetime64":
        whole, dot, fraction = str(value).partition(".")
        return f"{whole}{dot}{fraction}" if fraction.strip("0") else whole.removesuffix("T00:00:00")
    if isinstance(value, bool | int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _text(value)
    return "" if math.isnan(number) else repr(number).removesuffix(".0")
