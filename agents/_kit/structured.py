"""Finds the JSON in what a model answered where it was asked for a structured answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from langchain_core.messages import AIMessage

from agents._kit.cleaning import clean_value

MAX_CHARS: Final = 32_000
"""A longer answer is no decision, and would only cost time to look through."""

_FENCE: Final = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)


def json_in(message: AIMessage) -> Iterator[Any]:
    """Yield what may be the answer: the arguments of tool calls, the text, a fenced block in it."""
    for call in message.tool_calls:
        yield call["args"]
    text = message.text.strip()
    if len(text) > MAX_CHARS:
        return
    fenced = _FENCE.search(text)
    for source in (text, fenced[1] if fenced else ""):
        try:
            # Escaped, half a surrogate pair is whole text to whatever looked at the message before.
            yield clean_value(json.loads(source))
        except (ValueError, RecursionError):
            continue
