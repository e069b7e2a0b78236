"""The node behind the answer of a run that has an `output_schema`: has the answer as a JSON document too."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from agents._kit.models import ModelGateway
from agents._kit.structured import json_in
from domain.errors import RunFailedError
from domain.events import SUPERVISOR
from domain.run import RunContext
from graph.calls import Call, call_model
from graph.composer import NO_MORE_CALLS
from graph.context import run_context
from graph.fitting import misfit
from graph.state import Missing, State
from graph.steering import asked

FILL: Final = "fill"

PROMPT: Final = """\
Give the answer below as one JSON document by the schema, with what the answer says and nothing else.
- Copy numbers, names and quotes as they stand; do not compute, translate or round.
- What the answer does not say is null, or left out, as far as the schema allows it.
"""

TRIES: Final = 2
"""How often a model may give the document: the second time it is told what did not fit."""

_VALUE: Final = "value"


class FillNode:
    """Fills in the schema; where that fails the answer stays as it is, and what is missing is named."""

    def __init__(self, gateway: ModelGateway) -> None:
        self._gateway = gateway

    async def __call__(self, state: State, runtime: Runtime[RunContext]) -> State:
        """Return the end with the document, or with why there is none."""
        final = state["final"]
        assert final is not None  # noqa: S101 - only the answer leads here
        try:
            structured = await self._fill(final["output"], state, runtime)
        except RunFailedError as error:
            reason = f"the answer was not put into output_schema: {error.detail}"
            lack = Missing(agent=SUPERVISOR, reason=reason)
            return {"final": {**final, "missing": [*final["missing"], lack]}}
        return {"final": {**final, "structured": structured}}

    async def _fill(self, answer: str, state: State, runtime: Runtime[RunContext]) -> Any:  # noqa: ANN401 - any JSON value
        if state.get("stop_reason") in NO_MORE_CALLS:
            msg = "no model may be called any more."
            raise RunFailedError(msg)
        context = run_context(runtime)
        schema = context.output_schema or {}
        wanted, wrapped = _asked_for(schema)
        text = f"<task>\n{asked(state)}\n</task>\n<answer>\n{answer}\n</answer>"
        messages: list[BaseMessage] = [SystemMessage(PROMPT), HumanMessage(text)]
        tier = self._gateway.get_model_for_task("answer", None).tier
        fault = ""
        for number in range(TRIES):
            call = Call(SUPERVISOR, tier, state.get("round", 0), f"fill~{number}")
            message = await call_model(self._gateway, runtime, call, messages, schema=wanted)
            found = await asyncio.to_thread(_read, message, schema, wrapped=wrapped)
            if not isinstance(found, str):
                return found[0]
            fault = found
            messages += [
                AIMessage(message.text),
                HumanMessage(
                    f"That does not fit the schema: {fault} Give the whole document again."
                ),
            ]
        msg = f"what the model gave does not fit: {fault}"
        raise RunFailedError(msg)


def _asked_for(schema: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the schema as providers take it, whose root is an object, and whether ours is a member of it."""
    named = {"title": "answer", "description": "The answer as a JSON document."}
    if schema.get("type") == "object":
        return {**schema, **named}, False
    members = {"properties": {_VALUE: dict(schema)}, "required": [_VALUE]}
    return {"type": "object", **members, "additionalProperties": False, **named}, True


def _read(message: AIMessage, schema: Mapping[str, Any], *, wrapped: bool) -> tuple[Any] | str:
    """Return the document in an answer, or what is wrong with it. Blocks for as long as it checks."""
    fault = "there is no JSON document in it."
    for found in json_in(message):
        value = found
        if wrapped:
            if not isinstance(found, dict) or _VALUE not in found:
                continue
            value = found[_VALUE]
        found_wrong = misfit(value, schema)
        if found_wrong is None:
            return (value,)
        fault = found_wrong
    return fault
