"""The chaos kit: `python -m tests.chaos --mode every-write`, `actions` or `survive`; `make chaos` calls it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import click

from tests.chaos import actions, every_write, survive
from tests.chaos.places import Places
from tests.chaos.scenario import OpenScenario, work

DATABASES: Final = ("sqlite", "postgres")

SCENARIOS: Final[dict[str, dict[str, OpenScenario]]] = {
    "every-write": {"work": work},
    "actions": {"in_turns": actions.in_turns, "at_once": actions.at_once},
}


def main() -> int:
    """Run one mode; return 0 where everything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--mode", choices=("every-write", "actions", "survive"), default="every-write"
    )
    parser.add_argument("--every", type=int, default=1, help="take each K-th write only")
    parser.add_argument("--databases", default=",".join(DATABASES), help="sqlite, postgres or both")
    parser.add_argument("--markdown", action="store_true", help="print the tables for a document")
    parser.add_argument(
        "--cases", default="", help="only these: scenarios, or in survive the names of functions"
    )
    args = parser.parse_args()
    databases = args.databases.split(",")
    if not set(databases) <= set(DATABASES):
        parser.error(f"--databases takes {' and '.join(DATABASES)}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Places(Path(folder)) as places:
        names = args.cases.split(",") if args.cases else []
        if args.mode == "survive":
            return _survive(places, names, markdown=args.markdown)
        known = SCENARIOS[args.mode]
        strike = partial(_strike, places, databases, every=args.every, markdown=args.markdown)
        # A list: what fails in the first scenario does not spare the second.
        return max([strike(name, known[name]) for name in names or known])


def _strike(
    places: Places,
    databases: list[str],
    name: str,
    scenario: OpenScenario,
    *,
    every: int,
    markdown: bool,
) -> int:
    click.echo(name)
    strikes = every_write.strike_all(
        places, databases, every=every, say=click.echo, scenario=scenario
    )
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
