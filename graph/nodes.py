"""Turns an agent into a node, and its failure into data."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import (
    GraphRecursionError,
    NodeError,
    NodeTimeoutError,
    is_invalid_resume,
)
from langgraph.runtime import Runtime
from langgraph.types import Command
from structlog.contextvars import bound_contextvars

from agents._kit.loop import AgentLoop
from agents._kit.models import ModelGateway
from agents._kit.outcomes import failed_outcome
from domain.agent import AgentOutcome, AgentSpec
from domain.approval import PausedWork
from domain.errors import OwnershipLostError, RunFailedError, StoreUnavailableError
from domain.run import RunContext
from graph.context import run_context
from graph.deadline import Deadline
from graph.sharing import Sharing
from graph.state import AgentInput, State

_log = logging.getLogger("signalbox.agents")

AgentNode = Callable[[AgentInput, RunnableConfig, Runtime[RunContext]], Awaitable[State]]


def make_agent_node(loop: AgentLoop, deadline: Deadline, sharing: Sharing) -> AgentNode:
    """Return the node that runs one assignment of an agent, to its end or until it has to ask a person.

    The agent is called with the node's own config, so its steps are checkpointed below the node.
    """

    async def agent_node(
        state: AgentInput, config: RunnableConfig, runtime: Runtime[RunContext]
    ) -> State:
        context = run_context(runtime)

        async def do() -> AgentOutcome | PausedWork:
            return await loop(
                state["assignment"],
                task=state["task"],
                results=state["results"],
                context=context,
                config=config,
                write=runtime.stream_writer,
                paused=state.get("paused"),
                decisions=state.get("decisions"),
            )

        # What tools and libraries log meanwhile is this agent's.
        with bound_contextvars(agent=loop.spec.name):
            async with deadline.bounded(context.run_id):
                outcome = await sharing.outcome(
                    loop.spec, state, context, write=runtime.stream_writer, work=do
                )
        if "asks" in outcome:
            work = cast("PausedWork", outcome)
            return {"paused": {work["assignment"]["path"]: work}}
        return {"outcomes": [outcome]}

    return agent_node


def make_error_handler(
    spec: AgentSpec, gateway: ModelGateway
) -> Callable[[AgentInput, NodeError], Awaitable[Command[Any]]]:
    """Return the handler that records an agent's failure, so that its siblings and the run go on.

    Without effects but a line, because LangGraph may run it again when another agent of the round is resumed.
    """

    async def handle_error(state: AgentInput, error: NodeError) -> Command[Any]:
        if isinstance(error.error, (OwnershipLostError, StoreUnavailableError)):
            raise error.error  # not the agent's: the segment ends here, and the run goes on elsewhere
        code, detail = _explain(spec, error.error)
        assignment = state["assignment"]
        if code == "internal-error":
            fields = {"action": "agent_broke", "agent": spec.name, "path": assignment["path"]}
            _log.error("An agent broke.", exc_info=error.error, extra=fields)
        model = gateway.get_model_for_task(assignment, spec).name
        outcome = failed_outcome(assignment, spec, model=model, code=code, detail=detail)
        return Command(goto="supervisor", update={"outcomes": [outcome]})

    return handle_error


def _explain(spec: AgentSpec, error: BaseException) -> tuple[str, str]:
    """Return a code and a sentence without secrets: foreign exception texts can hold prompts."""
    if isinstance(error, RunFailedError):
        return error.code, error.detail
    if is_invalid_resume(error):
        return "agents-failed", "The answer to its question did not pass the graph's own check."
    if isinstance(error, NodeTimeoutError):
        return (
            "deadline-exceeded",
            f"The agent did not end within {spec.timeout_seconds:g} seconds.",
        )
    if isinstance(error, GraphRecursionError):
        return "agents-failed", "The agent took more steps than it may without answering."
    return "internal-error", f"The agent failed ({type(error).__name__}); the log has the details."
