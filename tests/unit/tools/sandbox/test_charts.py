"""What becomes of a program's figures, in the interpreter that has matplotlib."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.sandbox import PYTHON, ROOT

CONFINED: Final = ROOT / "tools" / "sandbox" / "confined"
PNG: Final = b"\x89PNG\r\n\x1a\n"
HEADER: Final = ["axes", "series", "x", "y"]


def draw(folder: Path, program: str, *, first: str = "") -> str:
    """Run a program between `install` and `save_open_figures`; return its standard error."""
    code = (
        f"import sys\nsys.path.insert(0, {str(CONFINED)!r})\n{first}\nimport charts\ncharts.install()\n"
        f"import matplotlib.pyplot as plt\n{program}\ncharts.save_open_figures()\n"
        "assert plt.get_fignums() == []\nprint('ended')"
    )
    environment = {
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/signalbox-tests-matplotlib",
        "PATH": "/usr/bin",
    }
    done = subprocess.run(
        [PYTHON, "-I", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.endswith("ended\n"), done.stderr
    return done.stderr


def data(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == HEADER
    return rows


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("first", ["", "import matplotlib.figure", "import matplotlib.pyplot"])
def test_a_saved_figure_has_its_data_beside_it(tmp_path: Path, first: str) -> None:
    program = (
        "figure, axes = plt.subplots()\naxes.plot([1, 2], [3, 4.5], label='a')\n"
        "axes.set_title('T')\nplt.savefig('sub.png')\nfigure.savefig('other.pdf')"
    )
    assert draw(tmp_path, program, first=first) == ""
    assert names(tmp_path) == ["other.csv", "other.pdf", "sub.csv", "sub.png"]
    assert (tmp_path / "sub.png").read_bytes().startswith(PNG)
    assert data(tmp_path / "sub.csv") == [["T", "a", "1", "3"], ["T", "a", "2", "4.5"]]


DRAWINGS: Final[dict[str, tuple[str, list[list[str]]]]] = {
    "dates": (
        "import datetime\nplt.plot([datetime.date(2024, 1, 1), datetime.date(2024, 2, 1)], [1, 2])",
        [["1", "line 1", "2024-01-01", "1"], ["1", "line 1", "2024-02-01", "2"]],
    ),
    "times": (
        "import pandas\nplt.plot(pandas.to_datetime(['2024-01-01 10:30']), [1])",
        [["1", "line 1", "2024-01-01T10:30:00", "1"]],
    ),
    "periods": (
        "import pandas as p\np.DataFrame({'v': [1, 2]}, p.date_range('2024', periods=2, freq='MS')).plot()",
        [["1", "v", "2024-01", "1"], ["1", "v", "2024-02", "2"]],
    ),
    "bars": (
        "plt.bar(['x', 'y'], [3, 1], label='n')",
        [["1", "n", "x", "3"], ["1", "n", "y", "1"]],
    ),
    "lying": (
        "plt.barh(['x', 'y'], [3, 1])",
        [["1", "bars 1", "x", "3"], ["1", "bars 1", "y", "1"]],
    ),
    "groups": (
        "plt.bar([0.8, 1.8], [1, 2], 0.4)\nplt.bar([1.2, 2.2], [3, 4], 0.4)\nplt.xticks([1, 2], ['A', 'B'])",
        [
            ["1", "bars 1", "A", "1"],
            ["1", "bars 1", "B", "2"],
            ["1", "bars 2", "A", "3"],
            ["1", "bars 2", "B", "4"],
        ],
    ),
    "histogram": (
        "plt.hist([1, 2, 2, 3], bins=[1, 2, 3])",
        [["1", "bars 1", "1 to 2", "1"], ["1", "bars 1", "2 to 3", "3"]],
    ),
    "points": (
        "plt.scatter([1, 2], [3, 4], label='s')",
        [["1", "s", "1", "3"], ["1", "s", "2", "4"]],
    ),
    "pie": (
        "plt.pie([1, 3], labels=['one', 'three'])",
        [["1", "pie", "one", "0.25"], ["1", "pie", "three", "0.75"]],
    ),
    "gaps": (
        "plt.plot([1, 2], [float('nan'), 5])\nplt.axhline(3)",
        [["1", "line 1", "1", ""], ["1", "line 1", "2", "5"]],
    ),
    "two axes": (
        "f, (a, b) = plt.subplots(1, 2)\na.plot([1], [2])\nb.plot(['p'], [4])\nb.set_title('right')",
        [["1", "line 1", "1", "2"], ["right", "line 1", "p", "4"]],
    ),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which one program has saved every drawing: starting one for each takes long."""
    folder = tmp_path_factory.mktemp("drawn")
    parts = [
        f"plt.close('all')\n{program}\nplt.savefig('{name}.png')"
        for name, (program, _) in DRAWINGS.items()
    ]
    assert draw(folder, "\n".join(parts)) == ""
    return folder


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_data_is_what_was_drawn(drawn: Path, name: str) -> None:
    assert data(drawn / f"{name}.csv") == DRAWINGS[name][1]


