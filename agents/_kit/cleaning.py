"""Makes what a model said storable: no lone surrogates, no numbers that JSON does not have."""

from __future__ import annotations

import math
from typing import Any, Final

from langchain_core.messages import AIMessage, ToolCall

DEEPEST: Final = 50
"""How deep arguments may be nested; every JSON reader has a limit."""

SAFE_INTEGER: Final = 2**63
"""Beyond this neither a database nor another language's JSON keeps an integer."""


def clean_message(message: AIMessage) -> AIMessage:
    """Return the message with its text and the arguments of its calls made storable.

    A provider can send half a surrogate pair or a bare `NaN`; the first write that met it would fail,
    and fail again at every new try.
    """
    content = clean_value(message.content)
    calls: list[ToolCall] = []
    for position, call in enumerate(message.tool_calls):
        # Providers repeat ids within a turn, or leave them out; a result has to find its call.
        known = {each["id"] for each in calls}
        own, number = call["id"], position
        while not own or own in known:
            own, number = f"call-{number}", number + 1
        calls.append({**call, "id": own, "args": clean_value(call["args"])})
    if content == message.content and calls == message.tool_calls:
        return message
    return message.model_copy(update={"content": content, "tool_calls": calls})


def is_clean(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Return whether a value can be stored as it is."""
    return bool(clean_value(value) == value)


def clean_text(text: str) -> str:
    """Return the text with what is no character replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def plain_text(text: str) -> str:
    """Return the text as every database keeps it in a column of its own: without NUL characters too."""
    return clean_text(text).replace("\x00", "\ufffd")


def clean_value(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value made storable, what is nested deeper than `DEEPEST` left out."""
    if depth > DEEPEST:
        return "nested too deep to show"
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -SAFE_INTEGER <= value < SAFE_INTEGER:
        return str(value) if value.bit_length() < 4096 else "a number too long to show"  # noqa: PLR2004 - what Python itself prints
    if isinstance(value, dict):
        return {clean_text(str(name)): clean_value(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [clean_value(each, depth + 1) for each in value]
    return value
