"""Shows a run's events to a person, a line at a time, whoever speaks in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from domain.unseen import plain_line
from service.settings import wants_colour

SHOWN_ARGS: Final = 100
COLOURS: Final = {"cyan": 36, "yellow": 33, "magenta": 35, "green": 32, "blue": 34}
COLOUR_NAMES: Final = tuple(COLOURS)

VOIDING: Final = frozenset({"agent.retrying", "run.resumed"})
"""After these, what was half said does not count."""

Look = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the run as it stands."""


class Progress:
    """Prints events on stderr; tokens are gathered into lines, so that parallel agents stay readable."""

    def __init__(self, *, quiet: bool = False, replayed: bool = False) -> None:
        self._quiet = quiet
        self._replayed = replayed
        self._colour = sys.stderr.isatty() and wants_colour()
        self._lines: dict[str, str] = {}
        self._agents: list[str] = []

    def begin(self, run: dict[str, Any], *, at: str | None = None) -> None:
        """Say which run begins, and at which server where the command has not started it."""
        self.say("signalbox", f"{run['id']} accepted" + (f" by {at}" if at else ""))
        if run["engine"] == "offline" and not self._replayed:
            self.say(
                "signalbox", "no language model is configured: the offline planner does the work"
            )

    def end(self, run: dict[str, Any]) -> None:
        """Say how the run ended."""
        usage = run["usage"]
        rounds = "1 round" if run["rounds"] == 1 else f"{run['rounds']} rounds"
        tokens = usage["input_tokens"] + usage["output_tokens"]
        cost = f"${usage['cost_usd']}" if usage["cost_known"] else "cost unknown"
        self.say("signalbox", f"{run['status']} after {rounds}, {tokens} tokens, {cost}")
        for part in run["degraded"]:
            self.say("signalbox", f"missing: {part['agent']}: {part['reason']}")
        if run["error"]:
            self.say("signalbox", f"{run['error']['code']}: {run['error']['detail']}")

    def show(self, event: dict[str, Any]) -> None:
        """Show one event of the stream."""
        agent = event.get("agent") or "signalbox"
        type_, data = event["type"], event["data"]
        if type_ == "message.delta":
            self._token(agent, data)
        elif type_ == "message.snapshot":
            self._lines.pop(data["message_id"], None)
            self._token(agent, data)
        elif type_ == "message.completed":
            self._flush(agent, data["message_id"])
        else:
            if type_ in VOIDING:
                self._lines.clear()
            text = _describe(type_, data)
            if text:
                self.say(agent, text)

    def _token(self, agent: str, data: dict[str, Any]) -> None:
        whole = self._lines.get(data["message_id"], "") + data["text"]
        *lines, rest = whole.split("\n")
        for line in lines:
            self.say(agent, f"  {line}")
        self._lines[data["message_id"]] = rest

    def _flush(self, agent: str, message_id: str) -> None:
        rest = self._lines.pop(message_id, "")
        if rest:
            self.say(agent, f"  {rest}")

    def insist(self, text: str) -> None:
        """Print a line that waits for somebody, also where nothing else is shown."""
        self._print("signalbox", text)

    def say(self, agent: str, text: str) -> None:
        """Print a line in an agent's name."""
        if not self._quiet:
            self._print(agent, text)

    def _print(self, agent: str, text: str) -> None:
        self.write(agent, plain_line(text))

    def write(self, agent: str, line: str) -> None:
        """Write a line that hides nothing."""
        name = f"{agent:>10}"
        if self._colour:
            name = f"\x1b[{COLOURS[self.colour_of(agent)]}m{name}\x1b[0m"
        print(f"{name} | {line}", file=sys.stderr, flush=True)  # noqa: T201 - the command's own output

    def colour_of(self, agent: str) -> str:
        """Return the colour of an agent's name, which it keeps."""
        if agent not in self._agents:
            self._agents.append(agent)
        return COLOUR_NAMES[self._agents.index(agent) % len(COLOUR_NAMES)]

    async def tick(self, look: Look) -> None:
        """Keep what moves up to date, until cancelled."""

    def open(self) -> None:
        """Show what moves."""

    def close(self) -> None:
        """Take away what moves."""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Keep still while somebody types."""
        yield


def _describe(type_: str, data: dict[str, Any]) -> str:
    """Return the sentence for an event; empty for one that says nothing to a person."""
    describe = _SENTENCES.get(type_)
    return describe(data) if describe else ""


def _decision(data: dict[str, Any]) -> str:
    names = ", ".join(a["agent"] for a in data["assignments"])
    return f"-> {names or 'finish'}: {data['reason']}"


def _tool_call(data: dict[str, Any]) -> str:
    return f"calls {data['tool']}({_short(json.dumps(data['args'], ensure_ascii=False))})"


def _failure(data: dict[str, Any]) -> str:
    return f"{data.get('tool', 'failed')}: {_short(data['detail'])}"


def _decided(data: dict[str, Any]) -> str:
    decision = data["approval"]["decision"]
    return f"decided: {decision['type']}" if decision else "nobody decided in time"


_SENTENCES: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "supervisor.decision": _decision,
    "agent.started": lambda data: f"works on: {_short(data['task'])}",
    "agent.completed": lambda _: "done",
    "agent.failed": _failure,
    "agent.retrying": lambda d: f"tries again in {d['delay_seconds']:g} s: {d['reason']}",
    "tool.started": _tool_call,
    "tool.completed": lambda data: f"{data['tool']} answered in {data['duration_ms']} ms",
    "tool.failed": _failure,
    "cache.hit": lambda d: f"reuses the work of {d['run_id']}, {d['age']} s old",
    "validation.completed": lambda d: _short(": ".join([d["verdict"], *d["reasons"][:1]])),
    "run.requires_action": lambda _: "waits for a decision",
    "approval.resolved": _decided,
    "approval.expired": _decided,
    "note.added": lambda d: f"is told by {d['note']['by']}: {_short(d['note']['text'])}",
    "action.in_doubt": lambda d: f"in doubt: {d['action']['tool']}: {_short(d['detail'])}",
}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_ARGS else f"{line[:SHOWN_ARGS]}…"


def say(text: str) -> None:
    """Print a line in the command's own name."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's own output
