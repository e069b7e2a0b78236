"""Follow a run's events over as many connections as it takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import httpx
from pydantic import ValidationError

from signalbox.bounds import Deadline
from signalbox.errors import (
    StreamBrokenError,
    UnexpectedAnswerError,
    WaitExceededError,
)
from signalbox.flows import Answer, Close, Flow, Give, Open, Pause, Read, Request
from signalbox.models import Event
from signalbox.sending import Sender, path_of, refusal
from signalbox.sse import Frame, FrameReader, number_in
from signalbox.transcript import Transcript

IDLE_SECONDS: Final = 30.0
"""A server sends something every ten seconds, if only a ping: after three times that it is gone."""

_ENDS: Final = ("run.completed", "run.failed", "run.cancelled", "run.incomplete")
_PIECES: Final = ("message.delta", "message.snapshot")
_NOTHING_MORE: Final = 204


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which events of a run."""

    after: int = 0
    types: Sequence[str] | None = None
    """Patterns such as `run.*`; all where there are none."""
    tokens: bool = True
    idle: float = IDLE_SECONDS
    within: float | None = None

    def query(self) -> dict[str, str]:
        """Return it as the server reads it: with the ends of runs, by which a stream is known to be whole."""
        query = {} if self.tokens else {"tokens": "false"}
        if self.types:
            query["types"] = ",".join([*self.types, *_ENDS])
        return query

    def has(self, event: Event) -> bool:
        """Return whether the user wants an event."""
        names = _PIECES if event.type in _PIECES else (event.type,)
        patterns = self.types or ("*",)
        return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


class RunFollower:
    """Gives every stored event once and in order, whatever becomes of the connections."""

    def __init__(self, sender: Sender, run_id: str, wanted: Wanted) -> None:
        self.transcript: Final = Transcript()
        self._sender = sender
        self._run_id = run_id
        self._path = f"{path_of('v1', 'runs', run_id)}/events"
        self._wanted = wanted
        self._deadline = Deadline(wanted.within)
        self._last = wanted.after
        self._next = wanted.after + 1
        """The number that the next stored event has to have, as no types are left out."""
        self._ended = False
        self._new = False
        """Whether the connection has brought anything."""
        self._server_pause = 0.0

    def flow(self) -> Flow[None]:
        """Give events until the run has ended. Raises `StreamBrokenError`, `WaitExceededError`, `ProblemError`."""
        failures = 0
        while True:
            self._new = False
            why, seconds = "it ended without the end of the run", None
            try:
                answer: Answer = yield Open(self._request())
                if answer.status == _NOTHING_MORE:
                    return
                if answer.success:
                    whole = yield from self._read(answer)
                    if whole and self._ended:
                        return
                else:
                    why, seconds = yield from self._refused(answer, failures + 1)
            except httpx.RequestError as error:
                why = str(error) or type(error).__name__
            yield Close()
            failures = 1 if self._new else failures + 1
            if failures > self._sender.retries.stream_attempts:
                raise self._broken(failures, why)
            self._check_time()
            yield Pause(min(self._pause(failures, seconds), self._deadline.left))
            self._check_time()

    def _request(self) -> Request:
        return Request(
            method="GET",
            path=self._path,
            query=self._wanted.query(),
            headers={"accept": "text/event-stream", "last-event-id": str(self._last)},
            read_seconds=min(self._wanted.idle, max(0.1, self._deadline.left)),
        )

    def _pause(self, failures: int, seconds: float | None) -> float:
        retries = self._sender.retries
        if seconds is not None:
            return seconds
        return max(retries.pause(failures), min(self._server_pause, retries.longest_pause))

    def _read(self, answer: Answer) -> Flow[bool]:
        """Give what a connection brings; return whether it is worth nothing more, or misses something."""
        if not str(answer.headers.get("content-type", "")).startswith("text/event-stream"):
            msg = f"What answers at {self._sender.place} sends no events. Is it a Signalbox?"
            raise UnexpectedAnswerError(msg)
        reader = FrameReader()
        while piece := (yield Read()):
            for frame in reader.feed(piece):
                event = _event_of(frame)
                if not self._fits(event):
                    return False
                yield from self._give(event)
            self._server_pause = reader.retry_seconds or 0.0
            self._check_time()
        return True

    def _refused(self, answer: Answer, failures: int) -> Flow[tuple[str, float]]:
        """Return why there is no stream for now, and when to ask again; raises `ProblemError`."""
        content = yield from self._sender.rest()
        read = Answer(status=answer.status, headers=answer.headers, content=content)
        error = refusal(read)
        seconds = self._sender.again_after(read, failures)
        if seconds is None:
            raise error
        return str(error), seconds

    def _fits(self, event: Event) -> bool:
        """Return whether an event is the next one, or one that was given; false where one is missing."""
        if event.type == "stream.gap":
            earliest = event.data.get("earliest")
            self._next = earliest if isinstance(earliest, int) else self._next
        return bool(self._wanted.types) or event.seq is None or event.seq <= self._next

    def _give(self, event: Event) -> Flow[None]:
        if event.seq is not None:
            if event.seq <= self._last:
                return
            self._last, self._next = event.seq, event.seq + 1
            self._ended = event.ends
        self._new = True
        shown = self.transcript.take(event)
        if shown and self._wanted.has(shown):
            yield Give(shown)

    def _check_time(self) -> None:
        if self._deadline.over:
            msg = f"{self._run_id} has not ended within {self._wanted.within:g} s. It goes on."
            raise WaitExceededError(msg, run_id=self._run_id)

    def _broken(self, failures: int, why: str) -> StreamBrokenError:
        msg = (
            f"The stream of {self._run_id} broke off {failures} times without anything new ({why}). "
            "The run may go on; its events can be taken up again after last_seq."
        )
        return StreamBrokenError(msg, last_seq=self._last)


def _event_of(frame: Frame) -> Event:
    try:
        document: Any = json.loads(frame.data)
        event = Event.model_validate({"type": frame.type, **document})
    except (ValueError, TypeError, RecursionError, ValidationError):
        msg = f"An event {frame.type[:80]!r} is not what this client can read. Is it a Signalbox of this version?"
        raise UnexpectedAnswerError(msg) from None
    number = number_in(frame.id or "")
    if event.seq is None and number is not None:
        return event.model_copy(update={"seq": number})
    return event
