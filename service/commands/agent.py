"""`signalbox agent NAME`: serves one agent to servers and workers elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

import uvicorn

from domain.agent import AgentSpec
from domain.errors import ConfigurationError
from domain.secrets import Scrubber
from monitoring.logs import configure_logs
from service.agent_edge import make_app
from service.agent_host import AgentHost
from service.connections import connections
from service.endpoints import is_loopback
from service.parts import open_gateway, open_team, open_toolbox
from service.server import open_socket
from service.settings import Settings, known_secrets, wants_colour
from tools.sandbox.hardening import refuse_inspection
from tools.sandbox.off import NoSandbox

BACKLOG: Final = 512
DRAIN_SECONDS: Final = 10
"""How long a service that is told to stop lets work end; what is cut off is done by another instance."""

OFFLINE: Final = (
    "No language model is configured: the offline planner does the agent's work. "
    "Set OPENAI_API_KEY, or OPENAI_BASE_URL to any OpenAI-compatible server."
)
NO_PROGRAMS: Final = "Programs are run by the server, not by the service of an agent."

_log = logging.getLogger("signalbox.agent_host")


async def serve_agent(settings: Settings, name: str) -> None:
    """Serve an agent until told to stop."""
    configure_logs(known_secrets(settings), colour=wants_colour())
    refuse_inspection()
    async with AsyncExitStack() as stack:
        host = open_host(settings, name, stack)
        sock = open_socket(settings.host, settings.port)
        server = make_server(settings, host)
        # Before anybody is told: uvicorn listens only some time after it began.
        sock.listen(BACKLOG)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.handle_exit, number, None)
        address, port = sock.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        fields = {"action": "agent_serving"}
        _log.info("The agent %s is at http://%s:%s.", name, shown, port, extra=fields)
        if host.offline:
            _log.warning(OFFLINE, extra={"action": "engine_offline"})
        await server.serve(sockets=[sock])


def open_host(settings: Settings, name: str, stack: AsyncExitStack) -> AgentHost:
    """Return an agent to be served, to be closed with the stack; raises `ConfigurationError` where it cannot be."""
    if settings.agent_secret is None and not is_loopback(settings.host):
        msg = (
            f"SIGNALBOX_HOST is {settings.host!r}, which others can reach, and there is no secret; set "
            "SIGNALBOX_AGENT_SECRET here and where the agent is used."
        )
        raise ConfigurationError(msg)
    toolbox = open_toolbox(settings, NoSandbox(NO_PROGRAMS))
    stack.push_async_callback(toolbox.aclose)
    team = open_team(settings, toolbox)
    spec = _find(team.routable, name)
    gateway = open_gateway(settings, team)
    stack.push_async_callback(gateway.aclose)
    return AgentHost(spec, toolbox, gateway, Scrubber(known_secrets(settings)))


def make_server(settings: Settings, host: AgentHost) -> uvicorn.Server:
    """Return the HTTP server of an agent, to be given the socket that it serves on."""
    config = uvicorn.Config(
        make_app(host, settings.agent_secrets),
        http=connections(settings.max_connections),
        lifespan="off",
        ws="none",
        log_level="warning",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process before it has closed everything."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: `serve_agent` handles them."""
        yield


def _find(specs: tuple[AgentSpec, ...], name: str) -> AgentSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in specs)
    msg = f"There is no agent {name!r} that gets work; there are {known}."
    raise ConfigurationError(msg)