def test_what_has_no_data_of_that_kind_is_saved_without(tmp_path: Path) -> None:
    assert draw(tmp_path, "plt.imshow([[1, 2], [3, 4]])\nplt.savefig('f.png')") == ""
    assert names(tmp_path) == ["f.png"]


def test_figures_that_nobody_saved_are_saved(tmp_path: Path) -> None:
    (tmp_path / "figure_2.png").write_text("taken")
    program = (
        "plt.plot([1, 2])\nplt.show()\nplt.figure()\nplt.plot([3])\nplt.savefig('mine.png')\n"
        "plt.figure()\nplt.plot([4])\nplt.figure()"
    )
    draw(tmp_path, program)
    assert names(tmp_path) == [
        "figure_1.csv", "figure_1.png", "figure_2.png", "figure_3.csv", "figure_3.png", "mine.csv", "mine.png",
    ]  # fmt: skip
    assert (tmp_path / "figure_2.png").read_text() == "taken"


def test_a_file_of_the_program_is_never_overwritten_and_one_of_ours_is(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("mine\n")
    draw(tmp_path, "plt.plot([1])\nplt.savefig('f.png')")
    assert (tmp_path / "f.csv").read_text() == "mine\n"
    assert data(tmp_path / "f.data.csv") == [["1", "line 1", "0", "1"]]
    draw(tmp_path, "plt.plot([2])\nplt.savefig('f.png')")
    assert data(tmp_path / "f.data.csv") == [["1", "line 1", "0", "2"]]
    (tmp_path / "f.data.csv").write_text("mine too\n")
    assert "its names are taken" in draw(tmp_path, "plt.plot([2])\nplt.savefig('f.png')")


def test_a_figure_that_is_not_saved_in_the_folder_leaves_nothing_there(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    draw(
        inside,
        f"import io\nplt.plot([1])\nplt.savefig({str(outside / 'f.png')!r})\nplt.close('all')",
    )
    assert (names(inside), names(outside)) == ([], ["f.png"])


def test_objects_that_raise_do_not_break_saving(tmp_path: Path) -> None:
    program = (
        "class Bad:\n    def __str__(self):\n        raise ValueError('no')\n    __repr__ = __str__\n"
        "plt.plot([1], [2])[0]._label = Bad()\nplt.plot([3], [4], label='ok')\nplt.savefig('f.png')\n"
        "plt.figure()\nplt.plot([1])\nplt.gca().get_lines = Bad()"
    )
    said = draw(tmp_path, program)
    assert data(tmp_path / "f.csv") == [["1", "line 1", "1", "2"], ["1", "ok", "3", "4"]]
    assert "a part of a chart has no data: TypeError" in said
    assert (tmp_path / "figure_1.png").read_bytes().startswith(PNG)


def test_the_data_ends_after_a_hundred_thousand_rows(tmp_path: Path) -> None:
    said = draw(tmp_path, "plt.plot(range(150_000))\nplt.savefig('f.png')")
    assert len(data(tmp_path / "f.csv")) == 100_000
    assert "ends after 100000 rows" in said


def test_names_of_the_data_stay_on_one_line(tmp_path: Path) -> None:
    draw(
        tmp_path,
        "plt.plot([1], [2], label='a\\nb, \"c\"')\nplt.title('t\\nu')\nplt.savefig('f.png')",
    )
    assert data(tmp_path / "f.csv") == [["t u", 'a b, "c"', "1", "2"]]


def test_many_open_figures_are_not_all_saved(tmp_path: Path) -> None:
    program = "import matplotlib\nmatplotlib.rcParams['figure.max_open_warning'] = 0\n"
    program += "for n in range(12):\n    plt.figure(figsize=(1, 1), dpi=30)\n    plt.plot([n])"
    assert "2 more open figures were not saved" in draw(tmp_path, program)


def test_a_program_without_matplotlib_is_left_alone(tmp_path: Path) -> None:
    code = (
        f"import sys\nsys.path.insert(0, {str(CONFINED)!r})\nimport charts\ncharts.install()\n"
        "charts.save_open_figures()\nassert 'matplotlib' not in sys.modules"
    )
    subprocess.run([PYTHON, "-I", "-c", code], cwd=tmp_path, check=True, timeout=20)
