"""A supervisor's model that does what it should not, and agents that answer the same, anew or never.

Everything follows from a seed, so that an oracle can tell what a run must come to.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from domain.agent import TIERS, AgentSpec, Tier
from tests.fakes.model_script import ModelRequest, Reply, Rule, When

Habit = Literal["same", "by_task", "changing", "failing", "flaky"]
"""How an agent answers: `same` the same to everything · `by_task` the same to the same task · `changing`
anew each time · `failing` never · `flaky` to a task when it is given again."""

Shape = Literal["json", "fenced", "call", "compact", "unreadable", "refused"]
"""How the model brings a decision: three ways of JSON, `parallel:a,b`, not at all, or as HTTP 401."""

TEMPERS: Final = (
    *("random", "repeating", "alternating", "contradicting", "empty", "garbage", "gigantic"),
    *("duplicating", "raising", "exhausting"),
)

HABITS: Final[tuple[Habit, ...]] = ("same", "by_task", "changing", "failing", "flaky")

TASKS: Final = ("Find it", "find  it", "Check it", "CHECK it", "Write it", "Mend it")
"""Some of them are the same but for case and spaces."""

GARBAGE: Final = (
    *(
        "no",
        "{}",
        "[]",
        "null",
        '{"reason": 1, "assignments": []}',
        "parallel:",
        "parallel: a b",
    ),
    '{"reason": "r", "assignments": "all of them"}',
    '{"reason": "r", "assignments": [{"agent": "alef"}]}',
    '{"assignments": []}',
    "```json\n{broken\n```",
    '{"reason": "' + "x" * 40_000 + '", "assignments": []}',
)
"""What is no decision. An empty answer is not among it: that is a failed call, which is made again."""

MARK: Final = re.compile(r"run-(\d+)")


class Wanted(NamedTuple):
    """One assignment as the model words it."""

    agent: str
    task: str
    tier: str | None = None


class Said(NamedTuple):
    """One answer of the model."""

    shape: Shape
    wanted: tuple[Wanted, ...] = ()
    text: str = ""
    """What it says where that cannot be read."""
    last: object = None
    """What it says to whether these assignments are the last, if anything."""

    def reply(self) -> Reply:
        """Return it as the provider sends it."""
        route = {
            "reason": "It is finished." if not self.wanted else "More work.",
            "assignments": [
                {"agent": w.agent, "task": w.task, **({"tier": w.tier} if w.tier else {})}
                for w in self.wanted
            ],
            **({} if self.last is None else {"last": self.last}),
        }
        match self.shape:
            case "json":
                return Reply.json(route)
            case "fenced":
                return Reply(text=f"Here:\n```json\n{json.dumps(route)}\n```")
            case "call":
                return Reply.calls(("Route", route))
            case "compact":
                return Reply(text=f"parallel:{', '.join(w.agent for w in self.wanted)}")
            case "unreadable":
                return Reply(text=self.text)
            case "refused":
                return Reply.error(401)


@dataclass(kw_only=True)
class Script:
    """What happens in one run, and how often it was asked for."""

    number: int
    answers: tuple[Said, ...]
    """What the model says, question by question; the last of them for ever."""
    habits: dict[str, Habit]
    max_rounds: int
    max_tier: Tier
    agents: tuple[str, ...] | None
    temper: str = ""
    asked: int = 0
    composed: int = 0
    worked: Counter[str] = field(default_factory=Counter)
    """Calls by agent."""
    _times: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def task(self) -> str:
        """Return what the run is to do."""
        return f"Do run-{self.number}"

    def said(self, question: int) -> Said:
        """Return what the model answers to a question, counted from 0."""
        return self.answers[min(question, len(self.answers) - 1)]

    def work(self, agent: str, task: str) -> str | None:
        """Return what an agent answers, `None` where it fails."""
        self.worked[agent] += 1
        self._times[agent, task] += 1
        return answer_of(agent, task, self.habits[agent], self._times[agent, task])


def answer_of(agent: str, task: str, habit: Habit, time: int) -> str | None:
    """Return what an agent with that habit answers when it is given a task for the n-th time."""
    match habit:
        case "same":
            return f"{agent} is done."
        case "by_task":
            return f"{agent}: {task[:60]}."
        case "changing":
            return f"{agent}: {task[:60]}, version {time}."
        case "failing":
            return None
        case "flaky":
            return f"{agent}: {task[:60]}." if time > 1 else None


class Adversary:
    """All scripts of a test, behind one model server and one team."""

    def __init__(self) -> None:
        self.scripts: dict[int, Script] = {}
        self.team: Final = (
            # Two whose model is called, two that are graphs; two that are used up soon.
            AgentSpec(name="alef", description="Does it.", prompt="You are alef.", tier="fast"),
            AgentSpec(name="bet", description="Does it.", prompt="You are bet.", max_assignments=4),
            AgentSpec(name="gimel", description="Does it.", graph=self._graph("gimel")),
            AgentSpec(
                name="dalet", description="Does it.", graph=self._graph("dalet"), max_assignments=3
            ),
        )

    def rules(self) -> list[Rule]:
        """Return the rules of the model server."""
        return [
            Rule(when=When(system="^You supervise"), reply=self._decide),
            Rule(when=When(system="^Write the final answer"), reply=self._compose),
            Rule(when=When(system="^You check"), reply=Reply(text="{}")),
            Rule(reply=self._work),
        ]

    def _script(self, text: str) -> Script:
        found = MARK.search(text)
        assert found, text
        return self.scripts[int(found[1])]

    def _decide(self, request: ModelRequest) -> Reply:
        script = self._script(request.transcript)
        script.asked += 1
        return script.said(script.asked - 1).reply()

    def _compose(self, request: ModelRequest) -> Reply:
        self._script(request.transcript).composed += 1
        return Reply(text="Composed.")

    def _work(self, request: ModelRequest) -> Reply:
        agent = request.system.removeprefix("You are ").removesuffix(".")
        task = request.user.rpartition("<assignment>\n")[2].removesuffix("\n</assignment>")
        text = self._script(request.transcript).work(agent, task)
        return Reply.error(401) if text is None else Reply(text=text, chunks=(text,))

    def _graph(self, name: str) -> Any:
        def work(state: MessagesState) -> dict[str, Any]:
            about, task = state["messages"]
            text = self._script(about.text).work(name, task.text)
            if text is None:
                raise ValueError(name)
            return {"messages": [AIMessage(text)]}

        graph = StateGraph(MessagesState)
        graph.add_node("work", work)
        graph.add_edge(START, "work")
        return graph.compile()


def make_script(seed: int, names: tuple[str, ...]) -> Script:
    """Return the script of a seed."""
    chance = random.Random(seed)
    temper = TEMPERS[seed % len(TEMPERS)]
    few = tuple(chance.sample(names, chance.randint(1, len(names))))
    # In turn they could go on for long, as long as each says something new.
    anew: tuple[Habit, ...] = ("changing",)
    habits = anew if temper == "alternating" and chance.random() < 0.5 else HABITS
    return Script(
        number=seed,
        answers=_answers(chance, temper, few),
        habits={name: chance.choice(habits) for name in names},
        max_rounds=8 if temper == "alternating" else chance.choice((1, 2, 3, 4, 6, 8)),
        max_tier=chance.choice(TIERS),
        agents=chance.choice((None, None, None, few)),
        temper=temper,
    )


def _answers(chance: random.Random, temper: str, names: tuple[str, ...]) -> tuple[Said, ...]:
    some = [_route(chance, names) for _ in range(3)]
    finish = Said("json")
    match temper:
        case "repeating":
            return (some[0], *(chance.choice((some[0], some[0], some[1])) for _ in range(9)))
        case "alternating":
            period = chance.choice((2, 3))
            return tuple(some[place % period] for place in range(24))
        case "contradicting":
            # It finishes and goes on, and names those who are not there.
            ghosts = Said("json", (Wanted("wizard", "Cast it"), Wanted("", "x")))
            mixed = Said("call", (*some[0].wanted, Wanted("wizard", "Cast it")))
            return tuple(chance.choice((finish, ghosts, mixed, some[1])) for _ in range(12))
        case "empty":
            blank = Said("json", (Wanted(names[0], "  "),))
            return tuple(chance.choice((finish, blank, some[0])) for _ in range(10))
        case "garbage":
            return tuple(chance.choice((_noise(chance), *some)) for _ in range(12))
        case "gigantic":
            return tuple(_gigantic(chance, names) for _ in range(6))
        case "duplicating":
            return tuple(_doubled(chance, chance.choice(some)) for _ in range(10))
        case "exhausting":
            agent = chance.choice(names)
            return tuple(Said("json", (Wanted(agent, f"Part {n}"),)) for n in range(20))
        case _:
            return tuple(
                chance.choice((_route(chance, names), _route(chance, names), *some, finish))
                for _ in range(12)
            )


def _route(chance: random.Random, names: tuple[str, ...]) -> Said:
    shape: Shape = chance.choice(("json", "json", "fenced", "call", "compact"))
    wanted = [
        Wanted(
            chance.choice(names),
            chance.choice(TASKS),
            chance.choice((None, None, *TIERS, "ultra")),
        )
        for _ in range(chance.randint(1, 3))
    ]
    return Said(shape, tuple(wanted), last=chance.choice((None, None, None, False, True, "no")))


def _noise(chance: random.Random) -> Said:
    if chance.random() < 0.15:
        return Said("refused")
    return Said("unreadable", text=chance.choice(GARBAGE))


def _gigantic(chance: random.Random, names: tuple[str, ...]) -> Said:
    if chance.random() < 0.5:
        return Said("json", tuple(Wanted(chance.choice(names), f"Part {n}") for n in range(40)))
    # Alike up to where an instruction is cut off.
    ends = tuple(Wanted(names[0], "y" * 8_000 + str(n)) for n in range(2))
    return Said("json", (*ends, Wanted(names[-1], f"Part {chance.randint(0, 3)}")))


def _doubled(chance: random.Random, said: Said) -> Said:
    more = [chance.choice(said.wanted) for _ in range(3)]
    spaced = [w._replace(task=f" {w.task} ") for w in more]
    return said._replace(shape="json", wanted=(*said.wanted, *more, *spaced))
