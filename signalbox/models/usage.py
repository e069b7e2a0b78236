"""What was used and what it cost."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from pydantic import Field

from signalbox.models.base import Model, Money


class UsageShare(Model):
    """What some model calls used together: those of a run, of one agent, of one model."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Those of the input that the provider had in its cache."""
    reasoning_tokens: int = 0
    """Those of the output that were thought and not said."""
    cost_usd: Money | None = Decimal(0)
    """`None` as soon as one call's price is not known."""
    cost_known: bool = True
    calls: int = 0
    unmetered_calls: int = 0
    """Calls whose tokens nobody told."""
    cache_savings_usd: Money | None = Decimal(0)


class Usage(UsageShare):
    """What a run used in total, and by whom."""

    by_agent: dict[str, UsageShare] = Field(default={})
    by_model: dict[str, UsageShare] = Field(default={})


class Spending(UsageShare):
    """What one group of calls came to; it has the fields that were grouped by."""

    day: str | None = None
    agent: str | None = None
    model: str | None = None
    key: str | None = None


class SpendingPage(Model):
    """A page of the cost ledger."""

    from_: dt.date = Field(alias="from")
    to: dt.date
    data: list[Spending]
    next_cursor: str | None
    has_more: bool
    total: UsageShare
    """Of all groups, those of the other pages too."""


class AgentLimits(Model):
    """What one agent of a run may spend."""

    max_cost_usd: Money | None = None
    max_tokens: int | None = None


class Spent(Model):
    """What counts against a run's limits."""

    cost_usd: Money = Decimal(0)
    cost_known: bool = True
    tokens: int = 0
    seconds: float = 0.0


class Remaining(Model):
    """What is left of a run's limits; `None` where there is none."""

    cost_usd: Money | None = None
    tokens: int | None = None
    seconds: float | None = None
    rounds: int | None = None


class RunBudget(Model):
    """A run's limits, what is spent and what is left."""

    max_cost_usd: Money | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    per_agent: dict[str, AgentLimits] = Field(default={})
    max_tier: str | None = None
    unknown_prices: str | None = None
    max_rounds: int
    spent: Spent = Spent()
    remaining: Remaining = Remaining()
