"""What it costs to run a program confined: beside a plain process of the same interpreter.

    python -m bench.sandbox --programs 30

Two programs, as an agent would send them: one that prints a line, and one that draws a chart of a table
with pandas and Matplotlib and saves it. Each is run by the warm sandbox and by a plain `python` that has
to import everything itself; they take turns, so a drifting machine hits both. The limits are
milliseconds, or on a slower machine the same share of what the plain process takes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.sandbox.fork_server import program_environment
from tools.sandbox.native import NativeSandbox, find_python

HELLO = "print('hello')"
CHART = """
import pandas as pd
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

table = pd.DataFrame({"month": ["Jan", "Feb", "Mar", "Apr"], "sales": [120, 135, 150, 149]})
table.plot.bar(x="month", y="sales", title="Sales")
plt.savefig("sales.png")
print(table.describe())
"""

LIMITS_MS = {"hello": 30.0, "chart": 250.0}
RATIOS = {"hello": 3.0, "chart": 0.31}
"""What these are of a plain process where one takes 10 ms and 800 ms: a slower machine is measured by that."""

WARM_UP = 3


async def confined(sandbox: NativeSandbox, code: str, workspace: Path) -> float:
    """Return the milliseconds that a program takes in the sandbox."""
    started = time.perf_counter()
    result = await sandbox.run(code, workspace)
    taken = (time.perf_counter() - started) * 1000
    assert result.fault is None, result
    assert result.limit is None, result
    return taken


def plain(python: Path, code: str, workspace: Path) -> float:
    """Return the milliseconds that a plain process takes."""
    started = time.perf_counter()
    subprocess.run(
        [str(python), "-c", code],
        cwd=workspace,
        env=program_environment(workspace)
        | {"MPLCONFIGDIR": str(python.parent.parent / "matplotlib")},
        check=True,
        capture_output=True,
    )
    return (time.perf_counter() - started) * 1000


async def measure(programs: int, folder: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return for each program the times in the sandbox and in a plain process."""
    python = find_python(None)
    samples: dict[str, tuple[list[float], list[float]]] = {"hello": ([], []), "chart": ([], [])}
    workspace = folder / "workspaces" / "t" / "r"
    sandbox = NativeSandbox(python, folder, places=2)
    started = time.perf_counter()
    await sandbox.open()
    opened = time.perf_counter()
    assert sandbox.state.backend == "native", sandbox.state.detail
    await sandbox.load()
    print(
        f"start and self-test {(opened - started) * 1000:.0f} ms, "
        f"libraries {(time.perf_counter() - opened) * 1000:.0f} ms ({sandbox.state.detail})"
    )
    try:
        for number in range(WARM_UP + programs):
            for name, code in (("hello", HELLO), ("chart", CHART)):
                pair = (
                    await confined(sandbox, code, workspace),
                    plain(python, code, workspace),
                )
                if number >= WARM_UP:
                    for found, taken in zip(samples[name], pair, strict=True):
                        found.append(taken)
    finally:
        await sandbox.aclose()
    return samples


def main() -> int:
    """Measure; exit 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "workspaces" / "t" / "r").mkdir(parents=True)
        samples = asyncio.run(measure(arguments.programs, Path(folder)))
    missed = False
    for name, (warm, alone) in samples.items():
        middle, beside = statistics.median(warm), statistics.median(alone)
        kept = middle <= max(LIMITS_MS[name], RATIOS[name] * beside)
        missed = missed or not kept
        print(
            f"{name:<6} median {middle:6.1f} ms, plain process {beside:6.1f} ms (x{middle / beside:.2f}), "
            f"limits {LIMITS_MS[name]:.0f} ms or x{RATIOS[name]:g} {'kept' if kept else 'MISSED'}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
