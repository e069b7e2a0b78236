"""The `signalbox` command with fault points: `python -m tests.chaos.launcher serve …`.

The plan is read from the working folder; without one the command is what it always is.
"""

from __future__ import annotations

from pathlib import Path

from tests.chaos.faults import FaultPoints, count_postgres, count_sqlite


def main() -> None:
    """Wrap the drivers before the product imports them, then run the command."""
    points = FaultPoints(Path.cwd())
    count_sqlite(points)
    count_postgres(points)
    from service.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
