"""Carry flows out: one transport waits, the other awaits."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Final, TypeVar, assert_never

import httpx

from signalbox.bounds import ANSWER_BYTES, Content, check_encoding, too_slow
from signalbox.connections import AsyncConnections, Connections
from signalbox.errors import SignalboxError
from signalbox.flows import (
    Answer,
    Ask,
    Close,
    Course,
    Failure,
    Flow,
    Give,
    Open,
    Pause,
    Read,
    Request,
    Send,
    Step,
    Work,
)

T = TypeVar("T")

BEGIN_SECONDS: Final = 0.5
"""How long a request that is cancelled may take to its connection; what takes longer waits for one, or opens it."""


class Address:
    """Where a server is, and what every request to it brings along."""

    def __init__(
        self,
        url: httpx.URL,
        *,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        self.url: Final = url
        self._headers = dict(headers)  # the key is among them: not in any `repr`
        self._timeout = timeout
        self.answer_bytes: Final = answer_bytes

    def request(
        self,
        http: httpx.Client | httpx.AsyncClient,
        request: Request,
        seconds: float = math.inf,
    ) -> httpx.Request:
        """Return a request as httpx sends it; nothing of it takes longer than the seconds."""
        usual = self._timeout
        read = usual.read if request.read_seconds is None else request.read_seconds
        timeout = httpx.Timeout(
            read=_shorter(read, seconds),
            connect=_shorter(usual.connect, seconds),
            write=_shorter(usual.write, seconds),
            pool=_shorter(usual.pool, seconds),
        )
        path = self.url.raw_path.rstrip(b"/") + request.path.encode("ascii")
        url = self.url.copy_with(raw_path=path)
        if request.query:
            url = url.copy_merge_params(dict(request.query))
        headers = {**self._headers, **request.headers}
        return http.build_request(
            request.method, url, headers=headers, content=request.content, timeout=timeout
        )


def _shorter(usual: float | None, seconds: float) -> float | None:
    least = min(math.inf if usual is None else usual, seconds)
    return None if least == math.inf else least


def _answer(response: httpx.Response, content: bytes = b"") -> Answer:
    return Answer(status=response.status_code, headers=response.headers, content=content)


class Transport:
    """Carries flows out by waiting."""

    def __init__(self, connections: Connections, address: Address) -> None:
        self._connections: Final = connections
        self.address: Final = address

    def result(self, flow: Flow[T]) -> T:
        """Return what a flow comes to."""
        with (
            closing(Course(flow)) as course,
            closing(_Line(self._connections, self.address)) as line,
        ):
            step = course.advance()
            while step is not None:
                step = course.advance(line.carry_out(step))
            return course.value

    def items(self, flow: Flow[None]) -> Iterator[Any]:
        """Yield what a flow gives."""
        with (
            closing(Course(flow)) as course,
            closing(_Line(self._connections, self.address)) as line,
        ):
            step = course.advance()
            while step is not None:
                if isinstance(step, Give):
                    yield step.item
                    step = course.advance()
                else:
                    step = course.advance(line.carry_out(step))


class _Line:
    """The steps of one flow, with the answer that it reads piece by piece."""

    def __init__(self, connections: Connections, address: Address) -> None:
        self._connections = connections
        self._address = address
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def carry_out(self, step: Step) -> object:
        if isinstance(step, Ask):
            return step.function()  # what the user's own code raises is not for the flow
        try:
            return self._carry_out(step)
        except (httpx.RequestError, SignalboxError) as error:
            return Failure(error)

    def _carry_out(self, step: Step) -> object:
        match step:
            case Send(request, seconds):
                return self._send(request, seconds)
            case Open(request):
                self._response = self._opened(request)
                self._pieces = self._response.iter_bytes()
                return _answer(self._response)
            case Read():
                return next(self._pieces, b"")
            case Close():
                self.close()
            case Pause(seconds):
                time.sleep(seconds)
            case Work(function):
                return function()
            case Ask() | Give():
                msg = "a flow with a result gives no items"
                raise TypeError(msg)
            case _:
                assert_never(step)
        return None

    def _opened(self, request: Request, seconds: float = math.inf) -> httpx.Response:
        http = self._connections.http()
        response = http.send(self._address.request(http, request, seconds), stream=True)
        try:
            check_encoding(response.headers)
        except SignalboxError:
            response.close()
            raise
        return response

    def _send(self, request: Request, seconds: float) -> Answer:
        content = Content(self._address.answer_bytes, seconds)
        with closing(self._opened(request, seconds)) as response:
            for piece in response.iter_bytes():
                content.add(piece)
        return _answer(response, content.value())

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


async def _sent(http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Return an answer, of which the head has come.

    Whoever is cancelled lets it get as far as its connection first: between having its place among the client's
    connections and writing to that one, httpx would lose the place for good.
    """
    begun = asyncio.Event()

    async def note(name: str, _info: Mapping[str, Any]) -> None:
        if name.endswith(".send_request_headers.started"):
            begun.set()

    request.extensions = {**request.extensions, "trace": note}
    sending = asyncio.ensure_future(http.send(request, stream=True))
    try:
        return await asyncio.shield(sending)
    except asyncio.CancelledError:
        beginning = asyncio.ensure_future(begun.wait())
        try:
            both = (sending, beginning)
            await asyncio.wait(both, timeout=BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            beginning.cancel()
            sending.cancel()
        await asyncio.wait([sending])
        if not sending.cancelled() and sending.exception() is None:
            await sending.result().aclose()
        raise


async def _worked(function: Callable[[], object]) -> object:
    """Return what work comes to that blocks. Who is cancelled waits for its end: a thread cannot be stopped, and
    what it leaves has to be cleaned up after it."""
    work = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


class AsyncTransport:
    """Carries flows out by awaiting, on asyncio's loop."""

    def __init__(self, connections: AsyncConnections, address: Address) -> None:
        self._connections: Final = connections
        self.address: Final = address

    async def result(self, flow: Flow[T]) -> T:
        """Return what a flow comes to."""
        with closing(Course(flow)) as course:
            async with aclosing(_AsyncLine(self._connections, self.address)) as line:
                step = course.advance()
                while step is not None:
                    step = course.advance(await line.carry_out(step))
                return course.value

    async def items(self, flow: Flow[None]) -> AsyncIterator[Any]:
        """Yield what a flow gives."""
        with closing(Course(flow)) as course:
            async with aclosing(_AsyncLine(self._connections, self.address)) as line:
                step = course.advance()
                while step is not None:
                    if isinstance(step, Give):
                        yield step.item
                        step = course.advance()
                    else:
                        step = course.advance(await line.carry_out(step))


class _AsyncLine:
    """The same, awaited."""

    def __init__(self, connections: AsyncConnections, address: Address) -> None:
        self._connections = connections
        self._address = address
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def carry_out(self, step: Step) -> object:
        if isinstance(step, Ask):
            given = step.function()
            return await given if inspect.isawaitable(given) else given
        try:
            return await self._carry_out(step)
        except (httpx.RequestError, SignalboxError) as error:
            return Failure(error)

    async def _carry_out(self, step: Step) -> object:
        match step:
            case Send(request, seconds):
                return await self._send(request, seconds)
            case Open(request):
                self._response = await self._opened(request)
                self._pieces = self._response.aiter_bytes()
                return _answer(self._response)
            case Read():
                return await anext(self._pieces, b"") if self._pieces else b""
            case Close():
                await self.aclose()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Work(function):
                return await _worked(function)
            case Ask() | Give():
                msg = "a flow with a result gives no items"
                raise TypeError(msg)
            case _:
                assert_never(step)
        return None

    async def _opened(self, request: Request) -> httpx.Response:
        http = self._connections.http()
        response = await _sent(http, self._address.request(http, request))
        try:
            check_encoding(response.headers)
        except SignalboxError:
            await response.aclose()
            raise
        return response

    async def _send(self, request: Request, seconds: float) -> Answer:
        content = Content(self._address.answer_bytes, seconds)
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                async with aclosing(await self._opened(request)) as response:
                    async for piece in response.aiter_bytes():
                        content.add(piece)
        except TimeoutError:
            raise too_slow() from None
        return _answer(response, content.value())

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None
