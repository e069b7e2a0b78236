"""Numbers the sources of an agent over all its calls: one number, one source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from langchain_core.messages import AnyMessage, ToolMessage

SOURCES_PER_CALL: Final = 20
"""More sources than any search returns: the room for numbers that each call of a turn gets."""


def number_citations(
    message: ToolMessage, messages: Sequence[AnyMessage], *, position: int
) -> None:
    """Shift the numbers of a result's sources past those that the agent has seen.

    Calls of one turn run side by side, so each gets a range of its own by its position.
    """
    own = (message.artifact or {}).get("citations") if isinstance(message.artifact, dict) else None
    if not own or not isinstance(message.content, str):
        return
    seen = [
        citation["number"]
        for earlier in messages
        if isinstance(earlier, ToolMessage) and isinstance(earlier.artifact, dict)
        for citation in earlier.artifact.get("citations", [])
    ]
    offset = max(seen, default=0) + position * SOURCES_PER_CALL
    if not offset:
        return
    # Each source's own line alone: a page may have lines that look like one.
    lines: dict[str, str] = {}
    for one in own:
        named = f"{one['title']} — {one['source']}"
        lines[f"[{one['number']}] {named}"] = f"[{one['number'] + offset}] {named}"
    shown = [lines.pop(line, line) for line in message.content.split("\n")]
    message.content = "\n".join(shown)
    shifted = [{**citation, "number": citation["number"] + offset} for citation in own]
    message.artifact = {**message.artifact, "citations": shifted}
