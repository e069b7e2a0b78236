"""What forgets runs that have ended, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.ports import RunRef


class RunKeeper(Protocol):
    """Forgets finished runs step by step. Every method deletes one batch in one transaction and returns
    what it has dealt with; nothing returned means that nothing is due. Processes share the work. They
    cross tenants: only housekeeping calls them, and nothing here touches a run that has not ended."""

    async def trim(self, *, now: datetime, limit: int) -> list[RunRef]:
        """Drop what only a run that executes needs: the steps within its agents.

        Its own steps stay, and whatever a run that was cut off needs to go on where it was."""
        ...

    async def prune(self, *, before: datetime, limit: int) -> list[RunRef]:
        """Drop all checkpoints but the last of runs that ended by then."""
        ...

    async def clear(self, *, before: datetime, limit: int) -> list[RunRef]:
        """Drop all events but the last of runs that ended by then."""
        ...

    async def delete(self, *, before: datetime, limit: int) -> list[RunRef]:
        """Drop runs that ended by then, with all that the database has of them."""
        ...

    async def expire_keys(self, *, now: datetime, limit: int) -> int:
        """Drop idempotency records that stand for their run no longer; return how many."""
        ...

    async def unknown(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return those of the runs that do not exist."""
        ...
