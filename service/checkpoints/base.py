"""Where LangGraph's checkpoints of runs are kept, whatever the database."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from langgraph.checkpoint.base import BaseCheckpointSaver

from domain.run import Run
from domain.usage import ModelCall

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

    def book(self, run_id: str, call: ModelCall) -> None:
        """Book a paid model call no later than the next checkpoint of the run's segment: what its
        answer led to must not be saved without it. The event log books it too; once counts."""
        ...

    async def settle(self, run_id: str) -> None:
        """Return when all that the run's segment has saved so far is committed, before more is paid.

        Where it cannot be it raises, or leaves that to the next write of the run's event log."""
        ...

    async def flush(self, run_id: str) -> None:
        """Return when what the event log is about to tell is committed, at the latest with the log's
        own write. Raises where it cannot be, `OwnershipLostError` where a newer attempt exists."""
        ...
