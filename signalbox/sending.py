"""Send requests: once, or again where that is safe, and read what comes back."""

from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from signalbox.bounds import ANSWER_BYTES, CALL_SECONDS, Content, Deadline
from signalbox.errors import (
    ConfigurationError,
    ProblemError,
    ServerUnreachableError,
    UnexpectedAnswerError,
    kind_of,
)
from signalbox.flows import Answer, Flow, Pause, Read, Request, Send
from signalbox.models import Approval, Health, Model, Problem, Run

T = TypeVar("T")
M = TypeVar("M", bound=Model)

_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures at which nothing has reached the server."""

_OF_GATEWAYS: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often something is tried again, and how long is waited before that."""

    attempts: int = 4
    """Of one request; 1 never tries again."""
    stream_attempts: int = 6
    """Connections of a stream that may break off in a row without anything new."""
    first_pause: float = 0.5
    """Seconds; each pause is twice as long as the one before, and up to half of it is left out by chance."""
    longest_pause: float = 8.0
    longest_retry_after: float = 60.0
    """A server that wants to be left alone for longer is not waited for."""

    def pause(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row."""
        seconds = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, 16))
        return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - so that clients do not come back all at once


class Sender:
    """Makes the flows of requests to one server."""

    def __init__(
        self,
        retries: Retries,
        *,
        place: str,
        call_seconds: float = CALL_SECONDS,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        self.retries: Final = retries
        self.place: Final = place
        """Where the server is, for messages."""
        self.call_seconds: Final = call_seconds
        self.answer_bytes: Final = answer_bytes

    def get(
        self, path: str, into: type[M], *, query: Mapping[str, object] | None = None
    ) -> Flow[M]:
        """Ask for something."""
        request = Request(method="GET", path=path, query=written(query))
        return self.call(request, lambda answer: read_model(answer, into))

    def post(
        self, path: str, into: type[M], body: Mapping[str, Any] | None = None, *, key: str | None
    ) -> Flow[M]:
        """Have something done, once: the idempotency key stays the same however often it is sent."""
        return self.call(post_request(path, body, key), lambda answer: read_model(answer, into))

    def health(self) -> Flow[Health]:
        """Ask how the server is, which it tells with a 503 too."""
        try:
            request = Request(method="GET", path="/health/ready")
            answer: Answer = yield Send(request, self.call_seconds)
        except httpx.RequestError as error:
            raise self.unreachable(error) from error
        if answer.success or (answer.status == 503 and not _is_problem(answer)):  # noqa: PLR2004 - HTTP's own
            return read_model(answer, Health)
        raise refusal(answer)

    def call(
        self, request: Request, read: Callable[[Answer], T], *, within: float = math.inf
    ) -> Flow[T]:
        """Send a request and read its answer."""
        return read((yield from self.answer(request, within=within)))

    def answer(self, request: Request, *, within: float = math.inf) -> Flow[Answer]:
        """Send a request, again where that is safe; return the answer, which is a success.

        Raises `ProblemError`, `UnexpectedAnswerError`, `ServerUnreachableError`.
        """
        failures = 0
        deadline = Deadline(min(within, self.call_seconds))
        while True:
            failures += 1
            last = failures >= self.retries.attempts
            try:
                answer: Answer = yield Send(request, deadline.left)
            except httpx.RequestError as error:
                pause = self.retries.pause(failures)
                last = last or pause >= deadline.left
                if last or not (request.repeatable or isinstance(error, _UNSENT)):
                    raise self.unreachable(error) from error
                yield Pause(pause)
                continue
            if answer.success:
                return answer
            seconds = self.again_after(answer, failures) if request.repeatable else None
            if last or seconds is None or seconds >= deadline.left:
                raise refusal(answer)
            yield Pause(seconds)

    def rest(self) -> Flow[bytes]:
        """Read what is left of the answer that is open."""
        content = Content(self.answer_bytes, self.call_seconds)
        while piece := (yield Read()):
            content.add(piece)
        return content.value()

    def again_after(self, answer: Answer, failures: int) -> float | None:
        """Return after how many seconds a refused request is worth another attempt; `None` where it is not."""
        if answer.headers.get("x-should-retry") == "false":
            return None
        asked = retry_after(answer)
        if asked is not None and answer.status in {409, 429, 503}:
            own = self.retries.pause(failures)
            return max(asked, own) if asked <= self.retries.longest_retry_after else None
        if answer.status in _OF_GATEWAYS and not _is_problem(answer):
            return self.retries.pause(failures)
        return None

    def unreachable(self, error: httpx.RequestError) -> ServerUnreachableError:
        """Return what is raised where nobody answers."""
        why = str(error) or type(error).__name__
        return ServerUnreachableError(f"The server at {self.place} cannot be reached: {why}.")


def path_of(*steps: str) -> str:
    """Return a path of steps, each encoded."""
    if not all(steps):
        msg = "An id is empty. Pass the one that the server has given."
        raise ConfigurationError(msg)
    return "".join("/" + quote(_encodable(step), safe="") for step in steps)


def _encodable(text: str) -> str:
    """Return a text as it is; raises `ConfigurationError` where a part of it is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"{text!r} cannot be sent: a part of it is no character."
        raise ConfigurationError(msg) from error
    return text


def post_request(
    path: str, body: Mapping[str, Any] | None, key: str | None, *, method: str = "POST"
) -> Request:
    """Return a request with a JSON body; a POST has an idempotency key, the user's or one of its own."""
    headers = {"content-type": "application/json"}
    if method == "POST":
        key = uuid.uuid4().hex if key is None else key
        if not (1 <= len(key) <= 255 and all("!" <= each <= "~" for each in key)):  # noqa: PLR2004 - as the API says
            msg = "An idempotency key has 1 to 255 visible ASCII characters."
            raise ConfigurationError(msg)
        headers["idempotency-key"] = key
    try:
        content = json.dumps(given(body or {}), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"This cannot be sent as JSON: {error}."
        raise ConfigurationError(msg) from error
    return Request(method=method, path=path, headers=headers, content=content)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that are not `None`."""
    return {name: value for name, value in values.items() if value is not None}


def written(query: Mapping[str, object] | None) -> dict[str, str]:
    """Return a query as it is written; what is `None` is left out."""
    return {name: _written(value) for name, value in given(query or {}).items()}


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.astimezone(UTC)).isoformat()
    return _encodable(str(value))


def read_model(answer: Answer, into: type[M]) -> M:
    """Return an answer as a model; raises `UnexpectedAnswerError`."""
    try:
        return into.model_validate_json(answer.content)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)[:3]
        what = "; ".join(f"{'/'.join(map(str, f['loc'])) or 'it'}: {f['msg']}" for f in faults)
        msg = f"The answer is no {into.__name__} as this client knows it ({what}). Is it a Signalbox of this version?"
        raise UnexpectedAnswerError(msg) from None


def refusal(answer: Answer) -> ProblemError | UnexpectedAnswerError:
    """Return what a refusal is raised as."""
    try:
        document: dict[str, Any] = json.loads(answer.content)
        run, approval = document.pop("run", None), document.pop("approval", None)
        problem = Problem.model_validate(document)
        return kind_of(problem)(
            problem,
            retry_after=retry_after(answer),
            run=Run.model_validate(run) if run else None,
            approval=Approval.model_validate(approval) if approval else None,
        )
    except (ValueError, AttributeError, TypeError, RecursionError):
        msg = f"HTTP {answer.status} without a problem that explains it: something else than Signalbox answers there."
        return UnexpectedAnswerError(msg)


def retry_after(answer: Answer) -> float | None:
    """Return the seconds of `Retry-After`, which may be a date; `None` where there is none."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else None


def _is_problem(answer: Answer) -> bool:
    return str(answer.headers.get("content-type", "")).startswith("application/problem+json")
