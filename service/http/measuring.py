"""Counts the requests and the streams of this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import cast

from starlette.types import Message, Scope, Send

from monitoring.metrics import Metrics
from service.http.sse import begins_stream
from service.services import Services


@contextmanager
def measuring(scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> Iterator[Send]:
    """Yield how to send an answer; it is counted when the context ends, a stream while it is open."""
    services = cast("Services", scope["app"].state.services)
    measure = _Measure(send, services.metrics, resumed=b"last-event-id" in headers)
    begun = perf_counter()
    try:
        yield measure.send
    finally:
        measure.end(scope, perf_counter() - begun)


class _Measure:
    def __init__(self, send: Send, metrics: Metrics, *, resumed: bool) -> None:
        self._send = send
        self._metrics = metrics
        self._resumed = resumed
        self._status: int | None = None
        self._streams = False

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if begins_stream(message):
                self._streams = True
                self._metrics.stream_opened(resumed=self._resumed)
        await self._send(message)

    def end(self, scope: Scope, seconds: float) -> None:
        """Count it, unless its client left before there was an answer."""
        if self._streams:
            self._metrics.stream_closed()
        elif self._status is not None:
            route = getattr(scope.get("route"), "path", None)
            self._metrics.answered(scope["method"], route, self._status, seconds)
