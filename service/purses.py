"""What a model call is paid from: limits, what was spent of them, and what is set aside."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple

from domain.budget import FLOOR_TOKENS, PlannedCall
from domain.limits import RUN, AgentLimits
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


def sentence(planned: PlannedCall, purse: Purse, limit: LimitName) -> str:
    """Return what a person reads who may let the run go on."""
    whose = "The run" if purse.scope == RUN else f"The agent {purse.scope}"
    if limit == "unknown_prices":
        amount = purse.limits.max_cost_usd
        limit_of = f"{whose[0].lower()}{whose[1:]} has a limit in money ({amount} USD)"
        if amount is None:
            limit_of = "there is a limit in money for each day"
        return f"The price of {planned.model} is not known, and {limit_of}. May its calls be made all the same?"
    if limit == "max_tokens":
        spent, most = purse.share.counted_tokens, purse.limits.max_tokens
        return (
            f"{whose} has used {spent:,} of {most:,} tokens, and the next call of {planned.agent} may "
            f"need up to {planned.input_tokens + min(FLOOR_TOKENS, planned.max_tokens):,}."
        )
    money, cap = purse.share.counted_cost_usd, purse.limits.max_cost_usd
    return (
        f"{whose} has spent {money.normalize():f} of {cap} USD, and the next call of {planned.agent} "
        f"({planned.model}) may cost more than is left."
    )
