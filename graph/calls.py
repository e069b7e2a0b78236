"""One way to call a model from a node of the graph: retries are told, what it cost is booked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from agents._kit.asking import by_schema
from agents._kit.models import ModelGateway, Request
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
    messages: Sequence[BaseMessage],
    *,
    schema: dict[str, Any] | None = None,
    config: RunnableConfig | None = None,
) -> AIMessage:
    """Return what a model answers: by a schema, or else as words that are streamed to the owner that `config`
    names. Raises `RunFailedError` where it fails for good."""
    context, write = run_context(runtime), runtime.stream_writer

    async def invoke(model: BaseChatModel, sent: list[BaseMessage]) -> AIMessage:
        asked = by_schema(model, schema) if schema else model
        return cast("AIMessage", await asked.ainvoke(sent, config))

    def on_retry(reason: str, delay: float, number: int) -> None:
        key = f"{call.name}~{number}~{context.attempt}"
        write(retry_draft(call.round, key, reason, delay, number, agent=call.agent))

    request = Request(
        run_id=context.run_id,
        attempt=context.attempt,
        agent=call.agent,
        tier=call.tier,
        round=call.round,
        key=f"{call.round}|{call.agent}|{call.name}|{context.attempt}",
        messages=messages,
        schema=schema,
        streamed=schema is None,
    )
    return await gateway.call(request, invoke, on_retry=on_retry, write=write)
