"""Which of its tools an agent is offered in a run: a model that sees few picks the right one."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

_LIST: Final = "list_files"
_PUBLISH: Final = "publish_file"
"""Takes the place of the other where a run asks for it, so that nobody is offered more than five."""

_ASKS: Final = re.compile(
    r"\bpublish(?:es|ing)?\b|\boutput\s+(?:folder|directory)\b|\b(?:hand|deliver)(?:s|ed|ing)?\b.{0,60}\b(?:over|files?)\b",
    re.IGNORECASE,
)
_SCAN_CHARS: Final = 8_000


def possible_tools(tools: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return every tool that an agent with these may be offered, of those that there are."""
    publishes = _LIST in tools and _PUBLISH not in tools and _PUBLISH in known
    return (*tools, _PUBLISH) if publishes else tuple(tools)


def offered_tools(tools: Sequence[str], known: Collection[str], *wanted: str) -> tuple[str, ...]:
    """Return what an agent with these tools is offered for a task and an assignment."""
    if possible_tools(tools, known) == tuple(tools):
        return tuple(tools)
    asked = any(_ASKS.search(text[:_SCAN_CHARS]) for text in wanted)
    return tuple(_PUBLISH if asked and name == _LIST else name for name in tools)


def same_tools(tools: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether two offers may be of the same agent."""
    return {*tools} - {_LIST, _PUBLISH} == {*others} - {_LIST, _PUBLISH}
