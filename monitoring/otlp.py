"""Sends spans to a collector: OTLP over HTTP, by OpenTelemetry's own exporter, from a thread of its own.

The exporter reads the `OTEL_…` variables itself. It takes long to import, so only who sends traces imports this.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from domain.errors import ConfigurationError
from monitoring import genai
from monitoring.logs import Seldom
from monitoring.spans import Span

QUIET_SECONDS: Final = 300.0
"""How long nothing more is said of spans that do not arrive."""

WAITING_SPANS: Final = 8_192
"""How many spans wait at most where nobody says otherwise: those of a run come at once."""

_QUEUE_SIZE: Final = "OTEL_BSP_MAX_QUEUE_SIZE"

_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)

_log = logging.getLogger("signalbox.tracing")


class SpanSender:
    """Takes spans and sends them, many at a time; what finds no place in its queue is dropped."""

    def __init__(self, version: str, environment: Mapping[str, str]) -> None:
        _hush()
        own = {SERVICE_VERSION: version}
        named = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
        if not environment.get("OTEL_SERVICE_NAME") and f"{SERVICE_NAME}=" not in named:
            own[SERVICE_NAME] = genai.PRODUCT
        self._resource = Resource.create(own)
        self._scope = InstrumentationScope(genai.PRODUCT, version)
        self._exporter = OTLPSpanExporter()
        try:
            self._processor = BatchSpanProcessor(
                self._exporter,
                max_queue_size=None if environment.get(_QUEUE_SIZE) else WAITING_SPANS,
            )
        except ValueError as error:
            msg = f"The OTEL_BSP_… variables cannot be used: {error}"
            raise ConfigurationError(msg) from None

    def send(self, spans: Iterable[Span]) -> None:
        """Put spans into the queue; never waits."""
        for span in spans:
            self._processor.on_end(self._readable(span))

    async def aclose(self, seconds: float) -> None:
        """Send what waits, for so long at most; whatever the collector does, the process may end then."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # Not of a pool: the interpreter waits for the threads of those at its end.
        threading.Thread(target=shut_down, name="close traces", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                await done.wait()
        except TimeoutError:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it tries nothing again from here on
            _log.warning(
                "The last spans could not be sent in time.", extra={"action": "traces_cut_off"}
            )

    def _readable(self, span: Span) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        return ReadableSpan(
            name=span.name,
            context=_context(trace_id, span.span_id, remote=False),
            parent=_context(trace_id, span.parent_id, remote=True) if span.parent_id else None,
            resource=self._resource,
            attributes={**span.attributes, **({genai.ERROR: span.error} if span.error else {})},
            events=[
                Event(each.name, each.attributes, timestamp=_nanoseconds(each.at))
                for each in span.moments
            ],
            links=[
                Link(_context(int(each.trace_id, 16), each.span_id, remote=True))
                for each in span.links
            ],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET),
            start_time=_nanoseconds(span.began),
            end_time=_nanoseconds(span.ended),
            instrumentation_scope=self._scope,
        )


def _context(trace_id: int, span_id: str, *, remote: bool) -> SpanContext:
    return SpanContext(trace_id, int(span_id, 16), is_remote=remote, trace_flags=_SAMPLED)


def _nanoseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


class _Complaints(logging.Handler):
    """Says in our own words, and seldom, that spans do not arrive: the exporter's name addresses, and come often."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seldom = Seldom(QUIET_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of the exporter's."""
        del record
        if self._seldom.is_due("spans"):
            _log.warning(
                "Spans do not arrive at the collector, or too slowly: is the one that OTEL_EXPORTER_OTLP_ENDPOINT "
                "names there? Runs go on; what finds no place in the queue is lost.",
                extra={"action": "traces_not_sent"},
            )


def _hush() -> None:
    log = logging.getLogger("opentelemetry")
    for each in [each for each in log.handlers if isinstance(each, _Complaints)]:
        log.removeHandler(each)
    log.addHandler(_Complaints())
    log.propagate = False
