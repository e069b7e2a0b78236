"""Runs the HTTP server inside a process whose services are open, and stops it in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from domain.errors import ConfigurationError
from service.services import Services

DRAIN_SECONDS: Final = 5
"""How long a stopping server waits for open requests; streams and waits are ended at once."""

BACKLOG: Final = 2048


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
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        msg = (
            f"Cannot listen on {host}:{port} ({error}). "
            "Set SIGNALBOX_HOST and SIGNALBOX_PORT to an address that is free; port 0 picks one."
        )
        raise ConfigurationError(msg) from error
    return sock


@asynccontextmanager
async def serving(app: FastAPI, services: Services, sock: socket.socket) -> AsyncIterator[Server]:
    """Serve in the background for as long as the context lasts."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
    server = Server(config, services)
    task = asyncio.create_task(server.serve(sockets=[sock]), name="http server")
    try:
        yield server
    finally:
        server.handle_exit(signal.SIGTERM, None)
        await task
        sock.close()


async def serve_until_signal(server: Server) -> None:
    """Return when the process is told to stop; a second signal ends the waits too."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        server.handle_exit(signal.SIGINT if stopped.is_set() else signal.SIGTERM, None)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await stopped.wait()
