"""Carries events, pieces of messages and cancellations between processes, over Postgres' NOTIFY."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

import orjson
import psycopg
from psycopg import AsyncConnection

from domain.events import Delta, Event
from domain.ports import RunRef
from monitoring.logs import Seldom
from service.hub import EventHub
from service.notices import Notice

CHANNEL: Final = "signalbox"
PAYLOAD_BYTES: Final = 7_800
"""Postgres refuses a payload of 8000 bytes."""
PIECE_CHARS: Final = 1_200
"""Characters of a message in one item: each may become six bytes of JSON."""
PIECES_SECONDS: Final = 0.03
"""The shortest time between two sendings that hold only pieces of messages."""
WAITING_ITEMS: Final = 20_000
"""Items that may wait to be sent; then everybody is told to look at the stored events instead."""

FOLLOW_SECONDS: Final = 15.0
"""How long a process writes a run for followers elsewhere without hearing of them again."""
RENEW_SECONDS: Final = 5.0
"""How often a process says what it follows, and looks whether the session that listens still stands."""
LOOK_SECONDS: Final = 2.0
"""How often the stored events are looked at for any that nobody told of: its writer may have died."""
AGAIN_SECONDS: Final = 1.0
"""Pause before a lost connection is made again; the stored events are looked at each time."""
CONNECT_SECONDS: Final = 10
LAST_WORDS_SECONDS: Final = 1.0
"""How long a stopping process waits for what it has said to be sent."""
SAY_SECONDS: Final = 30.0
"""How often at most the log says that the connection broke."""
RUNS_AT_ONCE: Final = 500
"""Runs whose stored events are looked at in one statement."""

Item = list[Any]
"""`["e", run, first, last]` stored events · `["d", run, agent, message, offset, text]` a piece ·
`["s", run, agent, message, size, offset, text]` a piece of a snapshot of `size` characters ·
`["f", run]` followed from now on · `["k", run]` still followed · `["c", tenant, run]` cancelled ·
`["r"]` something was lost."""

_log = logging.getLogger("signalbox.wire")


class StoredEvents(Protocol):
    """What of the store the wire reads."""

    async def events(self, ref: RunRef, *, after: int, limit: int) -> list[Event]:
        """Return stored events with `seq > after` in order."""
        ...


class Positions(Protocol):
    """Tells how far runs have come."""

    async def positions(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of the last stored event of each run there is."""
        ...


