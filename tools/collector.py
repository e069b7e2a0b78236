"""Collects what calls leave in workspaces, for the run and in a few lines for the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from domain.artifact import Artifact, artifact_url
from domain.run import RunContext
from tools.artifacts import Collected, Seen, Trace, collect, look
from tools.limits import cut_result
from tools.workspace import shown

NOTE_CHARS: Final = 500
"""How much the model is told about what was kept, and again about what was not."""


class Left(NamedTuple):
    """What a call left: for the run, and in a few lines for the model."""

    artifacts: list[Artifact]
    note: str
    """Empty where nothing was left."""

    @property
    def artifact(self) -> dict[str, list[Artifact]]:
        """Return what the tool's message carries."""
        return {"artifacts": self.artifacts}


@dataclass
class _Place:
    """A workspace in which calls are under way."""

    calls: int = 0
    taken: dict[str, Trace] = field(default_factory=dict)
    """The files that one of them has collected."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Watch:
    """One call in a workspace."""

    def __init__(
        self, context: RunContext, place: _Place, before: Seen, *, alone: bool = False
    ) -> None:
        self._context = context
        self._place = place
        self._before = before
        self._turn = nullcontext() if alone else place.lock

    async def collect(self, *, only: str | None = None) -> Left:
        """Keep what has changed since the call began; `only`: the one path that counts, changed or not."""
        context, place = self._context, self._place
        async with self._turn:
            before = {} if only else {**self._before, **place.taken}
            collected = await asyncio.to_thread(
                collect, context.workspace, context.shelf, before, only=only
            )
            place.taken.update(collected.seen)
        # What an agent's context has beside a run's; without an agent there is nobody to name.
        assignment = getattr(context, "assignment", None)
        agent = assignment["agent"] if assignment else ""
        artifacts = [
            Artifact(
                name=file.name,
                media_type=file.media_type,
                size=file.size,
                sha256=file.sha256,
                agent=agent,
                url=artifact_url(context.run_id, file.name),
            )
            for file in collected.files
        ]
        return Left(artifacts, _note(collected))


class Collector:
    """Collects what calls leave, also of calls side by side in one workspace.

    Whose a file is that appears while several programs run, nobody can tell: it counts for the call that
    ends first, and again for a later one only where it was changed since.
    """

    def __init__(self) -> None:
        self._places: dict[Path, _Place] = {}

    @asynccontextmanager
    async def watching(self, context: RunContext) -> AsyncIterator[Watch]:
        """Watch a run's workspace while a program works in it."""
        with self._joined(context.workspace) as place:
            before = await asyncio.to_thread(look, context.workspace)
            yield Watch(context, place, before)

    @asynccontextmanager
    async def writing(self, context: RunContext) -> AsyncIterator[Watch]:
        """Let a call write and collect a file of its own, before any other could take it for theirs."""
        with self._joined(context.workspace) as place:
            async with place.lock:
                yield Watch(context, place, {}, alone=True)

    @contextmanager
    def _joined(self, workspace: Path) -> Iterator[_Place]:
        place = self._places.setdefault(workspace, _Place())
        place.calls += 1
        try:
            yield place
        finally:
            place.calls -= 1
            if not place.calls:
                del self._places[workspace]


def _note(collected: Collected) -> str:
    files = [f"{shown(file.name)} ({file.size} bytes)" for file in collected.files]
    lines = []
    if files:
        lines.append(cut_result(f"Files kept for the user: {', '.join(files)}", NOTE_CHARS))
    if collected.skipped:
        lines.append(cut_result(f"Files not kept: {'; '.join(collected.skipped)}", NOTE_CHARS))
    return "\n".join(lines)
