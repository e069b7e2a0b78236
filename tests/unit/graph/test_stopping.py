"""Whatever its model says, a supervisor stops: within its caps, with an answer, and for the right reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agents._kit.models import ModelGateway, ModelSettings
from agents._kit.registry import Team
from agents.validator import AGENT as VALIDATOR
from domain.run import RunContext
from graph import progress, supervisor
from graph.projection import decision_draft
from graph.state import FinalAnswer, Workflow
from graph.workflow import build_workflow, recursion_limit
from tests.fakes.adversary import Adversary, make_script
from tests.fakes.model_server import FakeModelServer
from tests.fakes.stop_oracle import Expected, Oracle
from tools.registry import Toolbox

QUICK = 100
"""Supervisors that every run of the tests meets."""

SHARDS, OF_EACH = 8, 251
"""Those of the slow run: more than two thousand."""


class Ended(NamedTuple):
    """What became of a run."""

    final: FinalAnswer
    state: dict[str, Any]
    steps: int


class Arena:
    """The compiled graph with a model server that all scripts share."""

    def __init__(self, adversary: Adversary, workflow: Workflow, folder: Path) -> None:
        self.adversary = adversary
        self._workflow = workflow
        self._folder = folder

    @property
    def names(self) -> tuple[str, ...]:
        """Return the agents' names."""
        return tuple(spec.name for spec in self.adversary.team)

    async def run(self, seed: int, **more: Any) -> Ended:
        """Run the script of a seed to its end."""
        script = self.adversary.scripts[seed] = make_script(seed, self.names)
        context = RunContext(
            **{
                "run_id": f"r{seed}",
                "max_rounds": script.max_rounds,
                "max_tier": script.max_tier,
                "agents": script.agents,
                "validation": "off",
                "workspace": self._folder,
                "sources": self._folder,
                **more,
            }
        )
        parts = self._workflow.astream(
            {"task": script.task},
            {"recursion_limit": recursion_limit(script.max_rounds)},
            context=context,
            stream_mode="values",
        )
        states = [state async for state in parts]
        return Ended(states[-1]["final"], states[-1], len(states) - 1)


@pytest.fixture
async def arena(tmp_path: Path) -> AsyncIterator[Arena]:
    """Run the graph with an adversary's model behind real HTTP."""
    adversary = Adversary()
    async with FakeModelServer(*adversary.rules(), record=False) as server:
        gateway = ModelGateway(
            ModelSettings(
                tiers={"fast": "openai:a", "standard": "openai:b", "deep": "openai:c"},
                openai_api_key="x",
                openai_base_url=server.base_url,
            ),
            adversary.team,
        )
        workflow = build_workflow(
            team=Team([*adversary.team, VALIDATOR]),
            gateway=gateway,
            toolbox=Toolbox([]),
            checkpointer=None,
        )
        yield Arena(adversary, workflow, tmp_path)
        await gateway.aclose()


async def check(arena: Arena, seed: int) -> Expected:
    """Run a seed and hold it against the oracle; return what was expected."""
    ended = await arena.run(seed)
    script, final = arena.adversary.scripts[seed], ended.final
    expected = Oracle(script, arena.adversary.team).play()
    routes = [route for route in ended.state.get("routes", []) if route["assignments"]]
    shown = [decision_draft(route).data["assignments"] for route in routes]
    given = [[(a["agent"], a["task"], a.get("tier")) for a in each] for each in shown]
    found = Expected(final["status"], final["stop_reason"], given, script.asked)
    assert found == expected, f"seed {seed} ({script.temper})"
    # And the caps, whatever the oracle says.
    assert final["rounds"] == len(given) <= script.max_rounds
    assert script.asked <= 2 * (len(given) + 1) + 2
    assert script.worked == Counter(agent for round_ in given for agent, _, _ in round_)
    for spec in arena.adversary.team:
        assert script.worked[spec.name] <= spec.max_assignments
    assert script.composed <= 1
    assert ended.steps < recursion_limit(script.max_rounds)
    told = final["failure"]["detail"] if final["failure"] else final["output"]
    assert told.strip()
    if final["stop_reason"] == "no_progress":
        assert "want of progress" in told
        assert "want of progress" in ended.state["routes"][-1]["reason"]
        if not final["failure"]:
            assert any("again" in m["reason"] or "has had" in m["reason"] for m in final["missing"])
    return expected


@pytest.mark.timeout(240)
async def test_supervisors_stop_as_they_should(arena: Arena) -> None:
    """Each ends as a plain account of the rules says, and every way to end is among them."""
    seen = Counter([(await check(arena, seed)).stop for seed in range(QUICK)])
    assert set(seen) == {"done", "max_rounds", "no_progress", "error"}


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_two_thousand_supervisors_stop_as_they_should(arena: Arena, shard: int) -> None:
    first = 1_000 * (shard + 1)
    for seed in range(first, first + OF_EACH):
        await check(arena, seed)


async def test_with_checks_they_stop_within_their_caps(arena: Arena) -> None:
    """A validator that cannot make itself understood prolongs nothing without end."""
    for seed in range(5_000, 5_020):
        ended = await arena.run(seed, validation="on")
        script = arena.adversary.scripts[seed]
        assert ended.final["rounds"] <= script.max_rounds
        assert ended.steps < recursion_limit(script.max_rounds)
        assert ended.final["output"] or ended.final["failure"]


MUTATIONS: dict[str, tuple[Any, str, Any]] = {
    "nothing is a repetition": (progress, "_find_repeats", lambda *_: []),
    "a repetition is found too late": (progress, "MAX_TIMES", 4),
    "whatever was given is a repetition": (progress, "_is_settled", lambda *_: True),
    "news are not seen": (progress, "_last_news", lambda *_: 0),
    "wording is taken for work": (progress, "_plain", lambda text: text),
    "the last decision is not believed": (supervisor, "_foreseen", lambda _: None),
    "a decision is the last whatever became of it": (supervisor, "_unfinished", lambda *_: False),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("module", "name", "broken"), MUTATIONS.values(), ids=MUTATIONS)
async def test_the_oracle_sees_a_detection_that_is_wrong(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, broken: Any
) -> None:
    """A property that nothing can break would prove nothing: each of these faults shows in some run."""
    monkeypatch.setattr(module, name, broken)

    async def check_all() -> None:
        for seed in range(QUICK):
            await check(arena, seed)

    with pytest.raises(AssertionError, match="seed"):
        await check_all()
