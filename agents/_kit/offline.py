"""The offline planner: a chat model made of rules, used when no model is configured.

It says only what a tool returned, and otherwise which variable to set for a real model.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, InstanceOf
from typing_extensions import override

from agents._kit.offline_answers import NEEDS_MODEL, compose_answer
from agents._kit.offline_routing import decide_route
from agents._kit.offline_work import RUN, WEB, Call, Desk, Reply, read_output, reply
from agents._kit.prompts import PromptParts, read_prompt
from domain.agent import AgentSpec
from domain.routing import Route
from tools.python import read_libraries
from tools.web import WEB_OFF

MODEL_NAME: Final = "offline-planner"
PROVIDER: Final = "offline"

MAX_PIECES: Final = 200
"""A long answer streams several words at a time: each piece costs every listener some work."""

_CHARS_PER_TOKEN: Final = 4
_WORDS: Final = re.compile(r"\s*\S+\s*|\s+")


class OfflineChatModel(BaseChatModel):
    """Plays the supervisor, the agents and the composer of the answer by rule.

    Which of them is meant shows in what it is offered: a schema with `assignments`, tools, or
    neither.
    """

    specs: tuple[InstanceOf[AgentSpec], ...]
    """The agents work may be assigned to."""

    @property
    @override
    def _llm_type(self) -> str:
        return MODEL_NAME

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": MODEL_NAME}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider=PROVIDER, ls_model_name=MODEL_NAME, ls_model_type="chat")

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = self._decide(messages, kwargs)
        message = AIMessage(
            content=said.text,
            tool_calls=_tool_calls(said.call, messages),
            usage_metadata=_count_usage(messages, said),
            response_metadata=_metadata(said),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, None, **kwargs)

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, kwargs):
            piece = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=piece)
            yield piece

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, kwargs):
            piece = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=piece)
            yield piece
            # Nothing here waits for anything, so the other agents are let in on purpose.
            await asyncio.sleep(0)

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools offered; `tool_choice` changes nothing."""
        offered = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=offered, **kwargs)

    @override
    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return the model answering as JSON; `method` and the like change nothing."""
        if not isinstance(schema, dict):
            msg = f"The offline planner takes a JSON schema as a dict, not {schema!r}."
            raise TypeError(msg)
        name = schema.get("title", "answer")
        answer = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
        read = _read_with_raw if include_raw else _read_parsed
        return self.bind(response_format=answer) | RunnableLambda(read)

    def _decide(self, messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]) -> Reply:
        start, prompt = _find_prompt(messages)
        schema = _schema_of(kwargs)
        if schema is not None:
            return Reply(self._route(prompt, schema, messages[start].text if messages else ""))
        tools = kwargs.get("tools") or []
        if tools:
            results = [m for m in messages[start + 1 :] if isinstance(m, ToolMessage)]
            outputs = [read_output(m.text, failed=m.status == "error") for m in results]
            return reply(
                Desk(
                    prompt,
                    _arguments_of(tools),
                    outputs,
                    self.specs,
                    _libraries_of(tools),
                    _has_web(tools),
                )
            )
        if prompt.assignment or not prompt.results:
            return Reply(NEEDS_MODEL)
        return Reply(compose_answer(prompt.results))

    def _route(self, prompt: PromptParts, schema: Mapping[str, Any], text: str) -> str:
        """Return a Route as JSON; for any other schema the sentence that this needs a model."""
        try:
            agent = schema["properties"]["assignments"]["items"]["properties"]["agent"]
        except (KeyError, TypeError):
            return NEEDS_MODEL
        known = {spec.name: spec for spec in self.specs}
        names = agent.get("enum") or ([agent["const"]] if "const" in agent else list(known))
        specs = [known.get(name) or AgentSpec(name=name, description="") for name in names]
        if "\n<results>\n" in text and not prompt.results:
            # Results that cannot be told apart are results all the same: going on would never end.
            return Route(reason="There are results.", assignments=[]).model_dump_json()
        route = decide_route(prompt.task, prompt.results, specs, prompt.files)
        return route.model_dump_json(exclude_none=True)

    def _chunks(
        self, messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]
    ) -> Iterator[AIMessageChunk]:
        said = self._decide(messages, kwargs)
        for text in _pieces(said.text):
            yield AIMessageChunk(content=text)
        for call in _tool_calls(said.call, messages):
            yield AIMessageChunk(
                content="",
                tool_call_chunks=[
                    tool_call_chunk(
                        name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=0
                    )
                ],
            )
        yield AIMessageChunk(
            content="",
            usage_metadata=_count_usage(messages, said),
            response_metadata=_metadata(said),
            chunk_position="last",
        )


def _find_prompt(messages: Sequence[BaseMessage]) -> tuple[int, PromptParts]:
    """Return the last prompt and its place: a message after it may only ask to answer again."""
    humans = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
    if not humans:
        return max(len(messages) - 1, 0), PromptParts(messages[-1].text if messages else "", [], "")
    prompts = [i for i in humans if messages[i].text.startswith(("<task>\n", "<earlier>\n"))]
    place = (prompts or humans)[-1]
    return place, read_prompt(messages[place].text)


def _schema_of(kwargs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = kwargs.get("response_format")
    if not isinstance(wanted, Mapping):
        return None
    schema = (wanted.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, Mapping) else None


def _arguments_of(tools: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    functions = [tool.get("function", {}) for tool in tools]
    return {
        function["name"]: list(function.get("parameters", {}).get("properties", {}))
        for function in functions
        if "name" in function
    }


def _libraries_of(tools: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    functions = [tool.get("function", {}) for tool in tools]
    described = [f.get("description", "") for f in functions if f.get("name") == RUN]
    return read_libraries(described[0]) if described else ()


def _has_web(tools: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether there is a web search, and it says nothing of being off."""
    functions = [tool.get("function", {}) for tool in tools]
    described = [f.get("description", "") for f in functions if f.get("name") == WEB]
    return bool(described) and WEB_OFF not in described[0]


def _tool_calls(call: Call | None, messages: Sequence[BaseMessage]) -> list[Any]:
    """Return the call with an id of its own that is the same when the same messages come again."""
    if call is None:
        return []
    seed = json.dumps([call.tool, call.args, [m.text for m in messages]])
    number = hashlib.blake2s(seed.encode(), digest_size=8).hexdigest()
    return [tool_call(name=call.tool, args=call.args, id=f"call_{number}")]


def _count_usage(messages: Sequence[BaseMessage], said: Reply) -> UsageMetadata:
    asked = sum(_count_tokens(message.text) for message in messages)
    call = json.dumps(said.call.args) if said.call else ""
    answered = _count_tokens(said.text + call)
    return UsageMetadata(input_tokens=asked, output_tokens=answered, total_tokens=asked + answered)


def _count_tokens(text: str) -> int:
    return -(-len(text) // _CHARS_PER_TOKEN)


def _metadata(said: Reply) -> dict[str, Any]:
    return {
        "model_name": MODEL_NAME,
        "model_provider": PROVIDER,
        "finish_reason": "tool_calls" if said.call else "stop",
    }


def _pieces(text: str) -> Iterator[str]:
    words = _WORDS.findall(text)
    size = -(-len(words) // MAX_PIECES) or 1
    for start in range(0, len(words), size):
        yield "".join(words[start : start + size])


def _read_parsed(message: AIMessage) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(message.text))


def _read_with_raw(message: AIMessage) -> dict[str, Any]:
    try:
        return {"raw": message, "parsed": json.loads(message.text), "parsing_error": None}
    except json.JSONDecodeError as error:
        return {"raw": message, "parsed": None, "parsing_error": error}
