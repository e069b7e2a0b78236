"""Counted tokens and money, by agent and by model. Money is `Decimal`; an unknown price is never 0."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import reduce
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from domain.agent import Tier

EXACT: Final = Context(prec=60)
"""With more digits than any sum of money has: the usual 28 round where a price has many."""

CallStatus = Literal["completed", "failed", "cancelled", "lost", "cached"]
"""What became of a model call: `completed` its answer was used · `failed` it gave none that could be ·
`cancelled` it was stopped from outside · `lost` the process ended while it was made · `cached` calls that
were not made, because another run had made them."""


def plain(amount: Decimal) -> str:
    """Return a sum of money as people write it: no exponent, no zeros at the end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


Usd = Annotated[Decimal, PlainSerializer(plain, return_type=str, when_used="json")]
"""US dollars; a decimal string in JSON."""


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """One model call that was paid, or may have been, as it is booked."""

    key: str
    """Unique within the run: round, path, turn, attempt and try of the call. Of one of an outside graph its own id
    is the turn, and the attempt is 0."""
    agent: str
    model: str
    """`provider:model` as it is configured, whatever dated name the provider answers with."""
    tier: Tier
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: Decimal | None
    """`None` where the price is unknown."""
    reasoning_tokens: int = 0
    """Those of the output that were thought and not said."""
    round: int = 0
    status: CallStatus = "completed"
    metered: bool = True
    """Whether the provider has told what the call used; where it has not, the counts are 0."""
    most_tokens: int = 0
    """The most that it can have used, prompt and answer."""
    most_cost_usd: Decimal | None = None
    """What that costs; `None` where the price is unknown."""
    saved_cost_usd: Decimal | None = None
    """Of `cached` ones: what they cost the run that made them; `None` where that is unknown."""

    @property
    def counted_tokens(self) -> int:
        """Return what counts against a limit: what was used, or else the most that can have been."""
        return self.input_tokens + self.output_tokens if self.metered else self.most_tokens

    @property
    def counted_cost_usd(self) -> Decimal:
        """Return the same in money; 0 where the price is unknown."""
        cost = self.cost_usd if self.metered else self.most_cost_usd
        return cost or Decimal(0)


def cached_call(key: str, agent: str, model: str, tier: Tier, cost: Decimal | None) -> ModelCall:
    """Return the row of the ledger that says what was saved."""
    return ModelCall(
        key=key,
        agent=agent,
        model=model,
        tier=tier,
        input_tokens=0,
        output_tokens=0,
        cached_tokens=0,
        cost_usd=Decimal(0),
        most_cost_usd=Decimal(0),
        status="cached",
        saved_cost_usd=cost,
    )


def is_free(call: ModelCall) -> bool:
    """Return whether a call costs nothing whatever it comes to."""
    return call.most_cost_usd == 0


class UsageShare(BaseModel):
    """What some model calls used together: those of a run, of one agent, of one model."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Those of the input that the provider had in its cache; they cost their own price."""
    reasoning_tokens: int = 0
    """Those of the output that were thought and not said."""
    cost_usd: Usd | None = Decimal(0)
    """A decimal string in JSON; null as soon as one call's price is unknown."""
    cost_known: bool = True
    calls: int = 0
    """Model calls that were paid, or may have been."""
    unmetered_calls: int = 0
    """Calls whose tokens nobody told: they count as 0 tokens of an unknown price, unless the model is free."""
    cache_savings_usd: Usd | None = Decimal(0)
    """What calls have cost other runs that were not made again; null where a price is unknown."""
    counted_tokens: int = Field(default=0, exclude=True)
    """Internal: what counts against a limit."""
    counted_cost_usd: Decimal = Field(default=Decimal(0), exclude=True)


class Usage(UsageShare):
    """What a run used in total, and by whom."""

    by_agent: dict[str, UsageShare] = {}
    by_model: dict[str, UsageShare] = {}
    """By `provider:model` as it is configured."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a model costs, in US dollars for a million tokens."""

    input: Decimal
    output: Decimal
    cached: Decimal
    """Of the input, what the provider had in its cache."""


Share = TypeVar("Share", bound=UsageShare)


def add_call(share: Share, call: ModelCall) -> Share:
    """Return `share` with one more call in it; one unknown price makes the sum unknown."""
    if call.status == "cached":
        saved = add_known(share.cache_savings_usd, call.saved_cost_usd)
        return share.model_copy(update={"cache_savings_usd": saved})
    total = add_known(share.cost_usd, cost_of(call))
    return share.model_copy(
        update={
            "input_tokens": share.input_tokens + call.input_tokens,
            "output_tokens": share.output_tokens + call.output_tokens,
            "cached_tokens": share.cached_tokens + call.cached_tokens,
            "reasoning_tokens": share.reasoning_tokens + call.reasoning_tokens,
            "cost_usd": total,
            "cost_known": total is not None,
            "calls": share.calls + 1,
            "unmetered_calls": share.unmetered_calls + (not call.metered),
            "counted_tokens": share.counted_tokens + call.counted_tokens,
            "counted_cost_usd": EXACT.add(share.counted_cost_usd, call.counted_cost_usd),
        }
    )


def add_known(*amounts: Decimal | None) -> Decimal | None:
    """Return the sum of amounts of money; it is unknown where one of them is."""
    known = [amount for amount in amounts if amount is not None]
    return reduce(EXACT.add, known, Decimal(0)) if len(known) == len(amounts) else None


def add_shares(shares: Iterable[UsageShare]) -> UsageShare:
    """Return the sum of shares that have no call in common; one unknown price makes it unknown."""
    all_shares = list(shares)
    cost = add_known(*(share.cost_usd for share in all_shares))
    return UsageShare(
        input_tokens=sum(share.input_tokens for share in all_shares),
        output_tokens=sum(share.output_tokens for share in all_shares),
        cached_tokens=sum(share.cached_tokens for share in all_shares),
        reasoning_tokens=sum(share.reasoning_tokens for share in all_shares),
        cost_usd=cost,
        cost_known=cost is not None,
        cache_savings_usd=add_known(*(share.cache_savings_usd for share in all_shares)),
        calls=sum(share.calls for share in all_shares),
        unmetered_calls=sum(share.unmetered_calls for share in all_shares),
    )


def cost_of(call: ModelCall) -> Decimal | None:
    """Return what a call cost. What was not metered has no known price, but for 0: some models are free."""
    return call.cost_usd if call.metered or call.cost_usd == 0 else None


def book_call(usage: Usage, call: ModelCall) -> Usage:
    """Return a run's usage with one more call in it."""
    total = add_call(usage, call)
    by_agent = {
        **usage.by_agent,
        call.agent: add_call(usage.by_agent.get(call.agent, UsageShare()), call),
    }
    by_model = {
        **usage.by_model,
        call.model: add_call(usage.by_model.get(call.model, UsageShare()), call),
    }
    return total.model_copy(update={"by_agent": by_agent, "by_model": by_model})


def total_usage(calls: list[ModelCall]) -> Usage:
    """Sum a run's model calls by agent and by model."""
    usage = Usage()
    for call in calls:
        usage = book_call(usage, call)
    return usage
