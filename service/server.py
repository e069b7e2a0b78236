"""Runs the HTTP server inside a process whose services are open, and stops it in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from domain.errors import ConfigurationError
from service.connections import connections
from service.services import Services

DRAIN_SECONDS: Final = 5
"""How long a stopping server waits for open requests; streams and waits are ended at once."""

IDLE_SECONDS: Final = 5
"""How long a connection is kept on which nothing is asked any more."""

BACKLOG: Final = 2048

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process before runs are handed back."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: `serving` handles them."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop accepting, and end every stream so that clients come back elsewhere."""
        super().handle_exit(sig, frame)
        self._services.hub.close()


def open_socket(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes a free one. Raises `ConfigurationError` in one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio turns Nagle's algorithm off only on sockets that say they are TCP:
    # without it every answer on a kept connection waits 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise _cannot_listen(f"{host}:{port}", error) from error
    return sock


def _cannot_listen(address: str, error: Exception) -> ConfigurationError:
    msg = (
        f"Cannot listen on {address} ({error}). "
        "Name one that is free: --host and --port, or SIGNALBOX_HOST and SIGNALBOX_PORT; port 0 picks one."
    )
    return ConfigurationError(msg)


@asynccontextmanager
async def serving(app: FastAPI, services: Services, sock: socket.socket) -> AsyncIterator[Server]:
    """Serve in the background for as long as the context lasts."""
    config = uvicorn.Config(
        app,
        http=connections(services.settings.max_connections),
        lifespan="off",
        ws="none",
        log_level="warning",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
    server = Server(config, services)
    try:
        # Before the address is told to anybody: uvicorn listens only some time after its task began,
        # and until then a client that was quick would be refused.
        sock.listen(BACKLOG)
    except OSError as error:  # two that were not listening yet may have bound the same port
        host, port = sock.getsockname()[:2]
        sock.close()
        raise _cannot_listen(f"{host}:{port}", error) from error
    task = asyncio.create_task(server.serve(sockets=[sock]), name="http server")
    try:
        yield server
    finally:
        server.handle_exit(signal.SIGTERM, None)
        await task
        sock.close()


@contextlib.contextmanager
def ending_streams(services: Services) -> Iterator[None]:
    """End every stream and wait at a signal, where the server is not ours (`uvicorn api:app`).

    It closes us only after its last open request, so it would sit out every wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals, as in a test client
        return
    loop = asyncio.get_running_loop()
    handlers = {int(number): signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(services.hub.close)
        before[number](number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen_for_signals(server: Server) -> asyncio.Event:
    """Return what is set when the process is told to stop; a second signal ends the waits too."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        server.handle_exit(signal.SIGINT if stopped.is_set() else signal.SIGTERM, None)
        stopped.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    return stopped
