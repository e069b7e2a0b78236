"""What a model call used, as its provider told it, and which model it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NotRequired

from langchain_core.messages import AIMessage, BaseMessage
from typing_extensions import TypedDict

from agents._kit.cleaning import plain_text
from domain.agent import Tier, TokenCount
from domain.budget import PlannedCall
from domain.usage import CallStatus, ModelCall

MOST_TOKENS: Final = 10**12
"""More than any call can use; a provider may say anything."""

OFFLINE: Final = "offline:planner"
"""The name of the planner that works where no model is configured."""

MODEL_CHARS: Final = 300
"""Of the name of a model that somebody else has called."""

_ANSWERED: Final = "signalbox"
"""Where a message keeps who has written it."""


class Answered(TypedDict):
    """Who has written a message, and how long it could have been."""

    model: str
    """`provider:model`."""
    tier: Tier
    max_tokens: int
    room: NotRequired[int]
    """How long its prompt was to be at most, by our estimate: what was left out of it follows from that."""


def mark(message: AIMessage, answered: Answered) -> AIMessage:
    """Return a message that says who has written it, kept where the conversation is kept."""
    metadata = {**message.response_metadata, _ANSWERED: dict(answered)}
    return message.model_copy(update={"response_metadata": metadata})


def answered_by(message: BaseMessage) -> Answered | None:
    """Return who has written a message; `None` where it did not come from our models."""
    found: Answered | None = message.response_metadata.get(_ANSWERED)
    return found


def model_of(message: BaseMessage) -> str | None:
    """Return the model that has written a message, as `provider:model`."""
    answered = answered_by(message)
    return answered["model"] if answered else None


def booked(planned: PlannedCall, status: CallStatus, message: AIMessage | None) -> ModelCall:
    """Return what a call came to, without its price; zeros where the provider has not told what it used."""
    metered = message is not None and is_told(message)
    told = count_tokens(message, fallback_model=planned.model) if message and metered else None
    return ModelCall(
        key=planned.key,
        agent=planned.agent,
        model=planned.model,
        tier=planned.tier,
        input_tokens=told["input_tokens"] if told else 0,
        output_tokens=told["output_tokens"] if told else 0,
        cached_tokens=told["cached_tokens"] if told else 0,
        reasoning_tokens=reasoning_tokens(message) if message and metered else 0,
        cost_usd=None,
        round=planned.round,
        status=status,
        metered=metered,
    )


@dataclass(frozen=True, kw_only=True)
class OutsideCall:
    """What a call came to that an outside graph has made."""

    own_id: str
    """That of its answer, else of the call."""
    model: str
    """As its answer names it."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    most_tokens: int = 0
    metered: bool = False
    status: Literal["completed", "failed", "cancelled"] = "completed"
    cause: str | None = None
    """What it failed of, in one word."""


def outside_call(message: AIMessage, *, own_id: str, model: str = "unknown") -> OutsideCall:
    """Return what a call came to that has given an answer; `model` is what it is called where that does not say."""
    told, heard = count_tokens(message, fallback_model=""), is_told(message)
    named = named_model(message.response_metadata.get("model_provider"), told["model"])
    return OutsideCall(
        own_id=own_id,
        model=named if told["model"] else model,
        input_tokens=told["input_tokens"] if heard else 0,
        output_tokens=told["output_tokens"] if heard else 0,
        cached_tokens=told["cached_tokens"] if heard else 0,
        reasoning_tokens=reasoning_tokens(message) if heard else 0,
        metered=heard,
        most_tokens=told["input_tokens"] + told["output_tokens"],
    )


def unmetered_call(
    model: str, *, own_id: str, status: Literal["failed", "cancelled"], cause: str
) -> OutsideCall:
    """Return a call that may have been paid, of which nobody has heard what it used."""
    return OutsideCall(own_id=own_id, model=model, status=status, cause=cause)


def named_model(provider: str | None, model: str | None) -> str:
    """Return the name of a model that somebody else has called."""
    if provider == "offline":
        return OFFLINE
    named = f"{provider}:{model}" if provider and model else model
    shown = "".join(c for c in plain_text(named or "") if c.isprintable())
    return shown[:MODEL_CHARS] or "unknown"


def booked_outside(planned: PlannedCall, call: OutsideCall) -> ModelCall:
    """Return a call that somebody else has made as it is booked, without its price."""
    return ModelCall(
        key=planned.key,
        agent=planned.agent,
        model=planned.model,
        tier=planned.tier,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cached_tokens=call.cached_tokens,
        reasoning_tokens=call.reasoning_tokens,
        cost_usd=None,
        round=planned.round,
        status=call.status,
        metered=call.metered,
        most_tokens=call.most_tokens,
    )


def is_told(message: AIMessage) -> bool:
    """Return whether a provider has told what a call used. No prompt is empty, and no word takes no token: a
    server that says so does not count, and what it does is not for nothing."""
    usage = message.usage_metadata
    if usage is None or _count(usage.get("input_tokens")) == 0:
        return False
    said = bool(message.text or message.tool_calls or message.invalid_tool_calls)
    return _count(usage.get("output_tokens")) > 0 or not said


def told_calls(messages: Sequence[BaseMessage]) -> list[AIMessage]:
    """Return the answers that tell of a call. What names no model and no tokens may be a text that an
    outside graph itself has made."""
    return [
        message
        for message in messages
        if isinstance(message, AIMessage)
        and (message.usage_metadata or message.response_metadata.get("model_name"))
    ]


def price_offline(call: ModelCall) -> Decimal | None:
    """Return what a call costs where nobody knows prices: only the planner's is known."""
    return Decimal(0) if call.model == OFFLINE else None


def count_tokens(message: AIMessage, *, fallback_model: str) -> TokenCount:
    """Return what one call used; zeros where the provider did not say."""
    # Not all of it need be there: of an answer out of a cache LangChain says only that it cost nothing.
    usage: Mapping[str, Any] = message.usage_metadata or {}
    details: dict[str, Any] = dict(usage.get("input_token_details") or {})
    named = model_of(message) or message.response_metadata.get("model_name")
    read = _count(usage.get("input_tokens"))
    return TokenCount(
        input_tokens=read,
        output_tokens=_count(usage.get("output_tokens")),
        cached_tokens=min(_count(details.get("cache_read")), read),
        calls=1,
        model=str(named or fallback_model),
    )


def add_tokens(messages: Sequence[AIMessage], *, fallback_model: str) -> TokenCount:
    """Return what the calls used together whose answers these are; there is at least one."""
    counts = [count_tokens(message, fallback_model=fallback_model) for message in messages]
    return TokenCount(
        input_tokens=sum(c["input_tokens"] for c in counts),
        output_tokens=sum(c["output_tokens"] for c in counts),
        cached_tokens=sum(c["cached_tokens"] for c in counts),
        calls=len(counts),
        model=counts[-1]["model"],
    )


def reasoning_tokens(message: AIMessage) -> int:
    """Return the tokens of an answer that were thought and not said."""
    usage = message.usage_metadata
    details: dict[str, Any] = dict((usage.get("output_token_details") if usage else None) or {})
    return _count(details.get("reasoning"))


def _count(told: float | None) -> int:
    """Return a count as a provider told it, within what a count can be."""
    number = told or 0
    return int(min(max(number, 0), MOST_TOKENS)) if math.isfinite(number) else 0
