"""An action that an earlier segment left: its target is asked what became of it, where it can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents._kit.local_ledger import LocalLedger
from domain.approval import action_id, ask_id
from domain.ledger import ActionCall
from domain.ports import RunRef
from domain.run import RunContext
from graph.state import Workflow
from graph.workflow import build_workflow, local_toolbox
from tools.registry import Toolbox

TASK = "What is 17% of 80?"
COMPUTED = "17 / 100 * 80 = 13.6"

LEFT = ActionCall(
    ref=RunRef("local", "r1"),
    attempt=1,
    id=ask_id("r1", 1, "analyst", "0.0"),
    agent="analyst",
    tool="run_python",
    args={},
    path="analyst",
    round=1,
    call="0.0",
    steps={},
)
"""The call that the analyst will make, begun and never ended."""


class Target:
    """What a tool's calls change, and what it says of them."""

    def __init__(self) -> None:
        self.answer: Any = "unknown"
        self.asked: list[str] = []

    async def check(self, key: str) -> Any:
        """Say what became of the action with this key."""
        self.asked.append(key)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def target() -> Target:
    """Return the target of the programs that the analyst runs."""
    return Target()


@pytest.fixture
def ledger() -> LocalLedger:
    """Return the ledger of the workflow."""
    return LocalLedger()


@pytest.fixture
def workflow(target: Target, ledger: LocalLedger) -> Workflow:
    """Return a workflow whose programs change something that can be asked about."""
    shipped = local_toolbox()
    tools = [shipped.get(name) for name in shipped.names if name != "run_python"]
    changing = replace(shipped.get("run_python"), effect="external", check=target.check)
    return build_workflow(toolbox=Toolbox([*tools, changing]), ledger=ledger)


async def take_up(workflow: Workflow, ledger: LocalLedger, workspace: Path) -> str:
    """Run the task over what was left; return the answer."""
    await ledger.start(LEFT)
    state = await workflow.ainvoke(
        {"task": TASK},
        {"configurable": {"thread_id": "1"}},
        context=RunContext(run_id="r1", workspace=workspace),
    )
    return str(state["final"]["output"])


async def test_what_the_target_has_done_is_not_done_again(
    workflow: Workflow, target: Target, ledger: LocalLedger, tmp_path: Path
) -> None:
    target.answer = "done"
    output = await take_up(workflow, ledger, tmp_path)
    assert target.asked == [action_id(LEFT.id)]
    assert "The call took effect, but what it answered was lost" in output
    assert COMPUTED not in output
    assert await ledger.doubts(LEFT.ref) == []


async def test_what_the_target_has_not_done_is_done_now(
    workflow: Workflow, target: Target, ledger: LocalLedger, tmp_path: Path
) -> None:
    target.answer = "not_done"
    output = await take_up(workflow, ledger, tmp_path)
    assert target.asked == [action_id(LEFT.id)]
    assert COMPUTED in output
    assert await ledger.doubts(LEFT.ref) == []


@pytest.mark.parametrize("answer", ["unknown", OSError("no route")])
async def test_what_the_target_cannot_say_is_in_doubt_and_not_done_again(
    workflow: Workflow, target: Target, ledger: LocalLedger, tmp_path: Path, answer: object
) -> None:
    target.answer = answer
    output = await take_up(workflow, ledger, tmp_path)
    assert target.asked == [action_id(LEFT.id)]
    assert COMPUTED not in output
    assert [doubt.action_id for doubt in await ledger.doubts(LEFT.ref)] == [action_id(LEFT.id)]
