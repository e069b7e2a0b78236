"""Carry flows out: one transport waits, the other awaits."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Final, TypeVar, assert_never

import httpx

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


class Address:
    """Where a server is, and what every request to it brings along."""

    def __init__(
        self, url: httpx.URL, *, headers: Mapping[str, str], timeout: httpx.Timeout
    ) -> None:
        self.url: Final = url
        self._headers = dict(headers)  # the key is among them: not in any `repr`
        self._timeout = timeout

    def request(self, http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        """Return a request as httpx sends it."""
        timeout = self._timeout
        if request.read_seconds is not None:
            timeout = httpx.Timeout(
                request.read_seconds,
                connect=timeout.connect,
                write=timeout.write,
                pool=timeout.pool,
            )
        path = self.url.raw_path.rstrip(b"/") + request.path.encode("ascii")
        url = self.url.copy_with(raw_path=path)
        if request.query:
            url = url.copy_merge_params(dict(request.query))
        headers = {**self._headers, **request.headers}
        return http.build_request(
            request.method, url, headers=headers, content=request.content, timeout=timeout
        )


def _answer(response: httpx.Response, content: bytes = b"") -> Answer:
    return Answer(status=response.status_code, headers=response.headers, content=content)


class Transport:
    """Carries flows out by waiting."""

    def __init__(self, http: httpx.Client, address: Address) -> None:
        self._http: Final = http
        self.address: Final = address

    def result(self, flow: Flow[T]) -> T:
        """Return what a flow comes to."""
        with closing(Course(flow)) as course, closing(_Line(self._http, self.address)) as line:
            step = course.advance()
            while step is not None:
                step = course.advance(line.carry_out(step))
            return course.value

    def items(self, flow: Flow[None]) -> Iterator[Any]:
        """Yield what a flow gives."""
        with closing(Course(flow)) as course, closing(_Line(self._http, self.address)) as line:
            step = course.advance()
            while step is not None:
                if isinstance(step, Give):
                    yield step.item
                    step = course.advance()
                else:
                    step = course.advance(line.carry_out(step))


class _Line:
    """The steps of one flow, with the answer that it reads piece by piece."""

    def __init__(self, http: httpx.Client, address: Address) -> None:
        self._http = http
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
            case Send(request):
                response = self._http.send(self._address.request(self._http, request))
                return _answer(response, response.content)
            case Open(request):
                self._response = self._http.send(
                    self._address.request(self._http, request), stream=True
                )
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

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


class AsyncTransport:
    """Carries flows out by awaiting, on asyncio's loop."""

    def __init__(self, http: httpx.AsyncClient, address: Address) -> None:
        self._http: Final = http
        self.address: Final = address

    async def result(self, flow: Flow[T]) -> T:
        """Return what a flow comes to."""
        with closing(Course(flow)) as course:
            async with aclosing(_AsyncLine(self._http, self.address)) as line:
                step = course.advance()
                while step is not None:
                    step = course.advance(await line.carry_out(step))
                return course.value

    async def items(self, flow: Flow[None]) -> AsyncIterator[Any]:
        """Yield what a flow gives."""
        with closing(Course(flow)) as course:
            async with aclosing(_AsyncLine(self._http, self.address)) as line:
                step = course.advance()
                while step is not None:
                    if isinstance(step, Give):
                        yield step.item
                        step = course.advance()
                    else:
                        step = course.advance(await line.carry_out(step))


class _AsyncLine:
    """The same, awaited."""

    def __init__(self, http: httpx.AsyncClient, address: Address) -> None:
        self._http = http
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
            case Send(request):
                response = await self._http.send(self._address.request(self._http, request))
                return _answer(response, response.content)
            case Open(request):
                self._response = await self._http.send(
                    self._address.request(self._http, request), stream=True
                )
                self._pieces = self._response.aiter_bytes()
                return _answer(self._response)
            case Read():
                return await anext(self._pieces, b"") if self._pieces else b""
            case Close():
                await self.aclose()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Work(function):
                return await asyncio.to_thread(function)
            case Ask() | Give():
                msg = "a flow with a result gives no items"
                raise TypeError(msg)
            case _:
                assert_never(step)
        return None

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None
