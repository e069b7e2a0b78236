"""`signalbox sandbox`: runs programs for a service in another container, over a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.errors import ConfigurationError, ToolFailedError
from domain.sandbox import MOST_LIMITS, CodeResult, Sandbox
from monitoring.logs import configure_logs
from service.settings import Settings, known_secrets, wants_colour
from tools.sandbox.choice import SandboxWishes, open_sandbox
from tools.sandbox.hardening import refuse_inspection
from tools.sandbox.wire import RUN, STATE, RunOrder, write_result, write_state

ORDER_BYTES: Final = 4 * 1024 * 1024
"""More than the longest program takes as JSON."""

_log = logging.getLogger("signalbox.sandbox")


async def run_sandbox(settings: Settings) -> None:
    """Serve until told to stop. The service has the same folder of workspaces."""
    path = settings.sandbox_socket
    if path is None:
        msg = "Say where to listen: --socket PATH, or SIGNALBOX_SANDBOX_SOCKET."
        raise ConfigurationError(msg)
    configure_logs(known_secrets(settings), colour=wants_colour())
    refuse_inspection()
    _warn_of_secrets(settings)
    data = settings.data_dir.resolve()
    wishes = SandboxWishes(choice="native", python=settings.sandbox_python, data=data)
    async with open_sandbox(wishes) as sandbox:
        if sandbox.state.off_reason:
            raise ConfigurationError(sandbox.state.off_reason)
        await sandbox.load()
        config = uvicorn.Config(
            make_app(sandbox, data / "workspaces"),
            lifespan="off",
            ws="none",
            log_level="warning",
            log_config=None,
            access_log=False,
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.handle_exit, number, None)
        async with _listening(path) as sock:
            fields = {"action": "sandbox_serving"}
            _log.info("Signalbox sandbox at %s: %s.", path, sandbox.state.detail, extra=fields)
            await server.serve(sockets=[sock])


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process before the socket is removed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: `run_sandbox` handles them."""
        yield


def _warn_of_secrets(settings: Settings) -> None:
    """Say it where this process was given what it should not have: then it is no safer than the service."""
    keys = ("openai_api_key", "tavily_api_key", "langsmith_api_key")
    given = [name.upper() for name in keys if getattr(settings, name) is not None]
    if given:
        _log.warning(
            "%s is set here: the process that runs programs should have no secrets.",
            ", ".join(given),
            extra={"action": "sandbox_has_secrets"},
        )


@asynccontextmanager
async def _listening(path: Path) -> AsyncIterator[socket.socket]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await asyncio.to_thread(_bind, sock, path)
        yield sock
    finally:
        sock.close()
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _bind(sock: socket.socket, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Left by one that was killed: nobody listens there any more.
    path.unlink(missing_ok=True)
    before = os.umask(0o117)
    try:
        sock.bind(str(path))
        # Before anybody is told: uvicorn listens only some time after it began.
        sock.listen()
    except OSError as error:
        msg = f"Cannot listen at {path} ({error.strerror}); name another --socket."
        raise ConfigurationError(msg) from error
    finally:
        os.umask(before)


def make_app(sandbox: Sandbox, workspaces: Path) -> Starlette:
    """Return the application that runs programs in a sandbox."""

    async def state(request: Request) -> Response:
        del request
        return Response(write_state(sandbox.state), media_type="application/json")

    async def run(request: Request) -> Response:
        try:
            order = RunOrder.model_validate_json(await _read_body(request))
            folder = order.folder(workspaces)
            limits = order.code_limits(MOST_LIMITS)
        except (ValidationError, ValueError, TypeError) as error:
            return Response(f"The order cannot be read: {error}", status_code=422)
        work = asyncio.ensure_future(sandbox.run(order.code, folder, limits=limits))
        try:
            result = await _while_wanted(request, work)
        except ToolFailedError as error:
            return Response(error.detail, status_code=503, media_type="text/plain")
        return Response(write_result(result), media_type="application/json")

    return Starlette(
        routes=[
            Route(STATE, state, methods=["GET"]),
            Route(RUN, run, methods=["POST"]),
        ]
    )


async def _read_body(request: Request) -> bytes:
    """Return what was sent; raises `ValueError` for more than any order has."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > ORDER_BYTES:
            msg = f"it has more than {ORDER_BYTES} bytes"
            raise ValueError(msg)
    return bytes(body)


async def _while_wanted(request: Request, work: asyncio.Future[CodeResult]) -> CodeResult:
    """Return what comes of a program; end it where nobody waits for it any more."""
    # The body has been read, so the next thing to hear of the client is that it has gone.
    gone = asyncio.ensure_future(request.receive())
    waited: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            message = "Nobody waits for this program any more."
            raise ToolFailedError(message)
        return work.result()
    finally:
        for each in waited:
            each.cancel()
        await asyncio.gather(*waited, return_exceptions=True)
