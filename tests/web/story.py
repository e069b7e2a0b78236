"""A run as a script for the fake model server: two agents side by side, then a program that a person looks at."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer

TASK: Final = "Compare EU and US heat-pump sales 2019–2025, model the trend, and draft a one-page brief with a chart."
FIND: Final = "Find sales figures, EU and US"
COLLECT: Final = "Collect subsidy and price series"
DRAW: Final = "Fit the trend and draw the chart"

PROGRAM: Final = """\
import csv
import matplotlib.pyplot as plt

years = [2019, 2020, 2021, 2022, 2023, 2024, 2025]
eu = [1.6, 1.7, 2.2, 3.0, 2.6, 2.2, 2.3]
us = [3.1, 3.4, 3.9, 4.3, 3.6, 4.1, 4.1]

with open("sales.csv", "w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["year", "eu_million", "us_million"])
    rows.writerows(zip(years, eu, us))

figure, axes = plt.subplots(figsize=(7, 4))
axes.plot(years, us, marker="o", color="#c07a2c", label="US")
axes.plot(years, eu, marker="o", color="#3b5fc0", label="EU")
axes.set_ylabel("million units")
axes.legend(frameon=False)
figure.savefig("trend.png", dpi=130, bbox_inches="tight")
print("EU fell from 3.0 to 2.3 million units between 2022 and 2025.")
"""

RESEARCH: Final = """\
Looking for primary sources first. The European association publishes unit sales each spring; for the US the \
industry shipment report is the usual reference.

**EU:** 1.6 M (2019) → 3.0 M (2022) → 2.3 M (2025). **US:** 3.1 M → 4.3 M → 4.1 M. [1]
"""

PRICES: Final = """\
Pulling energy-price series. Gas-to-power price ratio explains most of the dip:

| Year | EU ratio | US ratio |
|---|---|---|
| 2022 | 3.1 | 2.4 |
| 2025 | 2.2 | 2.5 |

Subsidy resets came a quarter before each fall in sales. [1]
"""

ANSWER: Final = """\
## Heat pumps: a dip, not a turn

EU sales rose from **1.6 M to 3.0 M** between 2019 and 2022, then fell to **2.3 M** in 2025. US sales were steadier \
(**3.1 M → 4.1 M**). [1]

The EU dip is associated with the gas-to-power price ratio and with subsidy resets rather than with falling demand: \
where the ratio fell below 2.3, sales fell within two quarters.

![Sales by year](trend.png)

### What to watch

1. The subsidy calendar of the three largest markets
2. The spread between household power and gas prices
3. Installer capacity, which did **not** shrink
"""

DOCUMENT: Final = """\
# Heat pump sales, Europe and United States

The European association counts heat pump unit sales each spring: 1.6 million in 2019, 3.0 million in 2022 and 2.3
million in 2025. The industry shipment report of the United States has 3.1 million in 2019, 4.3 million in 2022 and 4.1
million in 2025. Sales figures include air-to-air units only where they are the main heating.
"""

USAGE: Final = {
    "research": TokenUsage(6120, 512, 1024),
    "prices": TokenUsage(5480, 430),
    "program": TokenUsage(4210, 640),
    "answer": TokenUsage(7350, 480, 2048),
}


@dataclass
class Story:
    """The gates of the script: each answer is held at its gate until the test opens it."""

    server: FakeModelServer
    gates: dict[str, asyncio.Event]

    def open(self, *names: str) -> None:
        """Let answers go."""
        for name in names:
            self.gates[name].set()

    def open_all(self) -> None:
        """Let everything go."""
        self.open(*self.gates)


def tell(server: FakeModelServer, *, held: bool = True) -> Story:
    """Add the rules of the story to a server; `held`: with gates in the middle of what is streamed."""
    names = ("research", "prices", "program", "answer")
    gates = {name: server.event(name) for name in names} if held else {}

    def gate(name: str, after: int) -> dict[str, object]:
        return {"gate": name, "gate_after": after} if held else {}

    def worker(task: str, **more: object) -> When:
        return When(schema=False, user=f"<assignment>\n{task}\n", **more)  # type: ignore[arg-type]

    look = ("search_documents", {"query": "heat pump sales"})
    server.add(
        Rule(
            when=When(schema=True),
            reply=Reply.route(
                ("researcher", FIND),
                ("analyst", COLLECT),
                reason="Sales and prices can be looked up side by side.",
            ),
            times=1,
        ),
        Rule(
            when=When(schema=True),
            reply=Reply.route(("coder", DRAW), reason="The numbers are there; now the trend."),
            times=1,
        ),
        Rule(when=When(schema=True), reply=Reply.route(reason="Every part of the task is there.")),
        Rule(when=worker(FIND, after_tool=False), reply=Reply.calls(look)),
        Rule(
            when=worker(FIND, after_tool=True),
            reply=Reply(text=RESEARCH, usage=USAGE["research"]),
            **gate("research", 34),  # type: ignore[arg-type]
        ),
        Rule(
            when=worker(COLLECT, after_tool=False),
            reply=Reply.calls(("describe_table", {"path": "prices.csv"})),
        ),
        Rule(
            when=worker(COLLECT, after_tool=True),
            reply=Reply(text=PRICES, usage=USAGE["prices"]),
            **gate("prices", 26),  # type: ignore[arg-type]
        ),
        Rule(
            when=worker(DRAW, after_tool=False),
            reply=Reply(
                text="Fitting a trend per region, then plotting both.",
                tool_calls=Reply.calls(("run_python", {"code": PROGRAM})).tool_calls,
                usage=USAGE["program"],
            ),
        ),
        Rule(
            when=worker(DRAW, after_tool=True),
            reply=Reply(
                text="The chart is in trend.png, the table in sales.csv: EU fell from 3.0 to 2.3 million units."
            ),
            **gate("program", 4),  # type: ignore[arg-type]
        ),
        Rule(
            when=When(schema=False, system="^Write the final answer"),
            reply=Reply(text=ANSWER, usage=USAGE["answer"]),
            **gate("answer", 30),  # type: ignore[arg-type]
        ),
    )
    return Story(server, gates)
