"""What a model call is paid from: limits, what was spent of them, and what is set aside."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple

from domain.limits import AgentLimits
from domain.usage import UsageShare

LimitName = Literal["max_cost_usd", "max_tokens", "unknown_prices"]


class Held(NamedTuple):
    """What is set aside for a call."""

    agent: str
    tokens: int
    cost_usd: Decimal


class Purse(NamedTuple):
    """Limits, and what has been taken of them."""

    scope: str
    limits: AgentLimits
    share: UsageShare
    held: list[Held]

    def room_tokens(self) -> int | None:
        if self.limits.max_tokens is None:
            return None
        held = sum(each.tokens for each in self.held)
        return self.limits.max_tokens - self.share.counted_tokens - held

    def room_usd(self) -> Decimal | None:
        if self.limits.max_cost_usd is None:
            return None
        held = sum((each.cost_usd for each in self.held), Decimal(0))
        return self.limits.max_cost_usd - self.share.counted_cost_usd - held
