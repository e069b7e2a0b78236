"""Everything about a run as one document, read piece by piece: a long run needs no more memory than a short one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from domain.notes import NoteStore, note_json
from domain.ports import Clock, RunRef, RunStore
from domain.run import Run
from service.artifacts import ArtifactService
from service.receipts import ReceiptService
from service.store.feedback import SqlFeedbackStore
from service.store.usage import SqlCallLog
from tools.sources import list_texts

SCHEMA_VERSION: Final = 1
"""Raised when a field comes to mean something else, or goes; new ones are no reason."""

AT_ONCE: Final = 100
"""Events, or calls, read together."""


class Part(NamedTuple):
    """A field of the document: a value, or pieces of a list."""

    name: str
    value: Any = None
    pieces: AsyncIterator[Sequence[Mapping[str, Any]]] | None = None


class RunExport:
    """Reads runs for export, for one tenant at a time."""

    def __init__(
        self,
        *,
        store: RunStore,
        notes: NoteStore,
        calls: SqlCallLog,
        receipts: ReceiptService,
        artifacts: ArtifactService,
        sources: Path,
        clock: Clock,
        feedback: SqlFeedbackStore,
    ) -> None:
        self._store = store
        self._notes = notes
        self._calls = calls
        self._receipts = receipts
        self._artifacts = artifacts
        self._sources = sources
        self._clock = clock
        self._feedback = feedback

    async def parts(self, run: Run) -> AsyncIterator[Part]:
        """Yield the fields in order. Of a run that goes on it is what there was when it was read."""
        ref = RunRef(run.tenant_id, run.id)
        now = self._clock.now().isoformat().replace("+00:00", "Z")
        yield Part("object", "export")
        yield Part("schema_version", SCHEMA_VERSION)
        yield Part("exported_at", now)
        yield Part("run", run.model_dump(mode="json"))
        yield Part("files", list(run.files))
        yield Part("notes", [note_json(note) for note in await self._notes.of_run(ref)])
        yield Part("receipt", await self._receipts.receipt(run))
        yield Part("artifacts", await self._artifacts.of_run(ref))
        yield Part("sources", await asyncio.to_thread(self._kept, ref))
        yield Part("calls", pieces=self._paid(ref))
        yield Part("feedback", pieces=self._judged(ref))
        yield Part("events", pieces=self._told(ref, run.last_seq))

    def _kept(self, ref: RunRef) -> list[dict[str, Any]]:
        found = list_texts(self._sources / ref.tenant_id / ref.run_id)
        where = f"/v1/runs/{ref.run_id}/sources"
        return [
            {"sha256": sha256, "size": size, "url": f"{where}/{sha256}"} for sha256, size in found
        ]

    async def _paid(self, ref: RunRef) -> AsyncIterator[list[dict[str, Any]]]:
        after = ""
        while rows := await self._calls.of_run(ref, after=after, limit=AT_ONCE):
            after = rows[-1]["key"]
            yield rows

    async def _judged(self, ref: RunRef) -> AsyncIterator[list[dict[str, Any]]]:
        after = ""
        while found := await self._feedback.of_run(ref, after=after, limit=AT_ONCE):
            after = found[-1].id
            yield [each.model_dump(mode="json") for each in found]

    async def _told(self, ref: RunRef, last: int) -> AsyncIterator[list[dict[str, Any]]]:
        after = 0
        while events := await self._store.events(ref, after=after, limit=AT_ONCE):
            after = events[-1].seq
            yield [event.envelope() for event in events if event.seq <= last]
            if after >= last:
                return
