"""Does what comes round again and again: forgetting what was kept long enough, and what dispatchers add,
such as taking over the runs of workers that are dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from domain.keeping import RunKeeper
from domain.ports import Clock, RunRef
from service.checkpoints import MemoryCheckpoints
from service.workspaces import changed_at, list_workspaces, remove_folders

TRIM_SECONDS: Final = 1.0
"""How often runs that have just ended are looked for: what they leave is most of what they wrote."""

RETENTION_SECONDS: Final = 300.0
"""How often it is looked for what has been kept long enough; that is a matter of days."""

BREATH_SECONDS: Final = 0.05
"""Pause between two batches: whoever serves a request comes first."""

CHORE_SECONDS: Final = 60.0
"""The longest a piece of a chore may take before it counts as failed."""

LONGEST_PAUSE_SECONDS: Final = 300.0
"""A chore that fails is tried again later and later, up to this."""

AGAIN_AND_AGAIN: Final = 3
"""So many failures in a row are no accident."""

RUNS_AT_ONCE: Final = 25
"""Runs, or idempotency records, of one transaction. Trimming a run takes SQLite's writer 1 ms."""

FOLDERS_AT_ONCE: Final = 1_000
"""Folders of runs looked at in one round below each root; the next one goes on behind them."""

_START: Final = RunRef("", "")

_log = logging.getLogger("signalbox.housekeeper")


@dataclass(frozen=True, kw_only=True)
class Chore:
    """Something that comes round."""

    name: str
    seconds: float
    """The pause after it was done."""
    do: Callable[[], Awaitable[bool | None]]
    """Does a bounded piece of it; returns whether more of it waits."""
    longest_pause: float = LONGEST_PAUSE_SECONDS
    """How long it rests at most after it has failed again and again."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long after its end a run is kept, and what belongs to it; `None` is for ever."""

    runs: timedelta | None
    events: timedelta | None
    checkpoints: timedelta | None

    @classmethod
    def of_days(cls, *, runs: float, events: float, checkpoints: float) -> Retention:
        """Return what numbers of days mean, of which 0 is for ever."""
        return cls(runs=_days(runs), events=_days(events), checkpoints=_days(checkpoints))


class Housekeeper:
    """Does chores, one piece at a time, for as long as the process lives."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = tuple(chores)
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Return whether chores are being done."""
        return self._task is not None and not self._task.done()

    def failing(self) -> list[str]:
        """Return the chores that have failed several times in a row."""
        return [name for name, count in self._failures.items() if count >= AGAIN_AND_AGAIN]

    def start(self) -> None:
        """Begin; every chore is due at once."""
        if self._chores:
            self._task = asyncio.create_task(self._keep_house(), name="housekeeper")

    async def stop(self) -> None:
        """Stop at once: the piece under way is done or undone as a whole."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_house(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            chore = min(self._chores, key=lambda chore: self._due.get(chore.name, 0.0))
            await asyncio.sleep(max(self._due.get(chore.name, 0.0) - now(), 0.0))
            pause = await self._do(chore)
            self._due[chore.name] = now() + pause

    async def _do(self, chore: Chore) -> float:
        """Do a piece of a chore; return how long it rests then."""
        try:
            async with asyncio.timeout(CHORE_SECONDS):
                more = await chore.do()
        except Exception:  # noqa: BLE001 - the outermost loop: the store may come back
            fields = {"action": "chore_failed"}
            failures = self._failures[chore.name] = self._failures.get(chore.name, 0) + 1
            # The trace once: a database that is away makes the same one again and again.
            text, trace = "A chore failed (%s); it is tried again.", failures == 1
            _log.error(text, chore.name, exc_info=trace, extra=fields)
            longest = max(chore.longest_pause, chore.seconds)
            return min(chore.seconds * 2.0 ** min(failures, 30), longest)
        self._failures.pop(chore.name, None)
        return BREATH_SECONDS if more else chore.seconds


class Forgetting:
    """The chores that keep what is stored from growing for ever."""

    def __init__(
        self,
        keeper: RunKeeper,
        clock: Clock,
        retention: Retention,
        *,
        folders: Sequence[Path],
        memory: MemoryCheckpoints | None = None,
    ) -> None:
        self._keeper = keeper
        self._clock = clock
        self._retention = retention
        self._looked_at = dict.fromkeys(folders, _START)
        """Below which roots runs have folders of their own, and how far each was looked through."""
        self._memory = memory
        """The checkpoints, where they are not in the database."""

    def chores(self) -> list[Chore]:
        """Return the chores that the settings leave to do."""
        keep = self._retention
        kept = [
            ("prune", keep.checkpoints, self._prune),
            ("clear", keep.events, self._clear),
            ("delete", keep.runs, self._delete),
            # In memory nothing is known of runs of an earlier process, or of another one with the
            # same folder: that a run is not there says nothing.
            ("sweep folders", None if self._memory else keep.runs, self._sweep_folders),
        ]
        return [
            Chore(name="trim", seconds=TRIM_SECONDS, do=self._trim),
            Chore(name="expire keys", seconds=RETENTION_SECONDS, do=self._expire_keys),
            *(
                Chore(name=name, seconds=RETENTION_SECONDS, do=_Dated(do, self._clock, age))
                for name, age, do in kept
                if age is not None
            ),
        ]

    async def _trim(self) -> bool:
        done = await self._keeper.trim(now=self._clock.now(), limit=RUNS_AT_ONCE)
        if self._memory:
            self._memory.trim(ref.run_id for ref in done)
        return bool(done)

    async def _prune(self, before: datetime) -> bool:
        done = await self._keeper.prune(before=before, limit=RUNS_AT_ONCE)
        if self._memory:
            self._memory.prune(ref.run_id for ref in done)
        return bool(done)

    async def _clear(self, before: datetime) -> bool:
        return bool(await self._keeper.clear(before=before, limit=RUNS_AT_ONCE))

    async def _delete(self, before: datetime) -> bool:
        now = self._clock.now()
        done = await self._keeper.delete(before=before, now=now, limit=RUNS_AT_ONCE)
        if self._memory:
            self._memory.delete(ref.run_id for ref in done)
        for ref in done:
            await remove_folders(self._looked_at, ref)
        if done:
            _log.info("Deleted %d old runs.", len(done), extra={"action": "runs_deleted"})
        return bool(done)

    async def _expire_keys(self) -> bool:
        return await self._keeper.expire_keys(now=self._clock.now(), limit=RUNS_AT_ONCE) > 0

    async def _sweep_folders(self, before: datetime) -> bool:
        """Remove folders whose run was deleted elsewhere, or by a process that died before it had.

        Only old ones, whatever became of their runs: the folder may serve another database too.
        """
        for root, after in self._looked_at.items():
            found = await asyncio.to_thread(
                list_workspaces, root, after=after, limit=FOLDERS_AT_ONCE
            )
            self._looked_at[root] = found[-1] if len(found) == FOLDERS_AT_ONCE else _START
            for ref in await self._keeper.unknown(found):
                if await asyncio.to_thread(changed_at, root, ref) <= before.timestamp():
                    await remove_folders([root], ref)
        return False


@dataclass(frozen=True)
class _Dated:
    """A chore that is about what is older than an age."""

    do: Callable[[datetime], Awaitable[bool]]
    clock: Clock
    age: timedelta

    def __call__(self) -> Awaitable[bool]:
        return self.do(self.clock.now() - self.age)


def _days(days: float) -> timedelta | None:
    return timedelta(days=days) if days else None
