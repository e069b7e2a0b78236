"""A server over real HTTP that counts what reaches it: the world that a tool changes.

    async with CountingTarget() as target:
        target.drop("/lost")
        ...
        assert target.keys() == {"act_1": 1}

A test without an event loop writes `with target_in_thread() as target:`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar, cast

import orjson
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

BOUND: Final = 10.0
"""A gate that nobody opens, or a request that never comes, fails its test by name."""

CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request, as it arrived."""

    number: int
    """Which one it was, over all paths, from 1 on."""
    method: str
    path: str
    """As it was sent, still percent-encoded."""
    query: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: str

    @property
    def key(self) -> str:
        """Return the idempotency key; empty where there is none."""
        return self.headers.get("idempotency-key", "")


class Gate:
    """Holds answers back until it is opened, which any thread may do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def open(self) -> None:
        """Let the answers go, those to come as well."""
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Wait, in the server's loop, until the gate is open."""
        await self._event.wait()


@dataclass(kw_only=True)
class _Script:
    """What one path answers; without a body, the count."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    dropped: bool = False
    gate: Gate | None = None


class CountingTarget:
    """Answers every request with the number of its arrival, unless its path has a script."""

    def __init__(self) -> None:
        self._scripts: dict[str, _Script] = {}
        self._requests: list[Received] = []
        self._arrival = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._state = ServerState()

    @property
    def address(self) -> str:
        """Return `host:port`, as an allow list names it."""
        assert self._socket is not None, "the server is started by `async with`"
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def url(self, path: str = "/") -> str:
        """Return the url of a path."""
        return f"http://{self.address}{path}"

    @property
    def requests(self) -> list[Received]:
        """Return every request so far, in the order of arrival."""
        with self._arrival:
            return list(self._requests)

    def keys(self) -> Counter[str]:
        """Return how often each idempotency key arrived; requests without one count under ""."""
        return Counter(request.key for request in self.requests)

    def count(self, path: str) -> int:
        """Return how many requests of a path arrived."""
        return sum(request.path == path for request in self.requests)

    def reply(
        self,
        path: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answer a path with this; the length is added, and a type only if `headers` has one."""
        self._scripts[path] = _Script(status=status, headers=dict(headers or {}), body=body)

    def drop(self, path: str, *, after: bytes | None = None) -> None:
        """Count requests of a path, then close the connection without an answer.

        With `after`, status and headers are sent and so much of a body that is said to be longer.
        """
        self._scripts[path] = _Script(body=after, dropped=True)

    def hold(self, path: str) -> Gate:
        """Count requests of a path, but answer them only when the gate is opened."""
        assert self._loop is not None, "the server is started by `async with`"
        gate = Gate(self._loop)
        self._scripts[path] = _Script(gate=gate)
        return gate

    def forget(self, path: str) -> None:
        """Answer a path by default again."""
        self._scripts.pop(path, None)

    def wait_for(self, path: str, times: int = 1) -> None:
        """Wait until so many requests of a path have arrived; for a test without an event loop."""
        with self._arrival:
            arrived = self._arrival.wait_for(lambda: self._seen(path) >= times, BOUND)
            assert arrived, f"{self._seen(path)} of {times} requests of {path} in {BOUND:g} s"

    async def arrived(self, path: str, times: int = 1) -> None:
        """Wait until so many requests of a path have arrived."""
        await asyncio.to_thread(self.wait_for, path, times)

    def _seen(self, path: str) -> int:
        return sum(request.path == path for request in self._requests)

    async def __aenter__(self) -> Self:
        # uvicorn's protocol without its Server, as tests/fakes/model_server.py has it.
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
        )
        config.load()
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(512)
        self._server = await self._loop.create_server(
            lambda: config.http_protocol_class(  # type: ignore[call-arg]  # declared as a bare asyncio.Protocol
                config=config, server_state=self._state, app_state={}
            ),
            sock=self._socket,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._closing.set()
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        async with asyncio.timeout(CLOSE_SECONDS):
            await asyncio.gather(*self._state.tasks, return_exceptions=True)
            await self._server.wait_closed()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = Request(scope, receive)
        try:
            body = await http.body()
        except ClientDisconnect:
            return
        request = self._record(http, body)
        script = self._scripts.get(request.path, _Script())
        if script.gate is not None and not await self._opened(script.gate, receive):
            return
        if script.dropped:
            await self._drop(script, scope, receive, send)
            return
        await _answer(script, request, send)

    def _record(self, http: Request, body: bytes) -> Received:
        with self._arrival:
            request = Received(
                number=len(self._requests) + 1,
                method=http.method,
                path=http.scope["raw_path"].decode("ascii"),
                query=http.scope["query_string"].decode("ascii"),
                headers=dict(http.headers),
                body=body.decode("utf-8", "replace"),
            )
            self._requests.append(request)
            self._arrival.notify_all()
        return request

    async def _opened(self, gate: Gate, receive: Receive) -> bool:
        """Wait for a gate; return whether there is still somebody to answer."""
        opened = asyncio.create_task(gate.wait(), name="target-gate")
        ends = [
            asyncio.create_task(_disconnected(receive), name="target-client"),
            asyncio.create_task(self._closing.wait(), name="target-closing"),
        ]
        try:
            done, _ = await asyncio.wait(
                [opened, *ends], timeout=BOUND, return_when=asyncio.FIRST_COMPLETED
            )
            assert done, f"a gate was not opened in {BOUND:g} s"
            return opened.done()
        finally:
            for task in (opened, *ends):
                task.cancel()
            await asyncio.gather(opened, *ends, return_exceptions=True)

    async def _drop(self, script: _Script, scope: Scope, receive: Receive, send: Send) -> None:
        if script.body is not None:
            await _start(send, 200, {"content-type": "text/plain"}, len(script.body) + 1)
            await send({"type": "http.response.body", "body": script.body, "more_body": True})
        for connection in list(self._state.connections):
            protocol = cast("Any", connection)
            if protocol.client == scope["client"]:
                # Not aborted: what was sent before still arrives.
                protocol.transport.close()
        await _disconnected(receive)


Target = TypeVar("Target", bound=CountingTarget)


@contextmanager
def target_in_thread() -> Iterator[CountingTarget]:
    """Run a target in a thread of its own, so that a plain test can script and ask it."""
    with in_thread(CountingTarget()) as target:
        yield target


@contextmanager
def in_thread(target: Target) -> Iterator[Target]:
    """Run one of a kind of its own likewise."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="http-target", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(target.__aenter__(), loop).result(BOUND)
        try:
            yield target
        finally:
            asyncio.run_coroutine_threadsafe(target.__aexit__(), loop).result(BOUND)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND)
        loop.close()


async def _answer(script: _Script, request: Received, send: Send) -> None:
    headers, body = script.headers, script.body
    if body is None:
        headers = {"content-type": "application/json"}
        body = orjson.dumps({"ok": True, "n": request.number})
    await _start(send, script.status, headers, len(body))
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: Mapping[str, str], length: int) -> None:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    pairs.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
