"""Executes runs in this process: a bounded number at a time, the oldest first, restarted ones before all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from langgraph.runtime import RunControl

from domain.ports import RunRef, RunStore
from service.executor import Outcome

POLL_SECONDS: Final = 30.0
"""A wake-up lost for any reason costs at most this long; the healthy path never waits for it."""

AGAIN_SECONDS: Final = 5.0
"""Pause before a segment that could not even be recorded (the disk is full, say) is tried again."""

LONGEST_AGAIN_SECONDS: Final = 300.0
"""It doubles with every try up to this: each try may pay for model calls again."""

GRACE_SECONDS: Final = 10.0
"""How long a stopping process waits for segments to reach a superstep's end."""

RELEASE_SECONDS: Final = 5.0
"""How long is waited for a segment that is being stopped."""

Execute = Callable[[RunRef, RunControl], Awaitable[Outcome]]

_log = logging.getLogger("signalbox.dispatch")


@dataclass
class _Active:
    """A segment that executes now."""

    task: asyncio.Task[None]
    control: RunControl


class LocalDispatcher:
    """The dispatcher of the one-process shape. The queue is the `runs` table; memory holds what executes."""

    def __init__(
        self, store: RunStore, execute: Execute, *, max_concurrent: int, limited: bool = False
    ) -> None:
        self._store = store
        self._execute = execute
        self._max_concurrent = max_concurrent
        self._limited = limited
        """Whether not every caller may have all places, so that only the table knows who is next."""
        self._active: dict[str, _Active] = {}
        self._resting: set[str] = set()
        self._failures: dict[str, int] = {}
        self._left_over: list[RunRef] = []
        self._wake = asyncio.Event()
        self._backlog = True
        """Whether runs may be queued besides those that execute."""
        self._again = False
        """Whether a run that executes may be queued too. Apart from the backlog, which is being read anew
        whenever the table is."""
        self._stopping = False
        self._loop_task: asyncio.Task[None] | None = None

    def submit(self, ref: RunRef, *, alone: bool) -> None:
        """Say that a committed run may be claimed.

        Where nothing waits and a place is free, it is begun without asking the table who is next.
        """
        free = self._max_concurrent - len(self._active)
        asks = self._limited or self._backlog or self._stopping or not self.alive
        if ref.run_id in self._active:
            # It has waited for a person and been decided before its segment here was quite over.
            self._again = True
        elif alone and free > 0 and not asks:
            self._begin(ref)
        else:
            self._wake.set()

    def cancel(self, ref: RunRef) -> None:
        """Stop the run's segment if it executes here."""
        active = self._active.get(ref.run_id)
        if active:
            active.task.cancel()
        self._wake.set()

    async def released(self, refs: Sequence[RunRef]) -> list[RunRef]:
        """Return when no segment of these runs executes any more, or those that still do."""
        tasks = {ref: self._active[ref.run_id].task for ref in refs if ref.run_id in self._active}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=RELEASE_SECONDS)
        return [ref for ref, task in tasks.items() if not task.done()]

    @property
    def alive(self) -> bool:
        """Return whether runs are still being claimed."""
        return self._loop_task is not None and not self._loop_task.done()

    async def trouble(self) -> str | None:
        """Return why runs may wait in vain: here they do not."""
        return None

    async def start(self) -> None:
        """Take up the runs a dead process left behind, then whatever is queued."""
        self._left_over = await self._store.unfinished()
        if self._left_over:
            _log.info(
                "Continuing %d unfinished runs.",
                len(self._left_over),
                extra={"action": "runs_recovered"},
            )
        self._loop_task = asyncio.create_task(self._claim_forever(), name="dispatch")

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Stop claiming, let segments reach a superstep's end, then cancel the rest.

        What has not ended stays `running` in the store and goes on at the next start.
        """
        self._stopping = True
        if self._loop_task:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        tasks = [active.task for active in self._active.values()]
        for active in self._active.values():
            active.control.request_drain("shutdown")
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._fill()
            except Exception:  # noqa: BLE001 - the outermost loop: the store may come back
                _log.exception("Runs could not be read.", extra={"action": "dispatch_failed"})
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _fill(self) -> None:
        """Start as many segments as there are free places."""
        # True while the table is read: a run submitted meanwhile must not take a place given away here.
        self._backlog, self._again = True, False
        free = self._max_concurrent - len(self._active)
        if free <= 0:
            return
        refs = self._left_over[:free]
        self._left_over = self._left_over[free:]
        if len(refs) < free:
            taken = {*self._active, *self._resting, *(ref.run_id for ref in refs)}
            refs += await self._store.runnable(limit=free - len(refs), exclude=taken)
        # Runs behind an earlier one of their thread count too: its end has to wake them.
        self._backlog = await self._store.has_queued(exclude={ref.run_id for ref in refs})
        for ref in refs:
            if ref.run_id not in self._active:
                self._begin(ref)

    def _begin(self, ref: RunRef) -> None:
        control = RunControl()
        task = asyncio.create_task(self._run(ref, control), name=f"run {ref.run_id}")
        self._active[ref.run_id] = _Active(task, control)
        # Not in the task itself: one that is cancelled before its first step never runs its `finally`.
        task.add_done_callback(partial(self._ended, ref))

    async def _run(self, ref: RunRef, control: RunControl) -> None:
        try:
            outcome = await self._execute(ref, control)
            self._failures.pop(ref.run_id, None)
            if outcome == "refused":
                # It may be queued still, behind others of its thread or of its caller: the end of any
                # run has to lead back to the table, whose next answer leaves it out until it may go.
                self._backlog = True
        except Exception:  # noqa: BLE001 - the outermost loop of a run: it must not end unseen
            _log.exception(
                "A segment could not be recorded; it is tried again.",
                extra={"action": "segment_failed", "run_id": ref.run_id},
            )
            self._retry_later(ref)

    def _ended(self, ref: RunRef, task: asyncio.Task[None]) -> None:
        del task
        self._active.pop(ref.run_id, None)
        if self._backlog or self._again or self._left_over:
            self._wake.set()

    def _retry_later(self, ref: RunRef) -> None:
        """Try a run again after a pause."""

        def wake() -> None:
            self._resting.discard(ref.run_id)
            self._left_over.append(ref)
            self._wake.set()

        if not self._stopping:
            self._resting.add(ref.run_id)
            tries = self._failures[ref.run_id] = self._failures.get(ref.run_id, 0) + 1
            pause = min(AGAIN_SECONDS * 2 ** (tries - 1), LONGEST_AGAIN_SECONDS)
            asyncio.get_running_loop().call_later(pause, wake)
