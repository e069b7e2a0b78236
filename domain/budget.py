"""What a run may spend: the limits, and the guard that every model call passes before it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from domain.agent import Tier
from domain.usage import ModelCall

FLOOR_TOKENS: Final = 512
"""A call that may answer with fewer tokens is not worth making."""


@dataclass(frozen=True, kw_only=True)
class PlannedCall:
    """A model call that is about to be made."""

    run_id: str
    attempt: int
    key: str
    """That of the `ModelCall` it becomes."""
    agent: str
    model: str
    """`provider:model`."""
    tier: Tier
    round: int
    input_tokens: int
    """The most that its prompt can be."""
    max_tokens: int
    """The most that it may answer with."""


class CallGuard(Protocol):
    """Lets model calls be made as long as their run may pay for them."""

    async def reserve(self, planned: PlannedCall) -> int:
        """Set aside what a call may cost; return how many tokens it may answer with, at most those asked
        for and at least `FLOOR_TOKENS` (or those asked for, where they are fewer).

        Waits while calls in flight may leave room. Raises `BudgetReachedError` where nothing fits, and
        `RunFailedError` (`deadline-exceeded`) where the run's time is over."""
        ...

    async def settle(self, planned: PlannedCall, call: ModelCall | None) -> None:
        """Put what a reserved call came to in the place of the reservation; `None` where nothing is billed,
        because it was refused or never sent. Never raises."""
        ...

    def seconds_left(self, run_id: str) -> float | None:
        """Return the running time that a run has left; `None` where it has no limit."""
        ...


class NoGuard:
    """Lets every call be made as it is: for graphs outside of the service."""

    async def reserve(self, planned: PlannedCall) -> int:
        """Return what was asked for."""
        return planned.max_tokens

    async def settle(self, planned: PlannedCall, call: ModelCall | None) -> None:
        """Do nothing."""

    def seconds_left(self, run_id: str) -> float | None:
        """Return that there is no limit."""
        del run_id
        return None
