"""The instances of an agent's service: which is asked, and how an order is sent and its answer read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Final

import httpx
from pydantic import ValidationError

from agents._kit.faults import RecordedError
from agents._kit.remote_wire import (
    AGENT,
    DEADLINE,
    LINE,
    LINE_BYTES,
    RUN,
    SILENT_SECONDS,
    STREAM_BYTES,
    About,
    Alive,
    Last,
    Line,
    Order,
    Token,
)
from domain.recording import Fault

CONNECT_SECONDS: Final = 3.0
"""How long an instance may take to accept a connection."""
SKIP_SECONDS: Final = 5.0
"""For how long one that has failed is asked after the others."""
ROUNDS: Final = 5
"""How often all instances are asked before none is there."""
FIRST_WAIT_SECONDS: Final = 0.25
"""Before they are asked again; it doubles."""
DETAIL_CHARS: Final = 500
SHORT_BYTES: Final = 256 * 1024
"""More than a service says of itself, or of why it refuses."""
CONNECTIONS: Final = 128

OnToken = Callable[[Token], Awaitable[None]]


class RemoteError(RecordedError):
    """The service of an agent has not done what it was asked."""


def remote_error(
    said: str, *, transient: bool, sent: bool, status: int | None = None
) -> RemoteError:
    """Return an error; `sent`: a model may have been called, and be to be paid."""
    fault = Fault(
        name=RemoteError.__name__,
        said=said,
        text=said,
        status=status,
        transient=transient,
        billed=sent,
    )
    error = RemoteError(fault)
    if not sent:
        error.__cause__ = ConnectionRefusedError()
    return error


class Instance:
    """One process of a service."""

    def __init__(self, url: str) -> None:
        self.url: Final = url.rstrip("/")
        self.failed_at: float | None = None

    def failed(self) -> None:
        """Note that it is not to be asked first for a while."""
        self.failed_at = time.monotonic()

    @property
    def resting(self) -> bool:
        """Return whether it has failed a moment ago."""
        return self.failed_at is not None and time.monotonic() - self.failed_at < SKIP_SECONDS


class _Asking:
    """One search for an instance."""

    why: RemoteError | None = None
    """Why the last one that was asked does not do it."""
    passing = False
    """Whether any of this round may do it a moment later."""

    def said(self, why: RemoteError) -> None:
        """Note why one does not do it."""
        self.why = why
        self.passing = self.passing or why.fault.transient


class Instances:
    """All instances of the service of an agent, taken in turn."""

    def __init__(self, agent: str, urls: tuple[str, ...], secret: str | None) -> None:
        self.agent: Final = agent
        self.all: Final = tuple(Instance(url) for url in urls)
        self.first_wait_seconds = FIRST_WAIT_SECONDS
        self._next = 0
        headers = {"accept-encoding": "identity"}
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        # No proxies from the environment: the addresses are the operator's. No redirects: they would lead
        # the secret elsewhere.
        self._client = httpx.AsyncClient(
            headers=headers,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            # None is kept: one that its other end has closed meanwhile would take an order, and nobody could
            # say whether it was begun.
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def about(self, refused: Callable[[About], str | None] = lambda _: None) -> About:
        """Return what the first instance that fits says of itself; raises `RemoteError`.

        `refused` returns why one does not fit."""
        asking = _Asking()
        for instance, wait in self._rounds(asking):
            await asyncio.sleep(wait)
            try:
                async with (
                    asyncio.timeout(SILENT_SECONDS),
                    self._client.stream("GET", instance.url + AGENT) as response,
                ):
                    body = await _short(response)
                    if response.status_code == HTTPStatus.OK:
                        about = About.model_validate_json(body)
                        why = refused(about)
                        if why is None:
                            return about
                        asking.said(remote_error(why, transient=False, sent=False))
                    else:
                        asking.said(self._refusal(response.status_code, body))
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError):
                asking.said(self._gone())
            except ValueError:
                asking.said(self._garbage())
            instance.failed()
        raise asking.why or self._gone()

    async def do(
        self, order: Order, on_token: OnToken, *, seconds: float, trace: str | None
    ) -> Last:
        """Have an order done by the first instance that takes it; raises `RemoteError`.

        One that takes it and breaks off raises at once: what it has done may have cost something.
        """
        body = order.model_dump_json().encode("utf-8", "replace")
        headers = {"content-type": "application/json", DEADLINE: f"{seconds:.1f}"}
        if trace:
            headers["traceparent"] = trace
        asking = _Asking()
        for instance, wait in self._rounds(asking):
            await asyncio.sleep(wait)
            try:
                async with self._client.stream(
                    "POST", instance.url + RUN, content=body, headers=headers
                ) as response:
                    if response.status_code == HTTPStatus.OK:
                        return await self._read(response, order, on_token)
                    asking.said(self._refusal(response.status_code, await _short(response)))
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
                asking.said(self._gone())
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                instance.failed()
                raise self._broke(silent=isinstance(error, httpx.TimeoutException)) from error
            except ValueError as error:
                instance.failed()
                raise self._garbage(sent=True) from error
            except RemoteError:
                instance.failed()
                raise
            instance.failed()
        raise asking.why or self._gone()

    def _rounds(self, asking: _Asking) -> Iterator[tuple[Instance, float]]:
        """Yield the instances, those that failed last, and again while they fail in passing, each with the seconds
        to wait before it."""
        delay = 0.0
        for number in range(ROUNDS):
            asking.passing = False
            for place, instance in enumerate(self._in_turn()):
                yield instance, 0.0 if place else delay
            if not asking.passing:
                return
            delay = self.first_wait_seconds * 2**number

    def _in_turn(self) -> Iterator[Instance]:
        self._next = (self._next + 1) % len(self.all)
        turned = [*self.all[self._next :], *self.all[: self._next]]
        return iter(sorted(turned, key=lambda each: each.resting))

    async def _read(self, response: httpx.Response, order: Order, on_token: OnToken) -> Last:
        """Return the last line; raises `ValueError` for what is no answer to the order."""
        parts: list[bytes] = []
        size = held = 0
        async for piece in response.aiter_raw():
            size += len(piece)
            *lines, rest = piece.split(b"\n")
            for text in lines:
                line = self._line(b"".join([*parts, text]))
                parts, held = [], 0
                if isinstance(line, Token) and order.do != "tool":
                    await on_token(line)
                elif not isinstance(line, (Alive, Token)):
                    return line
            parts.append(rest)
            held += len(rest)
            if held > LINE_BYTES or size > STREAM_BYTES:
                wrong = "more than any answer has"
                raise ValueError(wrong)
        raise self._broke()

    def _line(self, text: bytes) -> Line:
        try:
            return LINE.validate_json(text)
        except ValidationError:
            # Without what it says: that is what was sent.
            raise ValueError from None

    def _gone(self) -> RemoteError:
        said = f"The service of the agent {self.agent} cannot be reached. Start it, or mend {self.variable}."
        return remote_error(said, transient=True, sent=False)

    def _broke(self, *, silent: bool = False) -> RemoteError:
        what = "fell silent" if silent else "broke off before it had answered"
        return remote_error(
            f"The service of the agent {self.agent} {what}.", transient=True, sent=True
        )

    def _garbage(self, *, sent: bool = False) -> RemoteError:
        said = f"The service of the agent {self.agent} answered with what is no answer of an agent."
        return remote_error(said, transient=True, sent=sent)

    def _refusal(self, status: int, body: bytes) -> RemoteError:
        """Return what is said of an HTTP error."""
        passing = (
            status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
        )
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            said = (
                f"The service of the agent {self.agent} refused the secret: set the same "
                "SIGNALBOX_AGENT_SECRET here and there."
            )
        elif status == HTTPStatus.CONFLICT:
            told = " ".join(body.decode("utf-8", "replace").split())[:DETAIL_CHARS]
            said = f"The service of the agent {self.agent} refused the work: {told}"
        else:
            said = f"The service of the agent {self.agent} answered HTTP {status}."
        return remote_error(said, transient=passing, sent=False, status=status)

    @property
    def variable(self) -> str:
        """Return the setting that names it."""
        return f"SIGNALBOX_AGENT_{self.agent.upper()}_URL"

    async def well(self, instance: Instance) -> str | None:
        """Return why an instance does not work, short and without addresses; `None` where it does."""
        try:
            async with (
                asyncio.timeout(SILENT_SECONDS),
                self._client.stream("GET", instance.url + AGENT) as response,
            ):
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeError):
            return "cannot be reached"  # the last: what is no name of a host
        return None if status == HTTPStatus.OK else f"answered HTTP {status}"


async def _short(response: httpx.Response) -> bytes:
    """Return what was answered; raises `ValueError` for more than there is to say, or what takes too long."""
    body = b""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > SHORT_BYTES:
                    raise ValueError
    except TimeoutError:
        raise ValueError from None
    return body
