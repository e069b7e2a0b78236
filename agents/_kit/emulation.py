"""A model that cannot call tools, or answer by a schema, is told in words and answers in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

WORDS_TOKENS: Final = 1024
"""More than the words below take in a prompt, without the schemas they introduce."""

SCHEMA_WORDS: Final = """\
Answer with one JSON object and nothing else: no words around it. It has to follow this JSON schema:
{schema}"""

TOOL_WORDS: Final = """\
You can call these tools:
{tools}

To call one, answer with one JSON object and nothing else: {{"tool": "its name", "args": {{its arguments}}}}.
You are then given its result in <tool_result>. Call one tool at a time. When you need none any more, answer
in plain words, without such an object."""

_CALL: Final = re.compile(r'\{\s*"tool"\s*:')
_DECODER: Final = json.JSONDecoder()
_FENCE: Final = re.compile(r"```(?:json)?\s*$")


class InWords(BaseChatModel):
    """Stands before a model and puts tools and schemas in words for it."""

    inner: BaseChatModel

    @property
    def _llm_type(self) -> str:
        return f"{self.inner._llm_type}-in-words"  # noqa: SLF001 - what the base class asks for

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        **kwargs: Any,  # noqa: ARG002 - what a provider understands of tools, this one does not
    ) -> Runnable[Any, AIMessage]:
        """Return the model with tools that it is told of."""
        return self.bind(tools=[convert_to_openai_tool(tool)["function"] for tool in tools])

    def bind_schema(self, schema: dict[str, Any]) -> Runnable[Any, AIMessage]:
        """Return the model with a schema that it is asked to follow."""
        return self.bind(schema=schema)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        told = in_words(messages, **kwargs)
        answer = self.inner.invoke(told, stop=stop)
        return _result(answer, calls="tools" in kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        told = in_words(messages, **kwargs)
        answer = await self.inner.ainvoke(told, stop=stop)
        return _result(answer, calls="tools" in kwargs)


def in_words(
    messages: Sequence[BaseMessage],
    *,
    tools: Sequence[dict[str, Any]] = (),
    schema: dict[str, Any] | None = None,
) -> list[BaseMessage]:
    """Return a conversation without tool calls and results, and what the model is to know of them."""
    words: list[str] = []
    if tools:
        words.append(TOOL_WORDS.format(tools="\n".join(_dump(tool) for tool in tools)))
    if schema:
        words.append(SCHEMA_WORDS.format(schema=_dump(schema)))
    told: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            result = f'<tool_result tool="{message.name}">\n{message.text}\n</tool_result>'
            before = told[-1] if told else None
            if isinstance(before, HumanMessage) and before.name == "tools":
                # Two turns of the user in a row are an error to many a model.
                told[-1] = HumanMessage(f"{before.text}\n{result}", name="tools")
            else:
                told.append(HumanMessage(result, name="tools"))
        elif isinstance(message, AIMessage):
            calls = [
                _dump({"tool": call["name"], "args": call["args"]}) for call in message.tool_calls
            ]
            told.append(AIMessage("\n".join(filter(None, [message.text, *calls]))))
        else:
            told.append(message)
    told = [HumanMessage(m.content) if m.name == "tools" else m for m in told]
    return _with_words(told, "\n\n".join(words))


def _with_words(messages: list[BaseMessage], words: str) -> list[BaseMessage]:
    if not words:
        return messages
    if messages and isinstance(messages[0], SystemMessage):
        return [SystemMessage(f"{messages[0].text}\n\n{words}"), *messages[1:]]
    return [SystemMessage(words), *messages]


def _result(answer: AIMessage, *, calls: bool) -> ChatResult:
    message = read_call(answer) if calls else answer
    return ChatResult(generations=[ChatGeneration(message=message)])


def read_call(answer: AIMessage) -> AIMessage:
    """Return an answer in which the call that its text holds is a real one."""
    text = answer.text
    found = _CALL.search(text)
    if answer.tool_calls or found is None:
        return answer
    try:
        value, _ = _DECODER.raw_decode(text, found.start())
    except (ValueError, RecursionError):
        return answer
    name, args = value["tool"], value.get("args", {})
    if not isinstance(name, str) or not isinstance(args, dict):
        return answer
    before = _FENCE.sub("", text[: found.start()]).strip()
    call = ToolCall(name=name, args=args, id="call-0", type="tool_call")
    return answer.model_copy(update={"content": before, "tool_calls": [call]})


def _dump(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False)
