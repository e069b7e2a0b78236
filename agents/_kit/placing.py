"""Where a tool call stands in its agent's conversation."""

from __future__ import annotations

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage


def locate(request: ToolCallRequest) -> tuple[int, int]:
    """Return the turn and the position of a call: stable, unlike the provider's call ids."""
    turns = [m for m in request.state["messages"] if isinstance(m, AIMessage)]
    for turn in range(len(turns) - 1, -1, -1):
        for position, call in enumerate(turns[turn].tool_calls):
            if call["id"] == request.tool_call["id"]:
                return turn, position
    return max(len(turns) - 1, 0), 0


def made_before(request: ToolCallRequest) -> int:
    """Return the calls before this turn, and those of this turn that stand before this one."""
    made = sum(isinstance(m, ToolMessage) for m in request.state["messages"])
    return made + locate(request)[1]
