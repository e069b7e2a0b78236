"""What forgets runs that have ended, step by step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

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

    async def delete(self, *, before: datetime, now: datetime, limit: int) -> list[RunRef]:
        """Erase runs that ended by then, as `RunEraser` does."""
        ...

    async def expire_keys(self, *, now: datetime, limit: int) -> int:
        """Drop idempotency records that stand for their run no longer; return how many."""
        ...

    async def unknown(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return those of the runs that do not exist."""
        ...


class Erased(NamedTuple):
    """A run that was deleted, and when."""

    erased_at: datetime
    ref: RunRef


class RunEraser(Protocol):
    """Erases runs: after one transaction the database has nothing of them but sums of what they cost, that
    their idempotency keys were used, and their ids, for as long as files of them may have to be removed."""

    async def erase_run(self, ref: RunRef, *, now: datetime) -> bool:
        """Erase a run; `False` where there is none. Raises `CallerError("run-not-terminal")`."""
        ...

    async def erase_thread(
        self, tenant_id: str, thread_id: str, *, ended: Collection[RunRef], now: datetime
    ) -> bool:
        """Erase all runs of a thread; `False` where there is no such thread.

        Raises `CallerError("run-not-terminal")` where one is not among those that have `ended`, and erases
        nothing then: a run that has just ended may still be written about."""
        ...

    async def ended_of(self, tenant_id: str, thread_id: str) -> list[RunRef]:
        """Return the runs of a thread that have ended."""
        ...

    async def erased(self, after: Erased | None, *, limit: int) -> list[Erased]:
        """Return runs that were erased, of every tenant, in the order of that: those that come after one."""
        ...

    async def scrub(self, refs: Sequence[RunRef]) -> None:
        """Drop what a segment has saved of erased runs that ended only after them."""
        ...

    async def wipe(self) -> None:
        """Return when the bytes of what was erased are in no file of the database any more, as far as
        that is in our hands."""
        ...
