"""What the runs of one API key may spend together on one day."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from domain.limits import AgentLimits
from domain.ports import Clock, RunStore
from domain.usage import ModelCall


class Refusal(NamedTuple):
    """Why nothing more may be spent today."""

    why: str
    passing: bool
    """Whether only what is set aside for calls under way stands against it: they may come to less."""


class DayBudget:
    """Says whether a caller's runs may go on spending today; days are those of UTC."""

    def __init__(self, store: RunStore, clock: Clock, limits: AgentLimits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits

    @property
    def counts_tokens(self) -> bool:
        """Return whether there is a limit in tokens."""
        return self._limits.max_tokens is not None

    @property
    def counts_money(self) -> bool:
        """Return whether there is a limit in money."""
        return self._limits.max_cost_usd is not None

    async def refuse(
        self, tenant_id: str, caller_id: str, own: ModelCall | None = None
    ) -> Refusal | None:
        """Return why nothing more may be spent today; `None` where it may.

        `own` is the call that asks; it is among what is set aside already, so all of the limit may be."""
        most = self._limits
        if most.max_tokens is None and most.max_cost_usd is None:
            return None
        now = self._clock.now()
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        spent = await self._store.spent_since(tenant_id, caller_id, day)
        told, passing = [], True
        if most.max_tokens is not None:
            mine = own.most_tokens if own else 1
            if spent.tokens + (spent.open_tokens if own else 1) > most.max_tokens:
                told.append(f"{most.max_tokens:,} tokens")
                passing = spent.tokens + mine <= most.max_tokens
        if most.max_cost_usd is not None:
            price = (own.most_cost_usd if own else None) or Decimal(0)
            left = most.max_cost_usd - spent.cost_usd
            if left < spent.open_cost_usd if own else left <= 0:
                told.append(f"{most.max_cost_usd} USD")
                passing = passing and own is not None and price <= left
        if not told:
            return None
        again = (day + timedelta(days=1)).isoformat().replace("+00:00", "Z")
        why = (
            f"Today's limit of this API key is reached ({' and '.join(told)}). Try again after {again}, "
            "or have SIGNALBOX_BUDGETS raised."
        )
        return Refusal(why, passing=passing)
