"""The generated part of docs/faults.md: `python -m tests.docs.fault_page` writes it anew."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.conftest import ROOT
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running
from tests.integration.checking import verdict
from tests.integration.team_script import composer, worker

PAGE: Final = ROOT / "docs" / "faults.md"
BEGIN: Final = "<!-- begin: written by `python -m tests.docs.fault_page` -->\n"
END: Final = "<!-- end -->\n"

FAULTS: Final[dict[str, Reply]] = {
    "429 with `Retry-After`": Reply.error(429, retry_after="0"),
    "500": Reply.error(500),
    "401": Reply.error(401),
    "no answer in time": Reply(fault="hang"),
    "a stream that ends early": Reply(text="Half of it all", fault="truncate"),
    "a malformed chunk": Reply(text="Some words here", fault="malformed"),
    "a broken connection": Reply(text="Some words here", fault="disconnect"),
    "an empty answer": Reply(fault="empty"),
    "a page of HTML": Reply(text="x", fault="not_json"),
    "content filter": Reply(text="x", fault="content_filter"),
    "cut off at its length": Reply(text='{"reason": "because of', fault="length"),
    "JSON that means nothing": Reply.garbage_route(),
}
"""What a provider does wrong, and how the fake one does it."""

AGENTS: Final = ("researcher", "coder", "analyst")
OTHER: Final = {"researcher": "analyst", "coder": "analyst", "analyst": "coder"}
"""Who works beside the one whose call fails, and has no fault."""

WHOSE: Final[dict[str, When]] = {
    "supervisor": When(schema=True, system="^You supervise"),
    **{name: When(schema=False, user="<assignment>\nFail\n") for name in AGENTS},
    "validator": When(schema=True, system="^You check"),
}


class Case(NamedTuple):
    """A fault, and whose call it meets: the first alone, or each."""

    fault: str
    whose: str
    once: bool


class Came(NamedTuple):
    """What a run came to."""

    run: dict[str, Any]
    retries: int

    def tell(self) -> str:
        """Return it in a cell."""
        run, usage = self.run, self.run["usage"]
        error = f" `{run['error']['code']}`" if run["error"] else ""
        missing = sorted({part["agent"] for part in run["degraded"]})
        told = [f"{run['status']}{error}"]
        if missing:
            told.append(f"{', '.join(missing)} named as missing")
        if self.retries:
            told.append(f"{self.retries} {'retry' if self.retries == 1 else 'retries'}")
        unmetered = usage["unmetered_calls"]
        calls = f"{usage['calls']} call{'' if usage['calls'] == 1 else 's'}"
        told.append(f"{calls} ({unmetered} unmetered)" if unmetered else calls)
        return " · ".join(told)


def cases() -> Iterator[Case]:
    """Yield every fault at every one who calls a model."""
    for fault in FAULTS:
        for whose in WHOSE:
            yield from (Case(fault, whose, once=True), Case(fault, whose, once=False))


async def carry_out(product: Product, models: FakeModelServer, case: Case) -> Came:
    """Run two agents side by side, checked by the validator, with one fault."""
    who = case.whose if case.whose in AGENTS else "coder"
    route = Reply.route((who, "Fail"), (OTHER[who], "Work"))
    times = 1 if case.once else None
    models.rules.clear()
    models.add(
        Rule(when=WHOSE[case.whose], reply=FAULTS[case.fault], times=times, optional=True),
        Rule(
            when=When(schema=True, user="<results>", system="^You supervise"), reply=Reply.route()
        ),
        Rule(when=When(schema=True, system="^You supervise"), reply=route),
        Rule(when=When(schema=True, system="^You check"), reply=Reply.json(verdict())),
        worker("Fail", Reply(text="It is done.")),
        worker("Work", Reply(text="It is done too.")),
        composer(Reply(text="All of it is done.")),
    )
    created = await product.client.post("/v1/runs", json={"task": "Do it", "validation": "on"})
    run = await product.ended(created.json()["id"])
    retries = [e for e in await product.events(run["id"]) if e["type"] == "agent.retrying"]
    return Came(run, len(retries))


async def measure() -> dict[Case, Came]:
    """Return what each case came to."""
    came: dict[Case, Came] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with FakeModelServer() as models:
            settings: dict[str, Any] = {
                "database_url": "memory://",
                "model_timeout": 1.5,
                "sandbox": "off",
                "search_keyless": False,
                "knowledge_dir": ROOT / "docs" / "decisions",
                "OPENAI_BASE_URL": models.base_url,
            }
            async with running(Path(folder) / "data", **settings) as product:
                setattr(product.services.gateway, "first_delay_seconds", 0.0)  # noqa: B010 - it is final
                for case in cases():
                    came[case] = await carry_out(product, models, case)
    return came


def write_table(came: dict[Case, Came]) -> str:
    """Return the table of all cases."""
    rows = ["| Fault | Whose call | The first call only | Every call |", "|---|---|---|---|"]
    for fault in FAULTS:
        for place, whose in enumerate(WHOSE):
            once, ever = (came[Case(fault, whose, once)].tell() for once in (True, False))
            rows.append(f"| {'' if place else fault} | {whose} | {once} | {ever} |")
    return "\n".join(rows) + "\n"


def replace_table(page: str, table: str) -> str:
    """Return the page with this table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    """Write the page anew."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replace_table(page, write_table(asyncio.run(measure()))), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
