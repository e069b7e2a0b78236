"""A run's events as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Message

from domain.ports import RunRef, RunStore
from service.connections import TAKE_SECONDS
from service.events import follow
from service.http.openapi import event_schema
from service.hub import EventHub
from service.notices import RETRY_FRAME, Notice

PING_SECONDS: Final = 10
HEADERS: Final = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
_TRANSIENT: Final = ("message.delta", "message.snapshot")

STREAM: Final = event_schema(
    {
        "type": "object",
        "properties": {
            "seq": {"type": "integer"},
            "type": {"type": "string"},
            "agent": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "data": {"type": "object"},
        },
        "required": ["type", "data"],
    },
    {
        "id": "2",
        "event": "run.started",
        "data": '{"seq":2,"type":"run.started","run_id":"run_0193f2c4a1b27c3d8e4f5a6b7c8d9e0f",'
        '"ts":"2026-11-29T11:28:34.508034Z","agent":null,"path":null,"round":0,"attempt":1,'
        '"data":{"attempt":1}}',
    },
)
"""What OpenAPI says of the stream."""

Wanted = Callable[[Notice], bool]


def make_filter(types: str | None, *, tokens: bool) -> Wanted:
    """Return which notices a client wants: by patterns such as `run.*`, with or without tokens."""
    patterns = [p.strip() for p in (types or "").split(",") if p.strip()]

    def wanted(notice: Notice) -> bool:
        if not tokens and notice.type in _TRANSIENT:
            return False
        # A snapshot stands for deltas that came before the client did: who wants one, wants both.
        names = _TRANSIENT if notice.type in _TRANSIENT else (notice.type,)
        return not patterns or any(fnmatchcase(n, p) for n in names for p in patterns)

    return wanted


def stream_run(
    store: RunStore,
    hub: EventHub,
    ref: RunRef,
    *,
    after: int,
    wanted: Wanted,
    headers: Mapping[str, str] | None = None,
) -> EventSourceResponse:
    """Return the SSE response: replay after a number, then live until the run ends."""

    async def frames() -> AsyncIterator[bytes]:
        yield RETRY_FRAME
        async for notices in follow(store, hub, ref, after=after):
            chunk = b"".join(notice.frame for notice in notices if wanted(notice))
            if chunk:
                yield chunk

    return event_stream(frames(), headers=headers)


def begins_stream(message: Message) -> bool:
    """Return whether the beginning of an answer is that of a stream."""
    headers: dict[bytes, bytes] = {n.lower(): value for n, value in message.get("headers", [])}
    return headers.get(b"content-type", b"").startswith(b"text/event-stream")


def event_stream(
    frames: AsyncIterator[bytes], *, headers: Mapping[str, str] | None = None
) -> EventSourceResponse:
    """Return frames as a response that is kept open with pings and closed when the server stops."""
    return EventSourceResponse(
        frames,
        ping=PING_SECONDS,
        ping_message_factory=lambda: ServerSentEvent(comment="ping"),
        send_timeout=TAKE_SECONDS,
        headers={**HEADERS, **(headers or {})},
        sep="\n",
    )
