"""What this process tells a collector of its runs: model calls as they end, everything else at the run's end.

At its end a run is read from its stored events, by whichever process ends it. So a trace is whole after a crash
too, and no part of it is written twice. A call is told of as soon as an event of what it is below is stored:
then that will be there, whatever becomes of this process. Where no such event comes it is below the run itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from domain.budget import Tried
from domain.delivery import Attempt
from domain.events import Event
from domain.partial import MAX_EVENTS_OF_A_RUN
from domain.ports import RunRef, RunStore
from domain.run import Run
from domain.tracing import TraceParent, read_traceparent, trace_id_of
from domain.usage import ModelCall
from monitoring.logs import Seldom
from monitoring.run_trace import TYPES, places_of, run_spans, since_retry
from monitoring.spans import Place, Span, call_span, place_of, run_span_id
from monitoring.tracing import Sampling, read_wish

WAITING_RUNS: Final = 1_000
"""Runs that have ended and are not told yet; the traces of more are left out."""

REMEMBERED_RUNS: Final = 10_000
"""Runs under way whose calls are remembered; what is held of more is left out."""

LOOK_SECONDS: Final = 1.0
"""How often calls are looked after that no stored event says the parents of."""

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


@dataclass
class _Calls:
    """The calls of a run whose segment is under way here, or was a moment ago."""

    run: Run
    known: set[Place] = field(default_factory=lambda: {Place(0)})
    """Parts of the run that its trace will have."""
    named: dict[Place, datetime] = field(default_factory=dict)
    """Parts that calls are of, and since when."""
    held: list[Tried] = field(default_factory=list)
    """Calls of parts that are not known yet."""
    looked: bool = False
    over: bool = False
    """Whether the segment was over when it was looked at last."""

    def take(self, *, rest: bool = False) -> list[Span]:
        """Return the spans of calls of what is known; with `rest` of all, those others below the run."""
        spans, held, self.held = list[Span](), self.held, []
        for tried in held:
            place = place_of(tried)
            if place in self.known or rest:
                spans.append(call_span(self.run, tried, place if place in self.known else Place(0)))
            else:
                self.held.append(tried)
        return spans


class _Ended(NamedTuple):
    """A run that was ended here, with its calls that are not told yet."""

    run: Run
    calls: _Calls


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
        self._calls: OrderedDict[tuple[str, int], _Calls] = OrderedDict()
        self._ended: asyncio.Queue[_Ended] = asyncio.Queue(WAITING_RUNS)
        self._tasks: list[asyncio.Task[None]] = []
        self._seldom = Seldom(QUIET_SECONDS)

    def start(self) -> None:
        """Begin to tell of runs that end, and to look after calls that nothing is known of."""
        for work, name in ((self._tell(), "tell of traces"), (self._look(), "look after calls")):
            self._tasks.append(asyncio.create_task(work, name=name))

    async def aclose(self) -> None:
        """Send what there is, for `CLOSE_SECONDS` at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSE_SECONDS
        try:
            async with asyncio.timeout_at(until - CLOSE_SECONDS / 2):
                await self._ended.join()
                for calls in list(self._calls.values()):
                    await self._settle(calls)
        except TimeoutError:
            self._complain("Not all of the last traces could be made in time.")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sender.aclose(until - loop.time())

    def tried(self, tried: Tried) -> None:
        """Tell of one try of a model call."""
        try:
            calls = self._calls_of(tried.planned.run_id, tried.planned.attempt)
            if calls:
                calls.named.setdefault(place_of(tried), tried.began)
                calls.held.append(tried)
                self._sender.send(calls.take())
        except Exception as error:  # noqa: BLE001 - a run does not end because it could not be told of
            self._complain("A model call could not be traced.", error)

    def stored(self, events: Sequence[Event]) -> None:
        """Take note of what this process has stored of a run that it executes."""
        try:
            places = [place for event in events for place in places_of(event)]
            calls = self._calls_of(events[0].run_id, events[0].attempt) if places else None
            if calls:
                calls.known.update(places)
                self._sender.send(calls.take())
        except Exception as error:  # noqa: BLE001 - as above
            self._complain("Events could not be traced.", error)

    def called(self, calls: Sequence[ModelCall]) -> None:
        """Leave it: what is booked was told of as it was tried."""

    def ended(self, run: Run) -> None:
        """Tell of a run that this process has ended, soon."""
        if not self._records(run):
            return
        try:
            calls = self._calls.pop((run.id, run.attempt), _Calls(run))
            self._ended.put_nowait(_Ended(run, calls))
        except asyncio.QueueFull:
            self._complain("More runs end than can be traced.")

    def _calls_of(self, run_id: str, attempt: int) -> _Calls | None:
        """Return the calls of a run that is executed here, under this attempt, and recorded."""
        calls = self._calls.get((run_id, attempt))
        if calls is None:
            run = self._run_of(run_id)
            if run is None or run.attempt != attempt or not self._records(run):
                return None
            calls = self._calls[run_id, attempt] = _Calls(run)
            if len(self._calls) > REMEMBERED_RUNS:
                self._calls.popitem(last=False)
        return calls

    def _is_executed(self, calls: _Calls) -> bool:
        run = self._run_of(calls.run.id)
        return run is not None and run.attempt == calls.run.attempt

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

    def of_run(self, run: Run) -> str:
        """Return the `traceparent` of what is asked elsewhere for a run: the run's own span."""
        parent = read_traceparent(run.traceparent)
        span_id = run_span_id(run.id, run.retried_after)
        return TraceParent(run.trace_id, span_id, self._sampled(run.trace_id, parent)).header

    def _records(self, run: Run) -> bool:
        return self._sampled(run.trace_id, read_traceparent(run.traceparent))

    def _sampled(self, trace_id: str, parent: TraceParent | None) -> bool:
        return self._sampling.records(trace_id, parent=parent.sampled if parent else None)

    async def _tell(self) -> None:
        while True:
            run, calls = await self._ended.get()
            try:
                events = await self._read(run)
                self._sender.send(run_spans(run, events, calls.named, tools=self._tools))
                calls.known.update(calls.named)
                self._sender.send(calls.take(rest=True))
            except Exception as error:  # noqa: BLE001 - the next one may do
                self._complain("A run could not be traced.", error)
            finally:
                self._ended.task_done()

    async def _look(self) -> None:
        """Look after what the events stored here say nothing of: another process had stored more, or has ended
        the run."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for calls in list(self._calls.values()):
                executed = self._is_executed(calls)
                if not executed and calls.over:
                    await self._settle(calls)
                elif executed and calls.held and calls.run.attempt > 1 and not calls.looked:
                    await self._look_up(calls)
                # Twice, so that what follows on a segment's end has been done: it may end the run.
                calls.over = not executed

    async def _settle(self, calls: _Calls) -> None:
        """Tell of the last calls of a segment that is over."""
        if calls.held:
            await self._look_up(calls)
            self._sender.send(calls.take(rest=True))
        self._calls.pop((calls.run.id, calls.run.attempt), None)

    async def _look_up(self, calls: _Calls) -> None:
        """Tell of calls whose parts other processes have stored events of."""
        calls.looked = True
        try:
            events = since_retry(await self._read(calls.run))
            calls.known.update(place for event in events for place in places_of(event))
            self._sender.send(calls.take())
        except Exception as error:  # noqa: BLE001 - they are told of all the same
            self._complain("It could not be read what calls belong to.", error)

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
