"""Where LangGraph's checkpoints of runs are kept, whatever the database."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from langgraph.checkpoint.base import BaseCheckpointSaver

from domain.run import Run

Saver = BaseCheckpointSaver[Any]


class Checkpoints(Protocol):
    """The checkpoints of all runs. What a segment saves is refused once a newer attempt exists."""

    @property
    def saver(self) -> Saver:
        """Return a saver that reads, for whatever is no segment."""
        ...

    def segment(self, run: Run) -> AbstractAsyncContextManager[Saver]:
        """Return the saver of one claimed run; all it was given is saved when the context ends."""
        ...

    async def settle(self, run_id: str) -> None:
        """Return when all that the run's segment has saved so far is committed, or cannot be: then
        the next write of its event log fails and ends the segment."""
        ...

    async def flush(self, run_id: str) -> None:
        """Return when what the event log is about to tell is committed, at the latest with the log's
        own write. Raises where it cannot be, `OwnershipLostError` where a newer attempt exists."""
        ...
