"""Keeps a message whose calls wait for a person: said without them, and said again with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, messages_to_dict

from domain.agent import Assignment
from domain.approval import Ask, PausedWork

HELD: Final = "held"
"""Where a message keeps the calls it was said with."""


def hold(message: AIMessage, turn: int, asks: Sequence[Ask]) -> AIMessage:
    """Return the message without its calls, which ends the agent's loop; they wait beside it."""
    return _without_calls(message, {"turn": turn, "calls": message.tool_calls, "asks": list(asks)})


def hold_unsaid(turn: int, ask: Ask) -> AIMessage:
    """Return what stands in the place of a message that could not be paid: it ends the agent's loop."""
    held = {"turn": turn, "calls": [], "asks": [ask], "unsaid": True}
    return AIMessage("", additional_kwargs={HELD: held})


def is_unsaid(message: AnyMessage) -> bool:
    """Return whether a message only stands in the place of one that could not be paid."""
    return bool(message.additional_kwargs.get(HELD, {}).get("unsaid"))


def unhold(message: AIMessage) -> AIMessage:
    """Return a message as the model said it."""
    extra = {name: value for name, value in message.additional_kwargs.items() if name != HELD}
    calls = message.additional_kwargs[HELD]["calls"]
    return message.model_copy(update={"tool_calls": calls, "additional_kwargs": extra})


def held_turn(message: AIMessage | None) -> int | None:
    """Return the turn of a message that is held, `None` where there is none."""
    return message.additional_kwargs[HELD]["turn"] if message else None


def pause(assignment: Assignment, messages: Sequence[AnyMessage]) -> PausedWork | None:
    """Return what a conversation waits for, where its last message is held."""
    last = messages[-1] if messages else None
    held: dict[str, Any] | None = last.additional_kwargs.get(HELD) if last else None
    if held is None or not isinstance(last, AIMessage):
        return None
    if held.get("unsaid"):
        before = messages_to_dict(messages[:-1])
        return PausedWork(assignment=assignment, messages=before, asks=held["asks"], unsaid=True)
    kept = _without_calls(last, {name: held[name] for name in ("turn", "calls")})
    return PausedWork(
        assignment=assignment,
        messages=messages_to_dict([*messages[:-1], kept]),
        asks=held["asks"],
    )


def _without_calls(message: AIMessage, held: dict[str, Any]) -> AIMessage:
    extra = {**message.additional_kwargs, HELD: held}
    return message.model_copy(update={"tool_calls": [], "additional_kwargs": extra})
