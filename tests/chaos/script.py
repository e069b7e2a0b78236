"""The run that is disturbed: two rounds, two agents at once, files, a program, a search, a check, an answer."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from tests.e2e.models import Models, agent
from tests.e2e.processes import BOUND
from tests.fakes.model_server import ModelRequest, Reply, Rule, When

TASK: Final = "Describe the five readings of the lighthouse and what it is built of"

ANSWER: Final = r"\AWrite the final answer"
VALIDATOR: Final = r"\AYou check the results"

ACCEPTED: Final = Reply.json(
    {
        "criteria": [],
        "disagreements": [],
        "verdict": "accept",
        "reasons": ["It holds."],
        "fixes": [],
    }
)

AGENTS: Final = ("analyst", "coder", "researcher")

DOCUMENT: Final = (
    "# The lighthouse at Fastnet\n\nThe Fastnet lighthouse stands on Fastnet Rock. "
    "The present tower was completed in 1904 and is built of Cornish granite.\n"
)

PACES: Final = {"supervisor": 0.12, "analyst": 0.12, "coder": 0.2, "researcher": 0.12}
"""Seconds an answer takes, as a model's would: without them a run is over before it has written much.
Two agents at once have paces of their own, so that their writes do not fall together."""

_MEAN: Final = "readings = [120, 135, 150, 149, 171]\nprint('mean', sum(readings) / len(readings))"

_SQUARES: Final = (
    "with open('squares.csv', 'w') as file:\n"
    "    for number in range(1, 6):\n"
    "        print(number, number * number, sep=',', file=file)\n"
    "print('5 rows')"
)

_TURNS: Final[dict[str, tuple[Reply, ...]]] = {
    "analyst": (
        Reply.calls(("run_python", {"code": _MEAN})),
        Reply(text="The mean of the five readings is 145."),
    ),
    "coder": (
        Reply.calls(
            ("write_file", {"path": "notes/plan.md", "content": "# Plan\n\nSquares, then text.\n"})
        ),
        Reply.calls(("run_python", {"code": _SQUARES})),
        Reply(text="The squares of 1 to 5 are in squares.csv."),
    ),
    "researcher": (
        Reply.calls(("search_documents", {"query": "Fastnet lighthouse granite"})),
        Reply(text="The tower is built of Cornish granite [1]."),
    ),
}


Answer = Callable[[ModelRequest], Reply]
"""What answers a model call."""


class Pace(asyncio.Event):
    """A gate that opens for everybody after a while: the time a model takes to think."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def wait(self) -> Literal[True]:
        """Return when the time is over."""
        await asyncio.sleep(self._seconds)
        return True


def script(models: Models, paces: dict[str, float] | None = None) -> None:
    """Teach a fake model server the run; it answers the same for every task."""
    teach(
        models,
        route=_route,
        agents=[
            Rule(when=When(system=agent(name)), reply=_turn(name), gate=name, name=name)
            for name in AGENTS
        ],
        answer="The mean is 145, and the tower is built of Cornish granite [1].",
        paces=paces,
    )


def teach(
    models: Models,
    *,
    route: Answer,
    agents: Sequence[Rule],
    answer: str,
    paces: Mapping[str, float] | None = None,
) -> None:
    """Teach a fake model server a run: what its supervisor decides, its agents say, and its answer."""
    for name, seconds in (PACES if paces is None else paces).items():
        models.server.gates[name] = Pace(seconds)
    models.add(
        Rule(
            when=When(schema=True, system=VALIDATOR),
            reply=ACCEPTED,
            gate="supervisor",
            name="check",
        ),
        Rule(when=When(schema=True), reply=route, gate="supervisor", name="route"),
        *agents,
        Rule(when=When(system=ANSWER), reply=Reply(text=answer), gate="supervisor", name="answer"),
    )


def _route(request: ModelRequest) -> Reply:
    if 'round="2"' in request.user:
        return Reply.route(reason="all is known")
    if 'round="1"' in request.user:
        return Reply.route(("researcher", "Look up what the lighthouse is built of"))
    return Reply.route(
        ("analyst", "Compute the mean of 120, 135, 150, 149 and 171"),
        ("coder", "Write a plan and a table of squares"),
    )


def _turn(name: str) -> Answer:
    return lambda request: _TURNS[name][turn_of(request)]


def turn_of(request: ModelRequest) -> int:
    """Return which of an agent's turns is asked for, from 0 on."""
    done: int = sum(message.get("role") == "assistant" for message in request.body["messages"])
    return done


class Held:
    """A model call of one run that waits, the first time it is made; tells when it is under way."""

    def __init__(self, models: Models, label: str, name: str, *, after_tool: bool) -> None:
        self._asked = threading.Event()
        gate = f"{label} {name}"
        self._open = models.gate(gate)
        self._reply = _turn(name)
        when = When(system=agent(name), user=re.escape(f"[{label}]"), after_tool=after_tool)
        rule = Rule(when=when, reply=self._answer, times=1, gate=gate, name=name)
        # In front: the first rule that matches answers.
        models.server.rules.insert(0, rule)

    def _answer(self, request: ModelRequest) -> Reply:
        self._asked.set()
        return self._reply(request)

    def wait(self) -> None:
        """Wait until the answer is being waited for."""
        assert self._asked.wait(BOUND), "the model was not asked"

    def release(self) -> None:
        """Let the answer go to whoever still waits for it."""
        self._open()


def asked_again(models: Models, label: str) -> list[str]:
    """Return whose model calls of a run were repetitions of one made before, one name for each."""
    calls = Counter(
        (request.rule, len(request.body["messages"]), request.user)
        for request in models.requests
        if label in request.user
    )
    return [str(rule) for (rule, _, _), times in calls.items() for _ in range(times - 1)]
