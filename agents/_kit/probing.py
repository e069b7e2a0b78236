"""Tries what a model can do: answer by a schema, call a tool, say what its stream used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from agents._kit.asking import by_schema
from agents._kit.bounds import tools_bytes
from agents._kit.candidates import OpenCandidate, Request
from agents._kit.faults import check_answer, explain, is_provider_error
from agents._kit.structured import json_in
from domain.errors import RunFailedError

PROBE_SECONDS: Final = 20.0
"""The most that one question to a model may take, whatever its time-out is."""

PROBE_TOKENS: Final = 1024

Ability = Literal["json_schema", "tools", "streaming usage"]

_SCHEMA: Final[dict[str, Any]] = {
    "title": "Colour",
    "description": "A colour.",
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}


@tool
def look_up_weather(city: str) -> str:
    """Return the weather of a city."""
    return city


class Probed(NamedTuple):
    """What became of one question to a model."""

    ability: Ability
    state: Literal["ok", "emulated", "failed"]
    said: str
    """Why, and what to do."""


async def probe(candidate: OpenCandidate) -> list[Probed]:
    """Return what a model can do. Each question is asked once and is paid; what is refused is remembered."""
    return [await _schema(candidate), await _tools(candidate), await _usage(candidate)]


async def _schema(candidate: OpenCandidate) -> Probed:
    remedy = "write ?json_schema=off behind it, and the schema is put in words for it"

    async def ask(request: Request) -> str:
        model = candidate.model_for(request, PROBE_TOKENS)
        answer = await by_schema(model, _SCHEMA).ainvoke(list(request.messages))
        check_answer(answer, structured=True)
        found = any(isinstance(each, dict) and "colour" in each for each in json_in(answer))
        return "" if found else f"it did not keep to the schema: {remedy}"

    request = _request("Name one colour.", schema=_SCHEMA)
    return await _ask("json_schema", candidate, request, ask)


async def _tools(candidate: OpenCandidate) -> Probed:
    remedy = "write ?tools=off behind it, and tools are described to it in words"

    async def ask(request: Request) -> str:
        model = candidate.model_for(request, PROBE_TOKENS)
        answer = await model.bind_tools([look_up_weather]).ainvoke(list(request.messages))
        check_answer(answer)
        called = any(call["name"] == look_up_weather.name for call in answer.tool_calls)
        return "" if called else f"it answered without calling the tool: {remedy}"

    question = f"What is the weather in Cork? Call {look_up_weather.name}; do not answer yourself."
    request = _request(question, about=tools_bytes([look_up_weather]))
    return await _ask("tools", candidate, request, ask)


async def _usage(candidate: OpenCandidate) -> Probed:
    async def ask(request: Request) -> str:
        model: BaseChatModel = candidate.model(streamed=True, max_tokens=PROBE_TOKENS)
        pieces = [piece async for piece in model.astream(list(request.messages))]
        if not any(piece.usage_metadata for piece in pieces):
            return "its stream does not say what it used: its calls are booked as not counted"
        return ""

    return await _ask("streaming usage", candidate, _request("Say hello."), ask)


async def _ask(
    ability: Ability,
    candidate: OpenCandidate,
    request: Request,
    ask: Callable[[Request], Awaitable[str]],
) -> Probed:
    for _ in range(2):
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                wrong = await ask(request)
        except Exception as error:
            if candidate.learn(error, request):
                continue
            if not isinstance(error, RunFailedError) and not is_provider_error(error):
                raise
            return Probed(ability, "failed", explain(error))
        if wrong:
            return Probed(ability, "failed", wrong)
        return Probed(ability, "emulated" if candidate.in_words(request) else "ok", "")
    return Probed(ability, "failed", "it refused the question in words too")


def _request(question: str, *, schema: dict[str, Any] | None = None, about: int = 0) -> Request:
    return Request(
        run_id="",
        attempt=0,
        agent="",
        tier="standard",
        round=0,
        key="",
        messages=[HumanMessage(question)],
        about=about,
        schema=schema,
    )
