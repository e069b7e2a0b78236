"""`signalbox serve`."""

from __future__ import annotations

import logging

from domain.errors import ConfigurationError
from monitoring.logs import configure_logs
from service.bootstrap import open_services
from service.commands.in_clear import warn_of_readers
from service.http.application import open_app
from service.http.door import is_loopback
from service.server import listen_for_signals, open_socket, serving
from service.services import Services
from service.settings import Settings, known_secrets, wants_colour

OFFLINE = (
    "No language model is configured: the offline planner does the work. "
    "Set OPENAI_API_KEY, or OPENAI_BASE_URL to any OpenAI-compatible server."
)

_log = logging.getLogger("signalbox.serve")


async def run_server(settings: Settings, *, executes: bool = True) -> None:
    """Serve until told to stop; `executes`: this process executes runs too."""
    configure_logs(known_secrets(settings), colour=wants_colour())
    sock = open_socket(settings.host, settings.port)
    async with open_services(settings, executes=executes, warm=True) as services:
        await _require_keys(settings, services)
        async with serving(open_app(services), services, sock) as server:
            host, port = sock.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{port}"
            await services.announce(url)
            # Before anybody is told: whoever reads the line may stop the process at once.
            stopped = listen_for_signals(server)
            _log.info("Signalbox is at %s (docs at /docs).", url, extra={"action": "serving"})
            warn_of_readers(settings)
            if services.gateway.engine == "offline":
                _log.warning(OFFLINE, extra={"action": "engine_offline"})
            await stopped.wait()
        _log.info(
            "Stopping: what has not ended goes on in another process, or at the next start.",
            extra={"action": "stopping"},
        )


async def _require_keys(settings: Settings, services: Services) -> None:
    """Refuse to serve others, or in production, while there are no keys."""
    if await services.callers.has_keys():
        return
    if settings.env == "production":
        msg = "SIGNALBOX_ENV is 'production', and there are no keys"
    elif not is_loopback(settings.host):
        msg = f"SIGNALBOX_HOST is {settings.host!r}, which others can reach, and there are no keys"
    else:
        return
    raise ConfigurationError(f"{msg}; run `signalbox keys create --name NAME` first.")
