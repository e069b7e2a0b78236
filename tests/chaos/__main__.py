"""The chaos kit: `python -m tests.chaos --mode every-write` or `--mode survive`; `make chaos` calls it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from tests.chaos import every_write, survive
from tests.chaos.places import Places

DATABASES: Final = ("sqlite", "postgres")


def main() -> int:
    """Run one mode; return 0 where everything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--mode", choices=("every-write", "survive"), default="every-write")
    parser.add_argument("--every", type=int, default=1, help="take each K-th write only")
    parser.add_argument("--databases", default=",".join(DATABASES), help="sqlite, postgres or both")
    parser.add_argument("--markdown", action="store_true", help="print the tables for a document")
    parser.add_argument(
        "--cases", default="", help="survive: only these, by the names of functions"
    )
    args = parser.parse_args()
    databases = args.databases.split(",")
    if not set(databases) <= set(DATABASES):
        parser.error(f"--databases takes {' and '.join(DATABASES)}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Places(Path(folder)) as places:
        if args.mode == "survive":
            names = args.cases.split(",") if args.cases else []
            return _survive(places, names, markdown=args.markdown)
        return _strike(places, databases, every=args.every, markdown=args.markdown)


def _strike(places: Places, databases: list[str], *, every: int, markdown: bool) -> int:
    strikes = every_write.strike_all(places, databases, every=every, say=click.echo)
    if markdown:
        click.echo(every_write.as_markdown(strikes))
    click.echo(every_write.summary(strikes))
    return int(any(row.faults for each in strikes for row in each.rows))


def _survive(places: Places, names: list[str], *, markdown: bool) -> int:
    known = {case.__name__: case for case in survive.CASES}
    cases = [known[name] for name in names] or list(survive.CASES)
    rows = survive.survive(places, cases, say=click.echo)
    if markdown:
        click.echo(survive.as_markdown(rows))
    failed = sum(bool(row.faults) for row in rows)
    click.echo(f"{len(rows)} cases, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
