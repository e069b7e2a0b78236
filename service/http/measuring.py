"""Counts the requests and the streams of this process, and writes a line for each when it is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final, cast

from starlette.types import Message, Receive, Scope, Send

from domain.caller import CallerIdentity
from monitoring.metrics import Metrics
from service.http.sse import begins_stream
from service.services import Services
from service.store.links import PATH

CLIENT_LEFT: Final = 499
"""What a line says of a request whose client left before there was an answer; no client ever sees it."""

FAILED: Final = 500
OVERLOADED: Final = 503

MAX_PATH: Final = 300
"""Characters of a path that a line shows."""

PROBES: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
"""What machines ask every few seconds: a line for each of these is only for who wants to see everything."""

_log = logging.getLogger("signalbox.requests")


@contextmanager
def measuring(
    scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send
) -> Iterator[Measured]:
    """Yield a request with its answer: it is counted and told when the context ends, a stream is counted while
    it is open."""
    services = cast("Services", scope["app"].state.services)
    measured = Measured(receive, send, services.metrics, resumed=b"last-event-id" in headers)
    begun = perf_counter()
    try:
        yield measured
    except Exception:
        measured.failed()
        raise
    finally:
        measured.end(scope, perf_counter() - begun)


class Measured:
    """What comes and goes of one request."""

    def __init__(self, receive: Receive, send: Send, metrics: Metrics, *, resumed: bool) -> None:
        self._receive = receive
        self._send = send
        self._metrics = metrics
        self._resumed = resumed
        self._status: int | None = None
        self._streams = False
        self._bytes = 0
        self._whole = False
        self._left = False

    async def receive(self) -> Message:
        """Return what comes next; notes whether the client has left before it had its answer."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._whole:
            self._left = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if begins_stream(message):
                self._streams = True
                self._metrics.stream_opened(resumed=self._resumed)
        elif message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
        await self._send(message)

    def failed(self) -> None:
        """Note that there is no answer but the one which is made outside, where nothing had been sent."""
        if self._status is None and not self._left:
            self._status = FAILED

    def end(self, scope: Scope, seconds: float) -> None:
        """Count it, unless its client left before there was an answer; and tell of it."""
        route = getattr(scope.get("route"), "path", None)
        if self._streams:
            self._metrics.stream_closed()
        elif self._status is not None:
            self._metrics.answered(scope["method"], route, self._status, seconds)
        self._tell(scope, route, seconds)

    def _tell(self, scope: Scope, route: str | None, seconds: float) -> None:
        status = self._status
        if status is None and self._left:
            status = CLIENT_LEFT
        level = _level(route, status)
        if not _log.isEnabledFor(level):
            return
        caller = cast("CallerIdentity | None", scope.get("caller"))
        took = {"seconds": round(seconds, 3)} if self._streams else {"ms": round(seconds * 1000, 1)}
        # Without what follows a `?`, and without the client's address: neither is needed to find a request.
        path = _shown(scope["path"])
        fields: dict[str, Any] = {
            "action": "stream_ended" if self._streams else "request",
            "method": scope["method"],
            "route": route,
            "path": path,
            "status": status,
            **took,
            "bytes": self._bytes,
            "left": self._left or None,
            "caller": caller.id if caller else None,
            "tenant": caller.tenant_id if caller else None,
            "run_id": scope.get("path_params", {}).get("run_id"),
        }
        text = "%s %s %s"
        _log.log(level, text, scope["method"], path, status or "without an answer", extra=fields)


def _shown(path: str) -> str:
    """Return a path without the token of a link: whoever has that may decide."""
    return f"{PATH}***" if path.startswith(PATH) else path[:MAX_PATH]


def _level(route: str | None, status: int | None) -> int:
    if status is None or status < FAILED:
        return logging.DEBUG if route in PROBES else logging.INFO
    return logging.WARNING if status == OVERLOADED else logging.ERROR
