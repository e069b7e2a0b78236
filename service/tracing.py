"""What this process tells a collector of its runs: model calls as they end, everything else at the run's end.

At its end a run is read from its stored events, by whichever process ends it. So a trace is whole after a crash
too, and no part of it is written twice: what a killed process takes along are spans of calls, and nothing is
below those.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final, Protocol

from domain.budget import Tried
from domain.delivery import Attempt
from domain.events import Event
from domain.partial import MAX_EVENTS_OF_A_RUN
from domain.ports import RunRef, RunStore
from domain.run import Run
from domain.tracing import TraceParent, read_traceparent, trace_id_of
from monitoring.logs import Seldom
from monitoring.run_trace import TYPES, run_spans
from monitoring.spans import Place, Span, call_span, place_of, run_span_id
from monitoring.tracing import Sampling, read_wish

WAITING_RUNS: Final = 1_000
"""Runs that have ended and are not told yet; the traces of more are left out."""

REMEMBERED_RUNS: Final = 10_000
"""Runs whose calls are remembered until their end, which may come in another process."""

CLOSE_SECONDS: Final = 2.0
"""How long a process that stops waits for its traces."""

QUIET_SECONDS: Final = 300.0
PAGE: Final = 1_000

_log = logging.getLogger("signalbox.tracing")


class Sender(Protocol):
    """Takes spans; see `monitoring.otlp`."""

    def send(self, spans: Collection[Span]) -> None:
        """Put spans into the queue; never waits."""
        ...

    async def aclose(self, seconds: float) -> None:
        """Send what waits, for so long at most."""
        ...


class Traces:
    """Sends the spans of what happens in this process, of traces that are recorded."""

    def __init__(
        self,
        store: RunStore,
        sender: Sender,
        sampling: Sampling,
        *,
        run_of: Callable[[str], Run | None],
        tools: Collection[str],
    ) -> None:
        self._store = store
        self._sender = sender
        self._sampling = sampling
        self._run_of = run_of
        self._tools = frozenset(tools)
        self._named: OrderedDict[str, dict[Place, datetime]] = OrderedDict()
        self._ended: asyncio.Queue[Run] = asyncio.Queue(WAITING_RUNS)
        self._telling: asyncio.Task[None] | None = None
        self._seldom = Seldom(QUIET_SECONDS)

    def start(self) -> None:
        """Begin to tell of runs that end."""
        self._telling = asyncio.create_task(self._tell(), name="tell of traces")

    async def aclose(self) -> None:
        """Send what there is, for `CLOSE_SECONDS` at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSE_SECONDS
        try:
            async with asyncio.timeout_at(until - CLOSE_SECONDS / 2):
                await self._ended.join()
        except TimeoutError:
            self._complain("Runs have ended whose traces could not be made in time.")
        if self._telling:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        await self._sender.aclose(until - loop.time())

    def tried(self, tried: Tried) -> None:
        """Tell of one try of a model call."""
        run = self._run_of(tried.planned.run_id)
        if run is None or not self._records(run):
            return
        try:
            named = self._named.setdefault(run.id, {})
            named.setdefault(place_of(tried), tried.began)
            self._named.move_to_end(run.id)
            if len(self._named) > REMEMBERED_RUNS:
                self._named.popitem(last=False)
            self._sender.send([call_span(run, tried)])
        except Exception as error:  # noqa: BLE001 - a run does not end because it could not be told of
            self._complain("A model call could not be traced.", error)

    def ended(self, run: Run) -> None:
        """Tell of a run that this process has ended, soon."""
        if not self._records(run):
            return
        try:
            self._ended.put_nowait(run)
        except asyncio.QueueFull:
            self._complain("More runs end than can be traced.")

    def begin_request(self, caller: TraceParent | None, trace_id: str, span_id: str) -> TraceParent:
        """Return the span of a request, in its caller's trace or a new one."""
        parent = caller.sampled if caller else None
        within = caller.trace_id if caller else trace_id
        return TraceParent(within, span_id, self._sampling.records(within, parent=parent))

    def end_request(self, span: Span) -> None:
        """Tell of a request that was answered, and is recorded."""
        self._sender.send([span])

    def outgoing(self, attempt: Attempt) -> str:
        """Return the `traceparent` of a message about a run: the run's own span."""
        parent = read_traceparent(attempt.traceparent)
        trace_id = trace_id_of(attempt.run_id, attempt.traceparent)
        span_id = run_span_id(attempt.run_id, attempt.retried_after)
        return TraceParent(trace_id, span_id, self._sampled(trace_id, parent)).header

    def _records(self, run: Run) -> bool:
        return self._sampled(run.trace_id, read_traceparent(run.traceparent))

    def _sampled(self, trace_id: str, parent: TraceParent | None) -> bool:
        return self._sampling.records(trace_id, parent=parent.sampled if parent else None)

    async def _tell(self) -> None:
        while True:
            run = await self._ended.get()
            try:
                events = await self._read(run)
                named = self._named.pop(run.id, {})
                self._sender.send(run_spans(run, events, named, tools=self._tools))
            except Exception as error:  # noqa: BLE001 - the next one may do
                self._complain("A run could not be traced.", error)
            finally:
                self._ended.task_done()

    async def _read(self, run: Run) -> list[Event]:
        """Return what a run's trace is made of."""
        ref, found = RunRef(run.tenant_id, run.id), list[Event]()
        while len(found) < MAX_EVENTS_OF_A_RUN:
            after = found[-1].seq if found else 0
            page = await self._store.events(ref, after=after, limit=PAGE, types=TYPES)
            found += page
            if len(page) < PAGE:
                break
        return found

    def _complain(self, text: str, error: Exception | None = None) -> None:
        if self._seldom.is_due(text):
            _log.warning(text, exc_info=error, extra={"action": "traces_incomplete"})


def open_traces(
    store: RunStore,
    environment: Mapping[str, str],
    *,
    version: str,
    run_of: Callable[[str], Run | None],
    tools: Collection[str],
) -> Traces | None:
    """Return what sends traces to the collector that the environment names; `None` where it names none."""
    wish = read_wish(environment)
    for complaint in wish.complaints:
        _log.warning(complaint, extra={"action": "traces_not_as_wished"})
    if not wish.on:
        return None
    from monitoring.otlp import SpanSender  # noqa: PLC0415 - slow to import, and few want it

    sender = SpanSender(version, environment)
    return Traces(store, sender, wish.sampling, run_of=run_of, tools=tools)
