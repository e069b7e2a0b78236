"""The seam between what accepts runs and what executes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from domain.ports import RunRef


class Workers(NamedTuple):
    """Who works for a queue, and what there is to do."""

    alive: bool
    """Whether any worker has given a sign of life, whatever its queue."""
    waiting: bool
    """Whether an entry could be taken out."""
    busy: bool
    """Whether one has been taken out and is worked on."""


class Dispatcher(Protocol):
    """Gets segments executed: in this process or by another."""

    def submit(self, ref: RunRef, *, alone: bool) -> None:
        """Say that a committed run may be claimed. Losing this call costs time, not the run.

        `alone`: it began its thread, so no earlier run can be in its way."""
        ...

    def cancel(self, ref: RunRef) -> None:
        """Stop the run's segment if this dispatcher holds it; the row says `cancelled` already."""
        ...

    async def released(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return when no segment of these runs executes any more, or after a while those that still do."""
        ...
