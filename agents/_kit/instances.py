"""The instances of an agent's service: which is asked, and how an order is sent and its answer read."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Final

import httpx
from pydantic import ValidationError

from agents._kit.faults import RecordedError, causes
from agents._kit.remote_wire import (
    AGENT,
    BETWEEN,
    DEADLINE,
    LINE,
    LINE_BYTES,
    RUN,
    SILENT_SECONDS,
    STREAM_BYTES,
    About,
    Called,
    Calling,
    Last,
    Line,
    Order,
    Said,
    Token,
)
from domain.recording import Fault

CONNECT_SECONDS: Final = 3.0
"""How long an instance may take to accept a connection."""
SKIP_SECONDS: Final = 5.0
"""For how long one that has failed is asked after the others; it doubles each time that it fails again."""
MOST_SKIP_SECONDS: Final = 40.0
LOOK_SECONDS: Final = 3.0
"""How long an instance may take to say what it is."""
ROUNDS: Final = 5
"""How often all instances are asked before none is there."""
FIRST_WAIT_SECONDS: Final = 0.25
"""Before they are asked again; it doubles."""
DETAIL_CHARS: Final = 500
SHORT_BYTES: Final = 256 * 1024
"""More than a service says of itself, or of why it refuses."""
CONNECTIONS: Final = 128

_UNREACHED: Final = (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError)
"""What asking an instance raises that does not answer; the third: of what is no name of a host."""

OnSaid = Callable[[Said], Awaitable[None]]
Fits = Callable[[About], str | None]
"""Returns why an instance that says this of itself is not one to ask; `None` where it is."""


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
        self.known = False
        """Whether it has said what it is since it failed last. One that has not is given no order: of what it
        takes and does not answer nobody could say whether it was begun, and so it would count."""
        self._rests_until = 0.0
        self._rest = SKIP_SECONDS

    def failed(self) -> None:
        """Note that it is not to be asked first for a while."""
        self.known = False
        if not self.resting:
            self._rests_until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, MOST_SKIP_SECONDS)

    def worked(self) -> None:
        """Note that it has done an order."""
        self._rest = SKIP_SECONDS

    @property
    def resting(self) -> bool:
        """Return whether it has failed a moment ago."""
        return time.monotonic() < self._rests_until


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
        self.unfit: Fits = lambda _: None
        self._next = 0
        headers = {"accept-encoding": "identity"}
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        # No proxies from the environment: the addresses are the operator's. No redirects: they would lead
        # the secret elsewhere.
        self._client = httpx.AsyncClient(
            headers=headers,
            trust_env=False,
            # But their certificates may be of an authority of the operator's own (SSL_CERT_FILE).
            verify=httpx.create_ssl_context(),
            follow_redirects=False,
            timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            # None is kept: one that its other end has closed meanwhile would take an order, and nobody could
            # say whether it was begun.
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def about(self) -> About:
        """Return what the first instance that fits says of itself; raises `RemoteError`."""
        asking = _Asking()
        for instance, wait in self._rounds(asking):
            await asyncio.sleep(wait)
            try:
                return await self.look(instance)
            except RemoteError as error:
                asking.said(error)
        raise asking.why or self._gone()

    async def look(self, instance: Instance) -> About:
        """Return what an instance says of itself; raises `RemoteError` where it is none to ask."""
        try:
            about = await self._told(instance)
            why = self.unfit(about)
            if why is not None:
                raise remote_error(why, transient=False, sent=False)
        except RemoteError:
            instance.failed()
            raise
        except _UNREACHED as error:
            instance.failed()
            raise self._gone(error) from None
        except ValueError:
            instance.failed()
            raise self._garbage() from None
        instance.known = True
        return about

    async def _told(self, instance: Instance) -> About:
        async with (
            asyncio.timeout(LOOK_SECONDS),
            self._client.stream("GET", instance.url + AGENT) as response,
        ):
            body = await _short(response)
            if response.status_code != HTTPStatus.OK:
                raise self._refusal(response.status_code, body)
            return About.model_validate_json(body)

    async def do(self, order: Order, on_said: OnSaid, *, seconds: float, trace: str | None) -> Last:
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
            if not instance.known:
                try:
                    await self.look(instance)
                except RemoteError as error:
                    asking.said(error)
                    continue
            try:
                async with self._client.stream(
                    "POST", instance.url + RUN, content=body, headers=headers
                ) as response:
                    if response.status_code == HTTPStatus.OK:
                        last = await self._read(response, order, on_said)
                        instance.worked()
                        return last
                    asking.said(self._refusal(response.status_code, await _short(response)))
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                asking.said(self._gone(error))
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

    async def _read(self, response: httpx.Response, order: Order, on_said: OnSaid) -> Last:
        """Return the last line; raises `ValueError` for what is no answer to the order."""
        # What is no part of an answer to this order is passed over.
        heard = {"answer": (Token,), "graph": (Token, Calling, Called)}.get(order.do, ())
        parts: list[bytes] = []
        size = held = 0
        async for piece in response.aiter_raw():
            size += len(piece)
            *lines, rest = piece.split(b"\n")
            for text in lines:
                line = self._line(b"".join([*parts, text]))
                parts, held = [], 0
                if not isinstance(line, BETWEEN):
                    return line
                if isinstance(line, heard):
                    await on_said(line)
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

    def _gone(self, error: BaseException | None = None) -> RemoteError:
        said = f"The service of the agent {self.agent} cannot be reached. Start it, or mend {self.variable}."
        found = list(causes(error)) if error else []
        if any(isinstance(each, ssl.SSLCertVerificationError) for each in found):
            said = (
                f"The certificate of the service of the agent {self.agent} is not trusted here, or not of the host "
                f"in {self.variable}. Name its authority's file in SSL_CERT_FILE, or mend the address."
            )
        elif any(isinstance(each, ssl.SSLError) for each in found):
            said = (
                f"What is at the https:// address of the agent {self.agent} does not speak TLS. Mend "
                f"{self.variable}."
            )
        elif isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError)):
            said = (
                f"The service of the agent {self.agent} takes connections and answers nothing that is HTTP. Start it "
                f"anew, or look whether {self.variable} says http:// where https:// is spoken."
            )
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
        elif status in {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            told = _seen(body.decode("utf-8", "replace"))[:DETAIL_CHARS]
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
            about = await self._told(instance)
        except RemoteError as error:
            return f"answered HTTP {error.fault.status}"
        except _UNREACHED:
            return "cannot be reached"
        except ValueError:
            return "answered what is no answer of an agent"
        return "another agent, or another version of it" if self.unfit(about) else None


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


def _seen(text: str) -> str:
    """Return a text on one line, with what nobody can see left out."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
