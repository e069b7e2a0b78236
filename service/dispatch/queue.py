"""Executes runs that a queue hands out, beside any number of other processes that do the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from langgraph.runtime import RunControl

from domain.dispatch import Workers
from domain.ports import RunRef
from service.dispatch.segments import SegmentQueue
from service.executor import Outcome

GRACE_SECONDS: Final = 10.0
"""How long a stopping process waits for segments to reach a superstep's end."""

LATE_SECONDS: Final = 5.0
"""How much longer it waits for the database to take down where they stand."""

AGAIN_SECONDS: Final = 1.0
"""Pause before a worker that broke (the database went away) starts again."""

SWEEP_SECONDS: Final = 2.0
"""How often the queue is swept."""

SWEEPS_PER_LOOK: Final = 3
"""Runs without a job are looked for at every so many sweeps: it is dear where many wait on one thread."""

ORPHANS_AT_ONCE: Final = 100

UNTOUCHED_SECONDS: Final = 15.0
"""After which runs that nobody takes are a sign that nobody can."""

RELEASE_SECONDS: Final = 5.0
"""How long is waited for a segment that is being stopped, wherever it executes."""

RELEASE_LOOK_SECONDS: Final = 0.1

Execute = Callable[[RunRef, RunControl], Awaitable[Outcome]]

_log = logging.getLogger("signalbox.dispatch")


