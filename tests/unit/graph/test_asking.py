"""The workflow in a notebook: no service, LangGraph's own saver in memory, questions answered by id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.errors import is_invalid_resume
from langgraph.types import Command
from pydantic import ValidationError

from domain.run import RunContext
from graph.state import Workflow
from graph.workflow import build_workflow, recursion_limit

TASK = "What is 17% of 80?"


@pytest.fixture
def workflow() -> Workflow:
    """Return the workflow as a notebook has it."""
    return build_workflow()


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """Return the values of a run that asks before it runs a program."""
    return RunContext(run_id="r1", approval_mode="always", workspace=tmp_path)


@pytest.fixture
def config() -> Any:
    """Return LangGraph's configuration."""
    return {"configurable": {"thread_id": "1"}, "recursion_limit": recursion_limit(10)}


async def test_a_question_is_answered_by_its_id(
    workflow: Workflow, context: RunContext, config: Any
) -> None:
    paused = await workflow.ainvoke({"task": TASK}, config, context=context)
    [question] = paused["__interrupt__"]
    assert question.value["tool"] == "run_python"
    assert question.response_schema["title"] == "Decision about run_python"
    answer: Command[Any] = Command(resume={question.id: {"type": "approve"}})
    state = await workflow.ainvoke(answer, config, context=context)
    assert "17 / 100 * 80 = 13.6" in state["final"]["output"]
    assert not state.get("paused")
    assert not state.get("decisions")


@pytest.mark.parametrize(
    "answer",
    [
        "yes",
        {"type": "maybe"},
        {"type": "edit"},
        {"type": "respond"},
        {"type": "approve", "message": "x"},
        {"decisions": [{"type": "approve"}]},
    ],
)
async def test_a_malformed_answer_is_refused_and_may_be_mended(
    workflow: Workflow, context: RunContext, config: Any, answer: Any
) -> None:
    """Nothing of it is kept: the question is open as before, and the right answer counts."""
    paused = await workflow.ainvoke({"task": TASK}, config, context=context)
    [question] = paused["__interrupt__"]
    with pytest.raises(ValidationError) as refused:
        await workflow.ainvoke(Command(resume={question.id: answer}), config, context=context)
    assert is_invalid_resume(refused.value)
    snapshot = await workflow.aget_state(config)
    assert [each.id for each in snapshot.interrupts] == [question.id]
    mended: Command[Any] = Command(resume={question.id: {"type": "reject", "message": "no"}})
    state = await workflow.ainvoke(mended, config, context=context)
    assert "A person refused this call: no" in state["final"]["output"]
