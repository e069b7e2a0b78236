"""How many tokens a prompt can be at most, before anybody has counted them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from agents._kit.metering import model_of

PROMPT_TOKENS: Final = 64
"""What a provider may put around a prompt."""

MESSAGE_TOKENS: Final = 64
"""What a provider, or the emulation of what a model cannot do, may put around one message."""

TOOL_TOKENS: Final = 128
"""What may stand around the description of one tool."""


def most_input_tokens(messages: Sequence[BaseMessage], *, model: str, about: int = 0) -> int:
    """Return the most that a prompt can be for a model (`provider:model`); `about` is what its tools and its
    schema can be.

    A token is at least one byte. What the model has already read was counted by its provider; of that some may
    have been cleared since.
    """
    most = PROMPT_TOKENS + about + _bytes_of(messages)
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        usage = message.usage_metadata if isinstance(message, AIMessage) else None
        # Another model counts otherwise.
        if usage and usage["input_tokens"] > 0 and model_of(message) == model:
            known = usage["input_tokens"] + max(usage["output_tokens"], 0)
            return min(most, known + _bytes_of(messages[place + 1 :]))
    return most


def tools_bytes(tools: Sequence[Any]) -> int:
    """Return the most tokens that the description of tools can be."""
    return sum(TOOL_TOKENS + _json_bytes(convert_to_openai_tool(tool)) for tool in tools)


def schema_bytes(schema: dict[str, Any] | None) -> int:
    """Return the most tokens that a response schema can be."""
    return TOOL_TOKENS + _json_bytes(schema) if schema else 0


def _bytes_of(messages: Sequence[BaseMessage]) -> int:
    return sum(MESSAGE_TOKENS + message_bytes(message) for message in messages)


def message_bytes(message: BaseMessage) -> int:
    """Return how long a message is, with the calls that it makes."""
    content = message.content
    size = _text_bytes(content) if isinstance(content, str) else _json_bytes(content)
    size += _text_bytes(message.name or "")
    if isinstance(message, AIMessage):
        calls = [*message.tool_calls, *message.invalid_tool_calls]
        size += _json_bytes(calls) if calls else 0
    if isinstance(message, ToolMessage):
        size += _text_bytes(message.tool_call_id)
    return size


def _json_bytes(value: Any) -> int:  # noqa: ANN401 - any JSON value
    return _text_bytes(json.dumps(value, ensure_ascii=False, default=str))


def _text_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
