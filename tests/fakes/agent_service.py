"""The service of an agent in the test's own loop, and one that misbehaves."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agents._kit.remote_wire import AGENT, RUN
from service.commands.agent import make_server, open_host
from service.server import open_socket
from service.settings import read_settings


@asynccontextmanager
async def serving_agent(name: str, folder: Path, **overrides: Any) -> AsyncIterator[str]:
    """Serve an agent; yields where."""
    values = {"data_dir": folder, "search_keyless": False, "_env_file": None, **overrides}
    settings = read_settings(**values)
    async with AsyncExitStack() as stack:
        host = await asyncio.to_thread(open_host, settings, name, stack)
        async with serving(make_server(settings, host)) as url:
            yield url


@asynccontextmanager
async def serving(server: uvicorn.Server) -> AsyncIterator[str]:
    """Run a server; yields where."""
    sock = open_socket("127.0.0.1", 0)
    sock.listen()
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.force_exit = True
        server.handle_exit(signal.SIGTERM, None)
        await task
        sock.close()


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handling: the signals are the test run's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


Says = Callable[[Request], AsyncIterator[bytes]]


@asynccontextmanager
async def serving_nonsense(
    about: dict[str, Any] | bytes, says: Says | Response
) -> AsyncIterator[str]:
    """Serve what pretends to be an agent; yields where."""

    async def tell(request: Request) -> Response:
        del request
        if isinstance(about, bytes):
            return Response(about)
        return JSONResponse(about)

    async def run(request: Request) -> Response:
        await request.body()
        return says if isinstance(says, Response) else StreamingResponse(says(request))

    app = Starlette(routes=[Route(AGENT, tell), Route(RUN, run, methods=["POST"])])
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    server = _Quiet(config)
    async with serving(server) as url:
        yield url


@asynccontextmanager
async def hanging_up(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve what takes connections and closes them as soon as something is asked; yields where."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def keeping_quiet() -> AsyncIterator[str]:
    """Serve what takes connections and never says anything; yields where."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
