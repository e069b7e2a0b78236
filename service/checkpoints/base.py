"""Where LangGraph's checkpoints of runs are kept, whatever the database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from langgraph.checkpoint.base import BaseCheckpointSaver

from domain.errors import StoreUnavailableError
from domain.run import Run
from domain.usage import ModelCall

Saver = BaseCheckpointSaver[Any]


REACH_SECONDS: Final = 10.0
"""How long a step may take to be handed over for saving: LangGraph does it right after the step."""


class Reached:
    """How far the checkpoints of one run have come, by namespace; ids sort by time."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._changed = asyncio.Event()

    def note(self, namespace: str, checkpoint_id: str) -> None:
        """Note a checkpoint that was handed over, or is known to be saved."""
        self._latest[namespace] = max(self._latest.get(namespace, ""), checkpoint_id)
        self._changed.set()

    async def wait(self, steps: Mapping[str, str]) -> None:
        """Return when all of these have been handed over."""
        try:
            async with asyncio.timeout(REACH_SECONDS):
                while any(self._latest.get(name, "") < each for name, each in steps.items()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            msg = f"the checkpoints of the steps {dict(steps)} were not saved"
            raise StoreUnavailableError(msg) from None


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

    async def open(self, run_id: str, call: ModelCall | None) -> None:
        """Return when it is committed that a call is being made, with all that the run's segment has saved
        before it: a crash may undo neither. `call` says the most that it can come to; `None` where nobody
        has to remember that it is made."""
        ...

    async def close(self, run_id: str, key: str) -> None:
        """Forget a call that was not made, or that nobody bills."""
        ...

    async def settle(self, run_id: str) -> None:
        """Return when all that the run's segment has saved so far is committed, before more is paid.

        Where it cannot be it raises, or leaves that to the next write of the run's event log."""
        ...

    async def reach(self, run_id: str, steps: Mapping[str, str]) -> None:
        """Return when these checkpoints of the run's segment, ids by namespace, are committed, before
        anything happens that outlives a crash. `StoreUnavailableError` where they cannot be."""
        ...

    async def pass_by(self, run_id: str, since: str | None) -> None:
        """Drop what a run that has begun to wait does not need, where no transaction could do it."""
        ...

    async def flush(self, run_id: str) -> None:
        """Return when what the event log is about to tell is committed, at the latest with the log's
        own write. Raises where it cannot be, `OwnershipLostError` where a newer attempt exists."""
        ...
