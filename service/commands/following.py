"""Creates a run and follows it to its end, with a person beside it who decides, and who may press Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

import httpx

from service.commands.client import api_of, created, fetched, read_to_end
from service.commands.interrupts import interrupts
from service.commands.progress import Progress, say
from service.commands.recording import RunRecord
from signalbox import SignalboxError

CANCELLING: Final = "Cancelling; Ctrl-C once more leaves at once."
CANCELLED: Final = "Cancelled."


class Place(NamedTuple):
    """Where a run is executed."""

    url: str
    key: str | None
    left: str = ""
    """What becomes of the run when the command leaves before its end; `{id}` stands for it."""
    waits: str = ""
    """How it is decided where it waits for a person."""
    lasts: bool = False
    """Whether it waits there for decisions when the command has left."""
    told: str | None = None
    """The address as it is told to whoever has the run made, where it is another process's."""


class Followed(NamedTuple):
    """What became of a run that was followed."""

    run: dict[str, Any]
    interrupted: bool
    """Whether somebody has pressed Ctrl-C."""


class Decides(Protocol):
    """Who is told of a run's events, and decides what it asks."""

    stuck: asyncio.Event
    """Set when the run waits for a decision that does not come from here."""

    def note(self, event: dict[str, Any]) -> None:
        """Take up what an event asks."""
        ...

    async def decide_forever(self) -> None:
        """Decide one question after the other, until cancelled."""
        ...


async def follow(
    client: httpx.AsyncClient,
    body: dict[str, Any],
    progress: Progress,
    person: Decides,
    *,
    kept: RunRecord | None = None,
    heard: Callable[[dict[str, Any]], None] | None = None,
    place: Place | None = None,
) -> Followed:
    """Create a run and show its progress to its end, or to where it waits for a person who is not there, if it
    lasts in its place. Raises `RunFailedError` where it is not accepted.

    `kept` records it; `heard` is told of every event.
    """
    run = await created(client, body)
    run_id, path = run["id"], f"/v1/runs/{quote(run['id'], safe='')}"
    progress.begin(run, at=place.told if place else None)
    if kept:
        kept.begin(run_id)

    def take(event: dict[str, Any]) -> None:
        if heard:
            heard(event)
        progress.show(event)
        person.note(event)

    leaves = place is not None and place.lasts
    with interrupts() as asked:
        tasks = Tasks()
        tasks.start(_cancel_when(asked, client, run_id, progress), "cancelling")
        tasks.start(progress.tick(lambda: fetched(client.get(path))), "lanes")
        try:
            await tasks.first(
                tasks.start(read_to_end(client, run_id, take), "events"),
                tasks.start(person.decide_forever(), "person"),
                *([tasks.start(person.stuck.wait(), "nobody there")] if leaves else []),
            )
        except (asyncio.CancelledError, OSError):
            # The second Ctrl-C, or nobody reads the events any more; then perhaps not this either.
            progress.close()
            with suppress(OSError):
                if place:
                    say(place.left.format(id=run_id))
            raise
        finally:
            await tasks.end()
            progress.close()
            if kept:
                await kept.write(client, run, body, progress)
    run = await fetched(client.get(path))
    progress.end(run)
    if asked.is_set():
        say(CANCELLED)
    elif run["ended_at"] is None and place:
        say(f"Nobody is at the terminal. {place.waits.format(id=run_id)}")
    return Followed(run, asked.is_set())


async def _cancel_when(
    asked: asyncio.Event, client: httpx.AsyncClient, run_id: str, progress: Progress
) -> None:
    """Cancel the run when that is asked for; whatever keeps it from that is said."""
    await asked.wait()
    progress.insist(CANCELLING)
    try:
        await api_of(client).runs.cancel(run_id, reason="interrupted")
    except SignalboxError as error:
        progress.insist(f"The run is not cancelled: {error}")


class Tasks:
    """Tasks that end together."""

    def __init__(self) -> None:
        self._all: list[asyncio.Task[Any]] = []

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start one, by name."""
        task: asyncio.Task[Any] = asyncio.create_task(work, name=name)
        self._all.append(task)
        return task

    @staticmethod
    async def first(*tasks: asyncio.Task[Any]) -> None:
        """Wait for one of them to end; raises what it has failed with."""
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def end(self) -> None:
        """End all that have not ended."""
        for task in self._all:
            task.cancel()
        await asyncio.gather(*self._all, return_exceptions=True)
