"""What a request has to do with traces: whose it comes from, and a span of its own where traces are sent."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, cast

from starlette.requests import Request
from starlette.types import Message, Scope, Send

from domain.run import Run
from domain.tracing import TraceParent, read_traceparent
from monitoring.spans import request_span, run_parent
from service.http.sse import begins_stream
from service.services import Services
from service.tracing import Traces

_CALLER: Final = "signalbox.caller"
_RUN: Final = "signalbox.run"

_UNTRACED: Final = ("/health", "/metrics")
"""Paths that are asked all the time, by machines."""


def traceparent_of(request: Request) -> str | None:
    """Return the span in which a request was made, as its `traceparent`; `None` where it names none."""
    caller: TraceParent | None = request.scope.get(_CALLER)
    return caller.header if caller else None


def note_run(request: Request, run: Run) -> None:
    """Note that a request has led to a run."""
    request.scope[_RUN] = run


@contextmanager
def tracing(scope: Scope, send: Send) -> Iterator[Send]:
    """Yield how to send an answer; the request's span is sent when the context ends, or a stream begins."""
    caller = scope[_CALLER] = _caller(scope)
    traces = cast("Services", scope["app"].state.services).traces
    if traces is None or scope["path"].startswith(_UNTRACED):
        yield send
        return
    own = traces.begin_request(caller, secrets.token_hex(16), secrets.token_hex(8))
    if not own.sampled:
        yield send
        return
    request = _Request(scope, send, traces, own, caller)
    try:
        yield request.send
    finally:
        request.end()


def _caller(scope: Scope) -> TraceParent | None:
    """Return the span that a request names; two of them are none."""
    named = [value for name, value in scope["headers"] if name.lower() == b"traceparent"]
    return read_traceparent(named[0].decode("latin-1")) if len(named) == 1 else None


class _Request:
    """A request whose span is sent once."""

    def __init__(
        self, scope: Scope, send: Send, traces: Traces, own: TraceParent, caller: TraceParent | None
    ) -> None:
        self._scope = scope
        self._send = send
        self._traces = traces
        self._own = own
        self._caller = caller
        self._began = datetime.now(UTC)
        self._status: int | None = None
        self._told = False

    async def send(self, message: Message) -> None:
        """Pass a message on. A stream lasts as long as its run, and one that only reads is no piece of work."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if begins_stream(message):
                self._told = self._scope["method"] == "GET"
                self.end()
        await self._send(message)

    def end(self) -> None:
        """Send the span, unless that was done."""
        if self._told:
            return
        self._told = True
        run: Run | None = self._scope.get(_RUN)
        self._traces.end_request(
            request_span(
                self._own,
                self._caller,
                method=self._scope["method"],
                route=getattr(self._scope.get("route"), "path", None),
                status=self._status,
                run=run_parent(run) if run else None,
                began=self._began,
                ended=datetime.now(UTC),
            )
        )
