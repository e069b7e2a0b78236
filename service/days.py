"""What the runs of one API key may spend together on one day."""

from __future__ import annotations

from datetime import timedelta

from domain.limits import AgentLimits
from domain.ports import Clock, RunStore


class DayBudget:
    """Says whether a caller's runs may go on spending today; days are those of UTC."""

    def __init__(self, store: RunStore, clock: Clock, limits: AgentLimits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits

    async def refuse(
        self, tenant_id: str, caller_id: str, *, under_way: bool = False
    ) -> str | None:
        """Return why nothing more may be spent today; `None` where it may.

        `under_way`: the call that asks is among what is set aside already, so all of the limit may be."""
        most = self._limits
        if most.max_tokens is None and most.max_cost_usd is None:
            return None
        now = self._clock.now()
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        tokens, cost = await self._store.spent_since(tenant_id, caller_id, day)
        told = []
        if most.max_tokens is not None and (
            tokens > most.max_tokens if under_way else tokens >= most.max_tokens
        ):
            told.append(f"{most.max_tokens:,} tokens")
        if most.max_cost_usd is not None and (
            cost > most.max_cost_usd if under_way else cost >= most.max_cost_usd
        ):
            told.append(f"{most.max_cost_usd} USD")
        if not told:
            return None
        again = (day + timedelta(days=1)).isoformat().replace("+00:00", "Z")
        return (
            f"Today's limit of this API key is reached ({' and '.join(told)}). Try again after {again}, "
            "or have SIGNALBOX_BUDGETS raised."
        )
