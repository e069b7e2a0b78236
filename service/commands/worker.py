"""`signalbox worker`."""

from __future__ import annotations

import asyncio
import logging
import signal

import click

from domain.errors import ConfigurationError
from monitoring.logs import configure_logs
from service.bootstrap import open_services, uses_queue
from service.settings import Settings

NO_QUEUE = (
    "A worker takes runs out of a queue, and there is none: set SIGNALBOX_DATABASE_URL to a "
    "postgresql:// URL (and SIGNALBOX_DISPATCH to auto or queue)."
)

_log = logging.getLogger("signalbox.worker")


async def run_worker(settings: Settings) -> None:
    """Execute runs until told to stop."""
    configure_logs()
    if not uses_queue(settings):
        raise ConfigurationError(NO_QUEUE)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with open_services(settings, warm=True) as services:
        click.echo(f"Signalbox worker {services.version} takes runs.", err=True)
        await stopped.wait()
        _log.info("Stopping: runs go on in other workers.", extra={"action": "stopping"})
