"""Deletes runs and threads for good, and what a crash or a late segment may have left of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from domain.dispatch import Dispatcher
from domain.errors import CallerError
from domain.keeping import Erased, RunEraser
from domain.ports import Clock, RunRef
from domain.problems import Code
from domain.run import Run
from service.checkpoints import MemoryCheckpoints
from service.store.erasing import not_over
from service.workspaces import RunFolders, remove_folders

SCRUB_SECONDS: Final = 60.0
"""How often it is looked for what is left of deleted runs."""

SCRUB_AT_ONCE: Final = 100

LATE: Final = timedelta(minutes=10)
"""How long a deleted run is looked at again: what another process writes late, and by another clock."""

_NOT_OVER: Final[Code] = "run-not-terminal"


class ErasureService:
    """Deletes what one tenant's runs have left; first the rows, then the files.

    A crash between the two leaves files of a run that is gone: its id stays in the database, and `scrub`
    removes them, in every process that has a folder of it."""

    def __init__(
        self,
        *,
        eraser: RunEraser,
        dispatcher: Dispatcher,
        clock: Clock,
        folders: RunFolders,
        memory: MemoryCheckpoints | None,
    ) -> None:
        self._eraser = eraser
        self._dispatcher = dispatcher
        self._clock = clock
        self._folders = folders
        self._memory = memory
        """The checkpoints, where they are not in the database."""
        self._after: Erased | None = None

    async def erase_run(self, run: Run) -> None:
        """Delete a run that has ended; raises `run-not-terminal` or `not-found`."""
        ref = RunRef(run.tenant_id, run.id)
        if not run.terminal:
            # Not asked again below: one that ends just now may still be written about.
            raise not_over(run.id, run.status)
        await self._stand_still([ref])
        if not await self._eraser.erase_run(ref, now=self._clock.now()):
            raise CallerError("not-found", f"The run {run.id!r} is not there any more.")
        await self._forget([ref])

    async def erase_thread(self, tenant_id: str, thread_id: str) -> None:
        """Delete all runs of a thread, or none where one has not ended; raises `not-found` too."""
        ended = await self._eraser.ended_of(tenant_id, thread_id)
        await self._stand_still(ended)
        now = self._clock.now()
        if not await self._eraser.erase_thread(tenant_id, thread_id, ended=set(ended), now=now):
            msg = f"The thread {thread_id[:80]!r} is not there. GET /v1/runs names the thread of each run."
            raise CallerError("not-found", msg)
        await self._forget(ended)

    async def scrub(self) -> bool:
        """Remove what is left of deleted runs, a batch of them; return whether there may be more."""
        now = self._clock.now()
        found = await self._eraser.erased(self._after, limit=SCRUB_AT_ONCE)
        if found:
            refs = [each.ref for each in found]
            await self._eraser.scrub(refs)
            await self._forget(refs)
        if len(found) == SCRUB_AT_ONCE:
            self._after = found[-1]
            return True
        self._after = Erased(now - LATE, RunRef("", ""))
        return False

    async def _stand_still(self, refs: Sequence[RunRef]) -> None:
        """Return when nothing is written of these runs any more.

        A run that was cancelled has ended before its segment is; what that books or saves has to find it.
        """
        executing = await self._dispatcher.released(refs)
        if executing:
            msg = (
                f"The run {executing[0].run_id} has ended, but what it was doing is still being stopped, "
                "so nothing was deleted. Try again in a moment."
            )
            headers = {"retry-after": "1"}
            raise CallerError(_NOT_OVER, msg, run_id=executing[0].run_id, headers=headers)

    async def _forget(self, refs: Sequence[RunRef]) -> None:
        """Remove what lies outside the tables of runs that are gone."""
        if self._memory:
            self._memory.delete(ref.run_id for ref in refs)
        for ref in refs:
            await remove_folders(self._folders, ref)
        await self._eraser.wipe()