class Watch(Protocol):
    """Tells which runs fell out of the queue."""

    async def orphans(self, *, limit: int) -> list[RunRef]:
        """Return the oldest runs that should be in the queue and are not."""
        ...

    async def executing(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return those of the runs of which some process executes a segment, or has died with one."""
        ...

    async def workers(self, *, queue: str, seconds: float) -> Workers:
        """Return who works, by a sign of life so many seconds ago, and what there is to do."""
        ...


@dataclass
class _Active:
    """A segment that executes now."""

    ref: RunRef
    task: asyncio.Task[Outcome]
    control: RunControl


class QueueDispatcher:
    """The dispatcher of many processes. Runs are put into the queue by the transactions that make them
    claimable; here they are taken out, where this process executes any."""

    def __init__(
        self,
        queue: SegmentQueue,
        watch: Watch,
        execute: Execute,
        *,
        max_concurrent: int,
        tell_cancelled: Callable[[RunRef], None],
    ) -> None:
        self._queue = queue
        self._watch = watch
        self._execute = execute
        self._max_concurrent = max_concurrent
        self._tell_cancelled = tell_cancelled
        self._active: dict[str, _Active] = {}
        self._handed_back: list[RunRef] = []
        self._orphans: set[RunRef] = set()
        self._swept_at: float | None = None
        self._untouched_since: float | None = None
        """Since when runs wait that nobody takes."""
        self._sweeps = -1
        self._stopping = False
        self._worker: asyncio.Task[None] | None = None

    def submit(self, ref: RunRef, *, alone: bool) -> None:
        """Do nothing: the transaction that committed the run has put it into the queue."""

    def cancel(self, ref: RunRef) -> None:
        """Stop the run's segment wherever it executes."""
        self.cancel_here(ref)
        self._tell_cancelled(ref)

    def cancel_here(self, ref: RunRef) -> None:
        """Stop the run's segment if it executes here."""
        active = self._active.get(ref.run_id)
        if active:
            active.task.cancel()

    async def released(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return when no segment of these runs executes any more, or those that still do."""
        until = asyncio.get_running_loop().time() + RELEASE_SECONDS
        while executing := await self._watch.executing(refs):
            if asyncio.get_running_loop().time() >= until:
                break
            await asyncio.sleep(RELEASE_LOOK_SECONDS)
        return executing

    @property
    def alive(self) -> bool:
        """Return whether this process does its part: none where it only takes requests."""
        return self._worker is None or not self._worker.done()

    async def trouble(self) -> str | None:
        """Return why runs may wait in vain: no process executes any, or none those of this engine."""
        seen = await self._watch.workers(
            queue=self._queue.name, seconds=self._queue.takeover_seconds
        )
        now = asyncio.get_running_loop().time()
        if seen.busy or not seen.waiting:
            self._untouched_since = None
        elif self._untouched_since is None:
            self._untouched_since = now
        if not seen.alive:
            return "no worker is alive: runs are accepted, and wait for one"
        if self._untouched_since is not None and now - self._untouched_since >= UNTOUCHED_SECONDS:
            return (
                "runs wait, and no worker takes any: those that are alive may have another engine"
            )
        return None

    def start(self) -> None:
        """Begin to take runs out of the queue."""
        self._worker = asyncio.create_task(self._work_forever(), name="worker")

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Take no more, let segments reach a superstep's end, cancel the rest, hand all of them back."""
        self._stopping = True
        for active in self._active.values():
            active.control.request_drain("shutdown")
        if self._worker:
            self._worker.cancel()
            await asyncio.wait([self._worker], timeout=grace_seconds + LATE_SECONDS)
        await self._hand_back()

    async def _hand_back(self) -> None:
        try:
            async with asyncio.timeout(LATE_SECONDS):
                for ref in self._handed_back:
                    await self._queue.put_now(ref)
        except Exception:  # noqa: BLE001 - without the database another process's sweep does it
            _log.exception("Runs could not be handed back.", extra={"action": "hand_back_failed"})

    async def sweep(self) -> None:
        """Put back into the queue what fell out of it: jobs of dead workers, runs without a job."""
        count = await self._queue.take_over() if self._was_here() else 0
        if count:
            _log.info("Took over %d runs.", count, extra={"action": "runs_taken_over"})
        self._sweeps += 1
        if self._sweeps % SWEEPS_PER_LOOK:
            return
        # Only at the second look: a job that has just ended may be about to be followed by another.
        orphans = set(await self._watch.orphans(limit=ORPHANS_AT_ONCE))
        for ref in sorted(orphans & self._orphans):
            await self._queue.put_now(ref)
        self._orphans = orphans - self._orphans

    def _was_here(self) -> bool:
        """Return whether this process saw the database a moment ago.

        Where it did not (it was frozen, or the database away), others may not have been able to give a
        sign of life either: they get the time to.
        """
        now, before = asyncio.get_running_loop().time(), self._swept_at
        self._swept_at = now
        return before is None or now - before < 2 * SWEEP_SECONDS

    async def _work_forever(self) -> None:
        while not self._stopping:
            try:
                await self._queue.work(
                    self._run, concurrency=self._max_concurrent, grace_seconds=GRACE_SECONDS
                )
            except Exception:  # noqa: BLE001 - the outermost loop: the database may come back
                _log.exception("The worker broke.", extra={"action": "worker_broken"})
            await asyncio.sleep(AGAIN_SECONDS)

    async def _run(self, ref: RunRef) -> None:
        """Execute a segment for the queue."""
        await self._end_older(ref)
        control = RunControl()
        task = asyncio.ensure_future(self._execute(ref, control))
        active = self._active[ref.run_id] = _Active(ref, task, control)
        if self._stopping:
            control.request_drain("shutdown")
        try:
            outcome = await task
        except asyncio.CancelledError:
            ours = asyncio.current_task()
            if ours is None or not ours.cancelling():
                return  # a caller's cancellation, which the run's row records already
            self._handed_back.append(ref)
            raise
        except Exception:
            _log.exception(
                "A segment could not be recorded; it is tried again.",
                extra={"action": "segment_failed", "run_id": ref.run_id},
            )
            raise
        finally:
            if self._active.get(ref.run_id) is active:
                del self._active[ref.run_id]
        if outcome == "drained":
            self._handed_back.append(ref)
        elif outcome == "waiting":
            # It may have been decided already: the entry for that waits until this one has ended.
            self._queue.look_again_after(ref)

    async def _end_older(self, ref: RunRef) -> None:
        """End a segment of the run that this process was thought to have died with."""
        older = self._active.get(ref.run_id)
        if older:
            older.task.cancel()
            await asyncio.wait([older.task], timeout=GRACE_SECONDS)
