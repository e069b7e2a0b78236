"""`signalbox worker`."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import ConfigurationError
from monitoring.logs import configure_logs
from service.bootstrap import open_services, uses_queue
from service.commands.in_clear import warn_of_readers
from service.http.metrics import introduce
from service.services import Services
from service.settings import Settings, known_secrets, wants_colour

NO_QUEUE = (
    "A worker takes runs out of a queue, and there is none: set SIGNALBOX_DATABASE_URL to a "
    "postgresql:// URL (and SIGNALBOX_DISPATCH to auto or queue)."
)

_log = logging.getLogger("signalbox.worker")


async def run_worker(settings: Settings, *, metrics_port: int | None = None) -> None:
    """Execute runs until told to stop. `metrics_port`: where, on `settings.host`, what it counts can be read."""
    configure_logs(known_secrets(settings), colour=wants_colour())
    if not uses_queue(settings):
        raise ConfigurationError(NO_QUEUE)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with open_services(settings, warm=True) as services:
        with _shown(services, metrics_port):
            fields = {"action": "working"}
            _log.info("Signalbox worker %s takes runs.", services.version, extra=fields)
            warn_of_readers(settings)
            await stopped.wait()
            _log.info("Stopping: runs go on in other workers.", extra={"action": "stopping"})


@contextmanager
def _shown(services: Services, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    host = services.settings.host
    introduce(services)
    try:
        shown = services.metrics.serve(host, port)
    except OSError as error:
        msg = f"--metrics-port {port} on {host} cannot be used: {error.strerror}."
        raise ConfigurationError(msg) from None
    fields = {"action": "metrics_served"}
    _log.info("Metrics are at http://%s:%s/metrics.", host, shown.port, extra=fields)
    try:
        yield
    finally:
        shown.stop()
