"""The table of docs/choosing-agents.md: `python -m tests.docs.team_page` writes it anew."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from monitoring.costs import PriceTable
from tests.conftest import ROOT
from tests.docs.cost_page import Measured
from tests.docs.typical_runs import THREE, TypicalRun, carry_out

PAGE: Final = ROOT / "docs" / "choosing-agents.md"
BEGIN: Final = "<!-- begin: written by `python -m tests.docs.team_page` -->\n"
END: Final = "<!-- end -->\n"
MODEL: Final = "openai:gpt-4.1"

TASK: Final = (
    "What do the documents say about the tower, the lamp and the keepers of the lighthouse?"
)
PARTS: Final = [("researcher", f"Find out about the {each}") for each in THREE]


class Way(NamedTuple):
    """A way to divide the same work."""

    name: str
    rounds: Sequence[Sequence[tuple[str, str]]]


WAYS: Final = (
    Way("one assignment", [[("researcher", "Find out about everything")]]),
    Way("three assignments in one round", [PARTS]),
    Way("three rounds of one assignment", [[part] for part in PARTS]),
)


class Divided(NamedTuple):
    """What a way came to."""

    way: Way
    measured: Measured

    @property
    def in_a_row(self) -> int:
        """Return how many model calls wait for one another; those of one round's assignments do not."""
        calls: Counter[str] = Counter()
        for request in self.measured.requests:
            _, inside, assignment = request.user.rpartition("<assignment>\n")
            calls[assignment.partition("\n")[0] if inside else ""] += 1
        return calls[""] + sum(max(calls[task] for _, task in each) for each in self.way.rounds)


async def measure(folder: Path) -> list[Divided]:
    """Carry the work out in each way."""
    found = []
    for number, way in enumerate(WAYS):
        run = TypicalRun(name=way.name, task=TASK, rounds=way.rounds)
        ended, models = await carry_out(run, folder / str(number))
        found.append(Divided(way, Measured(run, ended["usage"], models.requests)))
    return found


def write_table(divided: Sequence[Divided]) -> str:
    """Return the table of the page."""
    lines = [
        f"| The same work as | Model calls | of them in a row | Input tokens | Output tokens | On `{MODEL}` |",
        "|---|---|---|---|---|---|",
    ]
    for each in divided:
        usage = each.measured.usage
        cost = each.measured.cost(MODEL, PriceTable())
        figures = (usage["calls"], each.in_a_row, usage["input_tokens"], usage["output_tokens"])
        lines.append(f"| {each.way.name} | {' | '.join(map(str, figures))} | ${cost:.4f} |")
    return "\n".join(lines) + "\n"


def replace_table(page: str, table: str) -> str:
    """Return the page with this table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        divided = asyncio.run(measure(Path(folder)))
    page = replace_table(PAGE.read_text(encoding="utf-8"), write_table(divided))
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written.\n")


if __name__ == "__main__":
    main()
