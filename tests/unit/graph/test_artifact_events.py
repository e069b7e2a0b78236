"""What is told of files live is what is told of them again, from the checkpoint alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.runtime import RunControl

from agents._kit.local_ledger import LocalLedger
from agents._kit.outcomes import message_drafts, outcome_drafts
from domain.agent import AgentOutcome
from domain.approval import ask_id
from domain.artifact import Artifact, artifact_url
from domain.events import EventDraft
from domain.ledger import ActionCall
from domain.ports import RunRef
from domain.run import RunContext
from domain.sandbox import USUAL_LIMITS, CodeLimits, CodeResult
from graph.projection import update_drafts
from graph.state import State, Workflow
from graph.streaming import Segment
from graph.workflow import build_workflow
from tools.knowledge import Knowledge
from tools.registry import Toolbox, build_toolbox
from tools.sandbox.unsafe_local import UnsafeLocal

TOLD = ("tool.started", "artifact.created", "tool.completed")

CHART = Artifact(
    name="chart.png",
    media_type="image/png",
    size=3,
    sha256="ab" * 32,
    agent="analyst",
    url=artifact_url("r1", "chart.png"),
)


def in_short(drafts: list[EventDraft]) -> list[tuple[str, Any]]:
    return [(draft.key, draft.data) for draft in drafts if draft.type in TOLD]


def said(*artifacts: Mapping[str, Any], name: str = "1.analyst") -> list[AnyMessage]:
    """Return the messages of an analyst whose first call has left these."""
    call = {"name": "run_python", "args": {"code": "…"}, "id": "c1"}
    return [
        HumanMessage("Work.", id=name),
        AIMessage("", tool_calls=[call]),
        ToolMessage("ok", tool_call_id="c1", artifact={"artifacts": list(artifacts)}),
    ]


def test_an_agent_that_was_cut_off_has_told_of_its_files() -> None:
    events = in_short(message_drafts("analyst", said(CHART, {**CHART, "name": "b.png"})))
    assert [key.rpartition("|")[2] for key, _ in events] == [
        *("tool.started", "artifact.created", "artifact.created", "tool.completed"),
    ]
    assert events[1][1] == {"artifact": CHART}
    assert events[3][1]["artifacts"] == [CHART, {**CHART, "name": "b.png"}]
    assert len({key for key, _ in events}) == 4


def test_a_call_made_again_tells_of_what_is_other_than_before() -> None:
    """A crash may have it repeated: what is the same has the same key, and what is not has not."""
    first, second = (
        [key for key, _ in in_short(message_drafts("analyst", said(*left)))[1:-1]]
        for left in ([CHART], [{**CHART, "name": "a.png"}, CHART, {**CHART, "sha256": "c" * 64}])
    )
    assert first[0] == second[1]
    assert len({*first, *second}) == 3


def test_what_others_call_artifacts_is_none_of_ours() -> None:
    for other in ({"name": "x"}, {**CHART, "size": "three"}):
        events = in_short(message_drafts("analyst", said(other)))
        assert [data.get("artifacts") for _, data in events] == [None, []]


def test_an_outcome_from_before_there_were_artifacts_is_borne() -> None:
    record = {"call_id": "c", "tool": "t", "args": {}, "status": "completed", "summary": ""}
    turn = {"message_id": "m", "text": "", "finish_reason": "stop"}
    outcome = {
        "agent": "analyst",
        "path": "analyst",
        "round": 1,
        "task": "",
        "status": "completed",
        "output": "",
        "error": None,
        "citations": [],
        "usage": {},
        "model": "",
        "tier": "fast",
        "turns": [{**turn, "calls": [{**record, "duration_ms": 1}]}],
    }
    events = in_short(outcome_drafts(cast("AgentOutcome", outcome)))
    assert [data.get("artifacts") for _, data in events] == [None, []]


async def live(workflow: Workflow, folder: Path) -> list[EventDraft]:
    """Return what a run tells while it works; each event once, as the log keeps it."""
    segment = Segment(workflow)
    parts = segment.run(
        {"task": "What is 17% of 80?"},
        config={"configurable": {"thread_id": "1"}},
        context=RunContext(run_id="r1", workspace=folder / "w", shelf=folder / "shelf"),
        control=RunControl(),
    )
    drafts = [item async for item in parts if isinstance(item, EventDraft)]
    return list({draft.key: draft for draft in drafts}.values())


class Leaving(UnsafeLocal):
    """A sandbox in which every program leaves a chart besides."""

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Run a program in a process of its own."""
        left = "open('chart.png', 'w').write('x')\n"
        return await super().run(left + code, workspace, limits=limits)


@pytest.fixture
def toolbox(tmp_path: Path) -> Toolbox:
    """Return the tools over that sandbox."""
    return build_toolbox(knowledge=Knowledge(tmp_path / "index.db", None), sandbox=Leaving())


@pytest.fixture
def workflow(toolbox: Toolbox) -> Workflow:
    """Return a workflow whose programs leave a file."""
    return build_workflow(toolbox=toolbox)


@pytest.fixture
def ledger() -> LocalLedger:
    """Return the ledger of `acting`."""
    return LocalLedger()


@pytest.fixture
def acting(toolbox: Toolbox, ledger: LocalLedger) -> Workflow:
    """Return a workflow whose programs leave a file and change the world."""
    tools = [toolbox.get(name) for name in toolbox.names if name != "run_python"]
    external = replace(toolbox.get("run_python"), effect="external")
    return build_workflow(toolbox=Toolbox([*tools, external]), ledger=ledger)


async def test_the_checkpoint_tells_what_was_told_live(workflow: Workflow, tmp_path: Path) -> None:
    told = in_short(await live(workflow, tmp_path))
    snapshot = await workflow.aget_state({"configurable": {"thread_id": "1"}})
    again = [
        d for d in update_drafts(cast("State", snapshot.values), 2) if isinstance(d, EventDraft)
    ]
    assert told == in_short(again)
    created = [data["artifact"] for key, data in told if key.endswith("artifact.created")]
    assert [artifact["name"] for artifact in created] == ["chart.png"]
    assert created[0]["agent"] == "analyst"


async def test_what_the_ledger_has_of_a_call_has_its_files_too(
    acting: Workflow, ledger: LocalLedger, tmp_path: Path
) -> None:
    """A crash came after the call had ended, and before its message was saved: it is not made again."""
    done = ActionCall(
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
    await ledger.start(done)
    await ledger.end(done, "done", "13.6", [CHART])
    told = in_short(await live(acting, tmp_path))
    assert [data["artifact"] for key, data in told if key.endswith("artifact.created")] == [CHART]
    assert not (tmp_path / "shelf").exists()
