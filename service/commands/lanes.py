"""Shows on a terminal who is at work: a lane for each agent below the lines that scroll by."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from domain.errors import RunFailedError
from domain.unseen import plain_line
from service.commands.progress import Look, Progress
from service.settings import environment, wants_colour

REFRESH_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 1.0
"""How often it is asked what was spent: events tell of that only when an agent is done."""

STILL: Final = frozenset({"", "dumb", "unknown"})
"""Terminals whose lines cannot be rewritten."""


def make_progress(*, quiet: bool = False, replayed: bool = False, json_: bool = False) -> Progress:
    """Return what shows a run: lanes where there is a terminal for them, else lines; `json_`: events go to stdout,
    which may be the same terminal."""
    still = environment(dotenv=False).get("TERM", "") in STILL
    if quiet or still or not sys.stderr.isatty() or (json_ and sys.stdout.isatty()):
        return Progress(quiet=quiet, replayed=replayed)
    return Lanes(replayed=replayed)


@dataclass
class Lane:
    """An agent at work on one assignment."""

    agent: str
    task: str
    since: float = field(default_factory=time.monotonic)
    doing: str = "begins"


class Lanes(Progress):
    """Prints lines above, and below them a lane for each agent at work: what it does, tokens, cost, time."""

    def __init__(self, *, replayed: bool = False) -> None:
        super().__init__(replayed=replayed)
        self._lanes: dict[str, Lane] = {}
        self._since = time.monotonic()
        self._usage: dict[str, Any] = {}
        self._state = "begins"
        self._console = Console(
            file=sys.stderr,
            force_terminal=True,
            no_color=not wants_colour(),
            markup=False,
            emoji=False,
            highlight=False,
        )
        # What the command itself prints goes through the console; nothing else may take stdout's place.
        self._live = Live(
            console=self._console,
            get_renderable=self.table,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def begin(self, run: dict[str, Any], *, at: str | None = None) -> None:
        """Say which run begins, and open the lanes."""
        super().begin(run, at=at)
        self.open()

    def end(self, run: dict[str, Any]) -> None:
        """Take the lanes away and say how the run ended."""
        self.close()
        super().end(run)

    def open(self) -> None:
        """Show the lanes."""
        self._live.start()

    def close(self) -> None:
        """Take the lanes away."""
        self._live.stop()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Take the lanes away while somebody types; who speaks meanwhile is heard above."""
        was = self._live.is_started
        self._live.stop()
        try:
            yield
        finally:
            if was:
                self._live.start()

    async def tick(self, look: Look) -> None:
        """Keep the lanes up to date, until cancelled; `look` returns the run."""
        asked = 0.0
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            if time.monotonic() - asked >= LOOK_SECONDS:
                with suppress(httpx.HTTPError, RunFailedError):
                    self._usage = (await look())["usage"]
                asked = time.monotonic()
            self._refresh()

    def show(self, event: dict[str, Any]) -> None:
        """Show one event of the stream."""
        self._note(event)
        super().show(event)
        if event["type"] != "message.delta":  # of those there are hundreds in a second
            self._refresh()

    def _refresh(self) -> None:
        if self._live.is_started:
            self._live.refresh()

    def _note(self, event: dict[str, Any]) -> None:
        type_, data = event["type"], event["data"]
        if type_ == "agent.started":
            self._lanes[event["path"]] = Lane(event["agent"], data["task"])
        elif type_ in {"agent.completed", "agent.failed"}:
            self._lanes.pop(event["path"], None)
        elif type_ == "usage.updated":
            self._usage = {**self._usage, **data["usage"]}
        elif type_ == "run.requires_action":
            self._state = "waits for a decision"
        elif type_.startswith("run."):
            self._state = "at work"
        lane = self._lane_of(event)
        doing = _DOING.get(type_)
        if lane and doing:
            lane.doing = doing(data)

    def _lane_of(self, event: dict[str, Any]) -> Lane | None:
        if event["type"] == "message.delta":
            # A token names its message alone, whose id has the path in it.
            return self._lanes.get(event["data"]["message_id"].partition(".")[2].rpartition(".")[0])
        return self._lanes.get(event.get("path") or "")

    def table(self) -> Table:
        """Return the lanes as they stand."""
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(justify="right", no_wrap=True, width=10)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        now = time.monotonic()
        for path, lane in self._lanes.items():
            spent = self._usage.get("by_agent", {}).get(lane.agent, {})
            grid.add_row(
                Text(plain_line(path), style=self.colour_of(lane.agent)),
                Text(f"▶ {plain_line(lane.doing)}"),
                Text(_figures(spent, now - lane.since), style="dim"),
            )
        grid.add_row(
            Text("run", style="bold"),
            Text(self._state),
            Text(_figures(self._usage, now - self._since), style="dim"),
        )
        return grid

    def write(self, agent: str, line: str) -> None:
        """Write a line above the lanes."""
        name = (f"{agent:>10}", self.colour_of(agent))
        self._console.print(Text.assemble(name, f" | {line}"), soft_wrap=True)


def _figures(usage: dict[str, Any], seconds: float) -> str:
    """Return what was spent, as far as it is known, and for how long."""
    minutes, rest = divmod(int(seconds), 60)
    shown = [f"{minutes}:{rest:02}"]
    if usage:
        tokens = usage["input_tokens"] + usage["output_tokens"]
        known = usage["cost_known"] and usage["cost_usd"] is not None
        shown = [f"{tokens:,} tokens", f"${usage['cost_usd']}" if known else "cost unknown", *shown]
    return "  ".join(shown)


_DOING: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "agent.started": lambda _: "begins",
    "agent.retrying": lambda data: f"tries again: {data['reason']}",
    "message.delta": lambda _: "writes",
    "message.completed": lambda _: "thinks",
    "tool.started": lambda data: data["tool"],
    "tool.completed": lambda _: "thinks",
    "tool.failed": lambda _: "thinks",
    "approval.requested": lambda data: f"waits: {data['approval']['description']}",
    "approval.resolved": lambda _: "goes on",
}