class PostgresWire:
    """`service.hub.Wire` over NOTIFY: what one process says, every other one hears, in its order.

    Only numbers of stored events travel, the events themselves are read from the store. A
    notification can be lost (the connection, the process that would have sent it); so the numbers
    are also looked at every `LOOK_SECONDS`. It needs sessions of its own: a pooler that hands
    connections out by transaction swallows LISTEN.
    """

    def __init__(
        self, conninfo: str, hub: EventHub, store: StoredEvents, positions: Positions
    ) -> None:
        self._conninfo = conninfo
        self._hub = hub
        self._store = store
        self._positions = positions
        self._origin = secrets.token_hex(6)
        self._waiting: list[Item] = []
        self._wake = asyncio.Event()
        self._spoken = asyncio.Event()
        self._spoken.set()
        self._asked: set[str] = set()
        self._snapshots: dict[tuple[str, str], list[str]] = {}
        """Snapshots that have come in part, by run and message."""
        self._connected = False
        self._seldom = Seldom(SAY_SECONDS)
        self.on_cancel: Callable[[RunRef], None] | None = None
        """Told of cancellations in other processes."""

    def tell(self, run_id: str, notices: Sequence[Notice], *, tokens: bool) -> None:
        """Pass notices on, in order."""
        for notice in notices:
            what = notice.what
            if isinstance(what, Delta):
                if tokens:
                    self._say(*_pieces(run_id, what))
            else:
                self._say(["e", run_id, what.seq, what.seq])

    def follow(self, run_id: str) -> None:
        """Say that somebody here wants to see the run's events as they come."""
        self._asked.add(run_id)
        self._say(["f", run_id])

    def cancel(self, ref: RunRef) -> None:
        """Tell whoever executes the run that it was cancelled."""
        self._say(["c", ref.tenant_id, ref.run_id])

    def _say(self, *items: Item) -> None:
        if len(self._waiting) >= WAITING_ITEMS:
            self._waiting = [["r"]]
        self._waiting.extend(items)
        self._spoken.clear()
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen and speak for as long as the context lasts."""
        self._hub.wire = self
        loops = (self._listen_forever, self._speak_forever, self._renew_forever, self._look_forever)
        tasks = [asyncio.create_task(loop(), name=f"wire {loop.__name__}") for loop in loops]
        try:
            yield
        finally:
            self._hub.wire = None
            # The last events of segments that were handed back: others can look for them, but later.
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await self._spoken.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen_forever(self) -> None:
        while True:
            await self._with_connection(self._listen)

    async def _listen(self, connection: AsyncConnection[Any]) -> None:
        await connection.execute(f"LISTEN {CHANNEL}")
        self._connected = True
        try:
            self._start_over()
            while True:
                async for notify in connection.notifies(timeout=RENEW_SECONDS):
                    await self._hear(orjson.loads(notify.payload))
                await connection.execute("SELECT 1")  # a connection that is gone says nothing
        finally:
            self._connected = False

    def _start_over(self) -> None:
        """Have everybody look at the stored events: while nothing was heard, much was said."""
        self._snapshots.clear()
        for run_id in self._hub.positions():
            self._resync(run_id)

    def _resync(self, run_id: str) -> None:
        self._hub.resync(run_id)
        if run_id in self._hub.followed_here():
            self.follow(run_id)  # what is half written is asked for again

    async def _speak_forever(self) -> None:
        while True:
            await self._with_connection(self._speak)

    async def _speak(self, connection: AsyncConnection[Any]) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            items, self._waiting = self._waiting, []
            try:
                payloads = list(_packed(self._origin, _joined(items)))
                await connection.execute(
                    "SELECT pg_notify(%s, said) FROM unnest(%s::text[]) AS said",
                    (CHANNEL, payloads),
                )
            except BaseException:
                # Some of it may have been heard: let everybody look for themselves.
                self._waiting = [["r"], *self._waiting]
                self._wake.set()
                raise
            if not self._waiting:
                self._spoken.set()
            if all(item[0] == "d" for item in items):
                await asyncio.sleep(PIECES_SECONDS)

    async def _with_connection(
        self, use: Callable[[AsyncConnection[Any]], Awaitable[None]]
    ) -> None:
        """Use a session of its own until it breaks; then wait a moment."""
        try:
            async with await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, connect_timeout=CONNECT_SECONDS
            ) as connection:
                await use(connection)
        except psycopg.Error as error:
            if self._seldom.is_due("broken"):
                _log.warning(
                    "The wire to other processes broke (%s); until it is back events are polled.",
                    type(error).__name__,
                    extra={"action": "wire_broken"},
                )
        except Exception:  # noqa: BLE001 - the outermost loop of the wire: it must come back
            _log.exception("The wire to other processes broke.", extra={"action": "wire_broken"})
        await asyncio.sleep(AGAIN_SECONDS)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            followed = set(self._hub.followed_here())
            self._asked &= followed
            self._snapshots = {k: v for k, v in self._snapshots.items() if k[0] in followed}
            for run_id in followed:
                self._say(["k" if run_id in self._asked else "f", run_id])
            self._asked |= followed

    async def _look_forever(self) -> None:
        before: dict[str, int] = {}
        while True:
            await asyncio.sleep(LOOK_SECONDS if self._connected else AGAIN_SECONDS)
            with suppress(Exception):  # the store is down: the next look may find it up
                before = await self._look(before)

    async def _look(self, before: dict[str, int]) -> dict[str, int]:
        """Send readers back to the stored events where some stayed untold since the last look."""
        run_ids = list(self._hub.positions())
        stored: dict[str, int] = {}
        for start in range(0, len(run_ids), RUNS_AT_ONCE):
            stored |= await self._positions.positions(run_ids[start : start + RUNS_AT_ONCE])
        told = self._hub.positions()
        for run_id, seq in stored.items():
            behind = seq > told.get(run_id, seq)
            if behind and (before.get(run_id) == seq or not self._connected):
                self._resync(run_id)
        return stored

    async def _hear(self, said: list[Any]) -> None:
        origin, items = said
        if origin == self._origin:
            return
        for item in items:
            try:
                await self._hear_item(item)
            except (LookupError, TypeError, ValueError):
                continue  # a newer process may say what this one does not know

    async def _hear_item(self, item: Item) -> None:
        match item:
            case ["e", run_id, _, last]:
                await self._hear_events(run_id, last)
            case ["d", run_id, agent, message_id, offset, text]:
                delta = Delta(agent=agent, message_id=message_id, offset=offset, text=text)
                self._hub.deliver(run_id, [Notice(delta)])
            case ["s", run_id, agent, message_id, size, offset, text]:
                self._hear_snapshot(run_id, agent, message_id, size, offset, text)
            case ["f", run_id]:
                for notice in self._hub.follow_from_elsewhere(run_id, seconds=FOLLOW_SECONDS):
                    self._say(*_snapshot_pieces(run_id, notice))
            case ["k", run_id]:
                self._hub.follow_from_elsewhere(run_id, seconds=FOLLOW_SECONDS)
            case ["c", tenant_id, run_id]:
                if self.on_cancel:
                    self.on_cancel(RunRef(tenant_id, run_id))
            case ["r"]:
                self._start_over()

    async def _hear_events(self, run_id: str, last: int) -> None:
        tenant_id = self._hub.tenant_of(run_id)
        if tenant_id is None:
            return
        # Not from `first` on: whoever wrote the events before may have died before it told of them.
        after = self._hub.position(run_id)
        if after >= last:
            return
        events = await self._store.events(
            RunRef(tenant_id, run_id), after=after, limit=last - after
        )
        # None beyond `last`: pieces of messages may stand between the events that follow.
        self._hub.deliver(run_id, [Notice(event) for event in events if event.seq <= last])

    def _hear_snapshot(
        self, run_id: str, agent: str, message_id: str, size: int, offset: int, text: str
    ) -> None:
        if self._hub.tenant_of(run_id) is None:
            return
        key = (run_id, message_id)
        if offset == 0:
            self._snapshots[key] = []
        parts = self._snapshots.get(key, [])
        parts.append(text)
        if offset + len(text) < size:
            return
        whole = "".join(self._snapshots.pop(key, []))
        if len(whole) == size:
            delta = Delta(agent=agent, message_id=message_id, offset=0, text=whole)
            self._hub.deliver(run_id, [Notice(delta, snapshot=True)])


def _pieces(run_id: str, delta: Delta) -> Iterator[Item]:
    for start in range(0, len(delta.text), PIECE_CHARS):
        text = delta.text[start : start + PIECE_CHARS]
        yield ["d", run_id, delta.agent, delta.message_id, delta.offset + start, text]


def _snapshot_pieces(run_id: str, notice: Notice) -> Iterator[Item]:
    what = notice.what
    if isinstance(what, Delta):
        for _, _, agent, message_id, offset, text in _pieces(run_id, what):
            yield ["s", run_id, agent, message_id, len(what.text), offset, text]


def _joined(items: list[Item]) -> Iterator[Item]:
    """Yield the items with consecutive events of a run as one, and growing pieces too."""
    last: Item | None = None
    for item in items:
        if last and item[0] == "e" == last[0] and item[1] == last[1] and item[2] == last[3] + 1:
            last = [*last[:3], item[3]]
        elif last and item[0] == "d" == last[0] and _follows(item, last):
            last = [*last[:5], last[5] + item[5]]
        else:
            if last:
                yield last
            last = item
    if last:
        yield last


def _follows(item: Item, last: Item) -> bool:
    same = item[1] == last[1] and item[3] == last[3] and item[4] == last[4] + len(last[5])
    return same and len(last[5]) + len(item[5]) <= PIECE_CHARS


def _packed(origin: str, items: Iterator[Item]) -> Iterator[str]:
    """Yield payloads, each a JSON list of who says it and what, short enough for Postgres."""
    waiting: list[bytes] = []
    size = 0
    for item in items:
        said = orjson.dumps(item)
        if waiting and size + len(said) > PAYLOAD_BYTES:
            yield _payload(origin, waiting)
            waiting, size = [], 0
        waiting.append(said)
        size += len(said) + 1
    if waiting:
        yield _payload(origin, waiting)


def _payload(origin: str, items: list[bytes]) -> str:
    return f'["{origin}",[{b",".join(items).decode()}]]'
