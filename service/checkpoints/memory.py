"""Checkpoints that live as long as the process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from langgraph.checkpoint.memory import InMemorySaver

from domain.ports import Clock, RunRef
from domain.run import Run
from domain.usage import ModelCall
from service.checkpoints.base import Saver
from service.store import Database, usage

_Place = tuple[str, str]
"""Namespace and id of a checkpoint."""


class MemoryCheckpoints:
    """`service.checkpoints.base.Checkpoints` in memory."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._memory: Final = InMemorySaver()
        self.saver: Saver = self._memory
        self._database = database
        self._clock = clock
        self._segments: dict[str, Run] = {}
        self._calls: defaultdict[str, list[ModelCall]] = defaultdict(list)

    @asynccontextmanager
    async def segment(self, run: Run) -> AsyncIterator[Saver]:
        """Yield the one saver there is."""
        self._segments[run.id] = run
        try:
            yield self.saver
        finally:
            await self._book_rest(run)
            if self._segments.get(run.id) is run:
                del self._segments[run.id]

    def book(self, run_id: str, call: ModelCall) -> None:
        """Book a call when the segment ends: a crash that lost it would lose the checkpoint too, but who cancels a
        run takes away whoever would have told the event log."""
        if run_id in self._segments:
            self._calls[run_id].append(call)

    async def _book_rest(self, run: Run) -> None:
        calls = self._calls.pop(run.id, [])
        if calls:
            ref = RunRef(run.tenant_id, run.id)
            await self._database.write(usage.book, ref, calls, self._clock.now())

    async def open(self, run_id: str, call: ModelCall | None) -> None:
        """Note that a call is being made: a crash takes all there is along, but a cancellation does not."""
        run = self._segments.get(run_id)
        if run and call:
            ref = RunRef(run.tenant_id, run.id)
            await self._database.write(usage.open_call, ref, call, self._clock.now())

    async def close(self, run_id: str, key: str) -> None:
        """Forget a call."""
        await self._database.write(usage.close_call, run_id, key)

    async def settle(self, run_id: str) -> None:
        """Return at once: there is nothing to wait for."""

    async def reach(self, run_id: str, steps: Mapping[str, str]) -> None:
        """Return at once: a crash takes the ledger along."""

    async def flush(self, run_id: str) -> None:
        """Return at once."""

    async def pass_by(self, run_id: str, since: str | None) -> None:
        """Drop what a run that waits does not need to go on: what `tidy_waiting` drops in a database."""
        self.trim([run_id])
        last, saved = self._last(run_id), self._saved(run_id)
        if since:
            kept = {place for place in saved if not since <= place[1] < last}
            self._keep(run_id, kept, kept)

    def trim(self, run_ids: Iterable[str]) -> None:
        """Drop what agents saved before the last step of their run, and what became part of a step."""
        for run_id in run_ids:
            last, saved = self._last(run_id), self._saved(run_id)
            recent = {place for place in saved if place[1] >= last}
            self._keep(run_id, {place for place in saved if not place[0]} | recent, recent)

    def prune(self, run_ids: Iterable[str]) -> None:
        """Drop all but the last checkpoint of each run itself."""
        for run_id in run_ids:
            last = {("", self._last(run_id))}
            self._keep(run_id, last, last)

    def delete(self, run_ids: Iterable[str]) -> None:
        """Drop all that is saved of the runs."""
        for run_id in run_ids:
            self._keep(run_id, set(), set())
            self._memory.storage.pop(run_id, None)

    def _saved(self, run_id: str) -> set[_Place]:
        namespaces = self._memory.storage.get(run_id, {})
        return {(name, each) for name, steps in namespaces.items() for each in steps}

    def _last(self, run_id: str) -> str:
        return max(self._memory.storage.get(run_id, {}).get("", ()), default="")

    def _keep(self, run_id: str, kept: set[_Place], with_writes: set[_Place]) -> None:
        """Drop all checkpoints but some, with the values that none of those has; and all writes."""
        memory, saved = self._memory, self._saved(run_id)
        for place in saved - with_writes:
            memory.writes.pop((run_id, *place), None)
        needed = {value for place in saved & kept for value in self._values(run_id, place)}
        for place in saved - kept:
            for value in self._values(run_id, place):
                if value not in needed:
                    memory.blobs.pop(value, None)
        for namespace, each in saved - kept:
            steps = memory.storage[run_id][namespace]
            del steps[each]
            if not steps:
                del memory.storage[run_id][namespace]

    def _values(self, run_id: str, place: _Place) -> list[tuple[str, str, str, Any]]:
        """Return where the values of a checkpoint's channels are."""
        namespace, each = place
        typed, _, _ = self._memory.storage[run_id][namespace][each]
        versions = self._memory.serde.loads_typed(typed)["channel_versions"]
        return [(run_id, namespace, channel, version) for channel, version in versions.items()]
