"""The generated part of docs/costs.md: `python -m tests.docs.cost_page` writes it anew."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from monitoring.costs import PriceTable
from tests.conftest import ROOT
from tests.docs.typical_runs import RUNS, TypicalRun, carry_out
from tests.fakes.model_script import ModelRequest

PAGE: Final = ROOT / "docs" / "costs.md"
BEGIN: Final = "<!-- begin: written by `python -m tests.docs.cost_page` -->\n"
END: Final = "<!-- end -->\n"

MODELS: Final = (
    "openai:gpt-4o-mini",
    "openai:gpt-4.1",
    "openai:gpt-5",
    "anthropic:claude-sonnet-4-6",
    "google_genai:gemini-2.5-flash",
)
CACHING: Final = frozenset({"openai", "google_genai"})
"""The providers that cache what prompts begin with unasked."""

DIRECTING: Final = ("supervisor", "validator")
"""Those who do not work on the task themselves; the answer is the supervisor's."""


class Measured(NamedTuple):
    """What a typical run came to."""

    run: TypicalRun
    usage: dict[str, Any]
    requests: list[ModelRequest]

    @property
    def directing(self) -> Decimal:
        """Return the part of the tokens that supervisor, validator and answer have."""
        shares = [share for name, share in self.usage["by_agent"].items() if name in DIRECTING]
        return Decimal(sum(map(tokens, shares))) / tokens(self.usage)

    def cost(self, model: str, prices: PriceTable) -> Decimal:
        """Return what it costs on a model."""
        cached = self.usage["cached_tokens"] if model.partition(":")[0] in CACHING else 0
        cost = prices.cost(
            model,
            input_tokens=self.usage["input_tokens"],
            output_tokens=self.usage["output_tokens"],
            cached_tokens=cached,
        )
        assert cost is not None, f"the price of {model} is not known"
        return cost


def tokens(share: dict[str, Any]) -> int:
    """Return the tokens of both directions."""
    return int(share["input_tokens"] + share["output_tokens"])


def directing(measured: Sequence[Measured]) -> Decimal:
    """Return the part of the tokens of all runs together that supervisor, validator and answer have."""
    all_ = [tokens(each.usage) for each in measured]
    theirs = [each.directing * of for each, of in zip(measured, all_, strict=True)]
    return sum(theirs, Decimal(0)) / sum(all_)


async def measure(folder: Path) -> list[Measured]:
    """Carry out all typical runs."""
    found = []
    for number, run in enumerate(RUNS):
        ended, models = await carry_out(run, folder / str(number))
        found.append(Measured(run, ended["usage"], models.requests))
    return found


def write_tables(measured: Sequence[Measured]) -> str:
    """Return the tables of the page."""
    prices = PriceTable()
    lines = [
        "| Run | Rounds | Calls | Input | of it cached | Output | Supervisor, validator and answer |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in measured:
        usage = each.usage
        figures = (
            *(len(each.run.rounds), usage["calls"], usage["input_tokens"], usage["cached_tokens"]),
            *(usage["output_tokens"], f"{each.directing:.0%}"),
        )
        lines.append(f"| {each.run.name} | {' | '.join(map(str, figures))} |")
    lines.append(f"| together | | | | | | {directing(measured):.0%} |")
    names = [f"`{model}`" for model in MODELS]
    lines += ["", f"| Run | {' | '.join(names)} |", "|---" * (len(MODELS) + 1) + "|"]
    for each in measured:
        costs = [f"${each.cost(model, prices):.4f}" for model in MODELS]
        lines.append(f"| {each.run.name} | {' | '.join(costs)} |")
    return "\n".join(lines) + "\n"


def replace_tables(page: str, tables: str) -> str:
    """Return the page with these tables in the place of those it has."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{PAGE.name} has lost its marks {BEGIN!r} and {END!r}"
    return f"{before}{BEGIN}{tables}{END}{after}"


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(measure(Path(folder)))
    page = replace_tables(PAGE.read_text(encoding="utf-8"), write_tables(measured))
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written.\n")


if __name__ == "__main__":
    main()
