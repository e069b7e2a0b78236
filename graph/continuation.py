"""Lets a run go on under another version of the graph than the one that left its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import TASKS
from langgraph.types import Send, StateSnapshot

from agents._kit.outcomes import failed_outcome
from domain.agent import AgentSpec
from domain.errors import RunFailedError
from graph.state import STATE_FORMAT, AgentInput, State, Workflow


class Continuation(NamedTuple):
    """What a run goes on with."""

    workflow: Workflow
    """The graph; where agents are gone, with a stand-in for each."""
    snapshot: StateSnapshot
    """The checkpoint as that graph reads it."""


def state_format(version: str) -> int:
    """Return the format of the state that a graph version has."""
    number, dash, _ = version.partition("-")
    return int(number) if dash else 1  # a bare hash is of a time that knew only one


async def carry_over(
    workflow: Workflow, snapshot: StateSnapshot, config: RunnableConfig, *, version: str
) -> Continuation:
    """Return what a run goes on with, whichever version left its checkpoint.

    Channels, tools and prompts may differ: LangGraph leaves out what the graph does not know. It
    would also pass over agents that are gone, and over what they had finished; so each gets a
    stand-in. `version` is the one that began the run; others may have continued it. Raises
    `RunFailedError` where the run waits for anything else that is gone.
    """
    if state_format(version) != STATE_FORMAT:
        raise _incompatible(
            f"The run's state has format {state_format(version)} (graph version {version}), "
            f"this server has format {STATE_FORMAT}."
        )
    gone = _gone_agents(workflow, await _pending_sends(workflow, snapshot))
    if gone:
        workflow = _with_stand_ins(workflow, gone)
        snapshot = await workflow.aget_state(config)
    if any(task.interrupts for task in snapshot.tasks if task.name in gone):
        raise _incompatible("The run asks a person for an agent that this server does not have.")
    if not snapshot.tasks and snapshot.values.get("final") is None:
        raise _incompatible("The run waits for a step that this server does not have.")
    return Continuation(workflow, snapshot)


async def _pending_sends(workflow: Workflow, snapshot: StateSnapshot) -> Sequence[Send]:
    """Return the work of the checkpoint's round; a snapshot leaves out what has no node."""
    saver = workflow.checkpointer
    if not isinstance(saver, BaseCheckpointSaver):
        return ()
    saved = await saver.aget_tuple(snapshot.config)
    sends: Sequence[Send] = saved.checkpoint["channel_values"].get(TASKS, ()) if saved else ()
    return sends


def _gone_agents(workflow: Workflow, sends: Iterable[Send]) -> list[str]:
    gone = {send.node: send.arg for send in sends if send.node not in workflow.nodes}
    for name, work in gone.items():
        if not isinstance(work, dict) or "assignment" not in work:
            raise _incompatible(f"The run waits for {name!r}, which this server does not have.")
    return sorted(gone)


def _with_stand_ins(workflow: Workflow, names: Iterable[str]) -> Workflow:
    """Return the graph with nodes of these names that fail every assignment.

    Under its name LangGraph finds a task again: what it had finished counts, and what is recorded
    here stays recorded if a version that has the agent goes on.
    """
    builder = copy(workflow.builder)
    builder.nodes, builder.edges, builder.compiled = {**builder.nodes}, {*builder.edges}, False
    for name in names:
        builder.add_node(name, _stand_in)
        builder.add_edge(name, "supervisor")
    graph = builder.compile(name=workflow.name)
    return graph.copy({"checkpointer": workflow.checkpointer})


async def _stand_in(state: AgentInput) -> State:
    assignment = state["assignment"]
    name = assignment["agent"]
    outcome = failed_outcome(
        assignment,
        AgentSpec(name=name, description="No longer part of this server."),
        model="",
        code="run-incompatible",
        detail=f"The agent {name} is no longer part of this server; "
        "its assignment was begun by another version.",
    )
    return {"outcomes": [outcome]}


def _incompatible(reason: str) -> RunFailedError:
    msg = f"{reason} Continue it with the version that left it so, or create the run again."
    return RunFailedError(msg, code="run-incompatible")
