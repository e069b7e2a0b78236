"""`signalbox serve`."""

from __future__ import annotations

import logging

import click

from monitoring.logs import configure_logs
from service.bootstrap import open_services
from service.http.application import open_app
from service.server import open_socket, serve_until_signal, serving
from service.settings import Settings

OFFLINE = (
    "No language model is configured: the offline planner does the work. "
    "Set OPENAI_API_KEY, or OPENAI_BASE_URL to any OpenAI-compatible server."
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_log = logging.getLogger("signalbox.serve")


async def run_server(settings: Settings, *, executes: bool = True) -> None:
    """Serve until told to stop; `executes`: this process executes runs too."""
    configure_logs()
    sock = open_socket(settings.host, settings.port)
    async with open_services(settings, executes=executes, warm=True) as services:
        async with serving(open_app(services), services, sock) as server:
            host, port = sock.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{port}"
            await services.announce(url)
            click.echo(f"Signalbox is at {url} (docs at /docs).", err=True)
            if services.gateway.engine == "offline":
                _log.warning(OFFLINE, extra={"action": "engine_offline"})
            if settings.host not in LOOPBACK:
                _log.warning(
                    "Listening beyond this machine without authentication: anyone who reaches %s can run tasks.",
                    settings.host,
                    extra={"action": "open_address"},
                )
            await serve_until_signal(server)
        _log.info(
            "Stopping: what has not ended goes on in another process, or at the next start.",
            extra={"action": "stopping"},
        )
