"""Builds the graph: supervisor → agents in parallel → supervisor … → answer."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, Literal, cast

from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import TimeoutPolicy

from agents._kit.local_ledger import LocalLedger
from agents._kit.loop import AgentLoop
from agents._kit.models import ModelGateway, ModelSettings
from agents._kit.registry import Team, find_team
from domain.caching import NO_CACHE, WorkCache
from domain.ledger import ActionLedger
from domain.notes import MAX_NOTES, NO_NOTES, NoteReader
from domain.run import RunContext
from domain.validation import VALIDATOR
from graph.answer import AnswerNode
from graph.approvals import Asking, ask_person
from graph.deadline import Deadline
from graph.filling import FILL, FillNode
from graph.nodes import make_agent_node, make_error_handler
from graph.sharing import Sharing
from graph.spending import ASK, Spending
from graph.state import STATE_FORMAT, State, Workflow
from graph.steering import Steering
from graph.supervisor import CHECK, Supervisor
from graph.validation import ValidatorNode
from tools.gates import Gates
from tools.knowledge import Knowledge
from tools.registry import Toolbox, build_toolbox
from tools.sandbox.choice import SandboxOnDemand, SandboxWishes

DECISION_SECONDS = 600.0
"""Bound on one decision or final answer, retries included."""


def build_workflow(
    *,
    team: Team | None = None,
    gateway: ModelGateway | None = None,
    toolbox: Toolbox | None = None,
    gates: Gates | None = None,
    ledger: ActionLedger | None = None,
    checkpointer: BaseCheckpointSaver[Any] | Literal["memory"] | None = "memory",
    cache: WorkCache | None = None,
    notes: NoteReader = NO_NOTES,
) -> Workflow:
    """Return the compiled workflow.

    Without arguments it has this repository's agents and tools, the offline planner, and a
    checkpointer and a ledger in memory: usable from a notebook with
    `await build_workflow().ainvoke({"task": …}, {"configurable": {"thread_id": "1"}})`. Where it asks
    a person it is resumed with `Command(resume={interrupt.id: {"type": "approve"}})`, always by id.
    `checkpointer=None` compiles without one.
    """
    toolbox = toolbox or local_toolbox()
    team = team or find_team(tool_names=toolbox.names)
    gateway = gateway or ModelGateway(ModelSettings(tiers=None), team.routable)
    ledger = ledger or LocalLedger()
    graph: StateGraph[State, RunContext, State, State] = StateGraph(
        State, context_schema=RunContext
    )
    names = [spec.name for spec in team.routable]
    judge = team.get(VALIDATOR)
    cache = cache or NO_CACHE
    validator = ValidatorNode(judge, gateway, cache) if judge else None
    # defer: the supervisor runs once per round, after every agent, however long each takes.
    deadline = Deadline(gateway.guard.seconds_left)
    steering = Steering(notes, gateway)
    supervisor = Supervisor(team, gateway, check=validator, steering=steering)
    graph.add_node(
        "supervisor",
        Asking(Spending("supervisor", supervisor), {s.name: s for s in team.routable}, deadline),
        defer=True,
        timeout=DECISION_SECONDS,
        destinations=(*names, ASK, "answer", *([CHECK] if validator else [])),
    )
    graph.add_node(ASK, cast("Any", ask_person))
    graph.add_edge(ASK, "supervisor")
    sharing = Sharing(cache, gateway, toolbox)
    for spec in team.routable:
        loop = AgentLoop(spec, gateway, toolbox, gates=gates, ledger=ledger)
        _add_agent(graph, loop, deadline, gateway, sharing)
    if validator:
        graph.add_node(
            CHECK,
            Spending(CHECK, validator),
            timeout=DECISION_SECONDS,
            destinations=("supervisor", ASK, "answer"),
        )
    # Without an edge to the end: it ends the run, asks whether its answer may be paid, or goes back.
    graph.add_node(
        "answer",
        cast(
            "Any", Spending("answer", cast("Any", AnswerNode(gateway, ledger, toolbox, steering)))
        ),
        timeout=DECISION_SECONDS,
        destinations=(ASK, FILL, "supervisor", END),
    )
    graph.add_node(FILL, cast("Any", FillNode(gateway)), timeout=DECISION_SECONDS)
    graph.add_edge(START, "supervisor")
    saver = InMemorySaver() if checkpointer == "memory" else checkpointer
    return graph.compile(checkpointer=saver, name="signalbox")


def _add_agent(
    graph: StateGraph[State, RunContext, State, State],
    loop: AgentLoop,
    deadline: Deadline,
    gateway: ModelGateway,
    sharing: Sharing,
) -> None:
    spec = loop.spec
    graph.add_node(
        spec.name,
        cast("Any", make_agent_node(loop, deadline, sharing)),
        timeout=TimeoutPolicy(run_timeout=spec.timeout_seconds),
        error_handler=cast("Any", make_error_handler(spec, gateway)),
        metadata={"agent": spec.name},
    )
    graph.add_edge(spec.name, "supervisor")


def local_toolbox() -> Toolbox:
    """Return the tools with an index of the local documents in the system's temporary folder."""
    folder = Path(tempfile.gettempdir()) / "signalbox"
    return build_toolbox(
        knowledge=Knowledge(folder / "knowledge.db", None),
        sandbox=SandboxOnDemand(SandboxWishes(data=folder)),
    )


def recursion_limit(max_rounds: int) -> int:
    """Return the supersteps a run may take: two a round, and room for the start, errors, notes that come
    before the end, and the end."""
    return 3 * max_rounds + 3 * MAX_NOTES + 10


def graph_version(team: Team, toolbox: Toolbox) -> str:
    """Return the state's format and a hash of what a run may notice of a deploy.

    Only another format keeps a run from going on: see `graph/continuation.py`.
    """
    tools = {
        name: convert_to_openai_tool(toolbox.get(name).tool)["function"]["parameters"]
        for name in toolbox.names
    }
    shape = {
        "nodes": sorted(
            ["supervisor", ASK, CHECK, "answer", FILL, *(spec.name for spec in team.routable)]
        ),
        "channels": sorted(State.__annotations__),
        "tools": tools,
        "agent_tools": {spec.name: list(spec.tools) for spec in team.routable},
    }
    text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
    return f"{STATE_FORMAT}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
