"""What was spent between two days, summed by day, agent, model or key: the question and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, NamedTuple, Protocol

from domain.usage import UsageShare

Dimension = Literal["day", "agent", "model", "key"]

DIMENSIONS: Final[tuple[Dimension, ...]] = ("day", "agent", "model", "key")


@dataclass(frozen=True, kw_only=True)
class SpendingQuery:
    """Which model calls to sum, and how."""

    since: date
    until: date
    """Both are days in UTC, and both count."""
    group_by: tuple[Dimension, ...]
    """At least one; the groups come in the order of these."""
    limit: int = 100
    after: tuple[str, ...] | None = None
    """Only groups beyond the one with these values."""


class SpendingGroup(NamedTuple):
    """What one group of calls came to."""

    values: tuple[str, ...]
    """A value for each dimension that was asked for."""
    share: UsageShare


class SpendingLedger(Protocol):
    """Sums model calls over many runs."""

    async def groups(self, tenant_id: str, query: SpendingQuery) -> list[SpendingGroup]:
        """Return up to `query.limit + 1` groups (one more tells that there are more). Calls that are
        still being made are left out."""
        ...

    async def total(self, tenant_id: str, query: SpendingQuery) -> UsageShare:
        """Return the sum over all groups."""
        ...
