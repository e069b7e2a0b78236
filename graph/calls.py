"""One way to call a model from a node of the graph: retries are told, what it cost is booked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from langchain_core.messages import AIMessage
from langgraph.runtime import Runtime

from agents._kit.models import ModelGateway
from domain.agent import Tier
from domain.run import RunContext
from graph.context import run_context
from graph.projection import retry_draft


class Call(NamedTuple):
    """Whose call it is, and which of the run: together with the attempt its key in the log and the ledger."""

    agent: str
    tier: Tier
    round: int
    name: str
    """Unique among the agent's calls of that round."""


async def call_model(
    gateway: ModelGateway,
    runtime: Runtime[RunContext],
    call: Call,
    invoke: Callable[[], Awaitable[AIMessage]],
) -> AIMessage:
    """Return what a model answers. Raises `RunFailedError` where it fails for good."""
    context, write = run_context(runtime), runtime.stream_writer

    def on_retry(reason: str, delay: float, number: int) -> None:
        key = f"{call.name}~{number}~{context.attempt}"
        write(retry_draft(call.round, key, reason, delay, number, agent=call.agent))

    message = await gateway.call(invoke, run_id=context.run_id, on_retry=on_retry)
    key = f"{call.round}|{call.agent}|{call.name}|{context.attempt}"
    write(gateway.book(key, call.agent, call.tier, message, run_id=context.run_id))
    return message
