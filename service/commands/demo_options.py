"""The options of `signalbox demo`."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Final, Literal

import click

from domain.errors import ConfigurationError
from service.commands.asking import at_terminal
from service.commands.key_options import exit_with
from service.commands.options import example
from service.commands.own_folder import own_folder

PREFIX: Final = "signalbox-demo-"


@click.command(
    epilog=example("signalbox demo", "signalbox demo --no-browser --approve auto --once")
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--browser/--no-browser", default=True, help="Open the page; never where there is no screen."
)
@click.option(
    "--approve",
    type=click.Choice(["ask", "auto", "deny"]),
    default="ask",
    show_default=True,
    help="Who decides: you, on the page or here; or the demo itself, one way or the other.",
)
@click.option("--once", is_flag=True, help="End when the run has ended.")
@click.option(
    "--keep", is_flag=True, help="Keep the folder with the run's data, and say where it is."
)
def demo(
    port: int, approve: Literal["ask", "auto", "deny"], *, browser: bool, once: bool, keep: bool
) -> None:
    """Start a server with a page, and play a run on it that stops to ask you. No key is needed.

    The address is all of stdout. Your settings, keys and runs are left alone: its data are in a folder of its own,
    which is gone when it ends, and one that was killed leaves its own to the next. It ends with Ctrl-C.
    """
    if once and approve == "ask" and not at_terminal():
        msg = "--once: nobody is at the terminal to decide, and it would wait for ever. Say --approve auto or deny."
        raise ConfigurationError(msg)
    # Before anything is made that would have to be cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from service.settings import prepare_environment, without_telemetry  # noqa: PLC0415 - `--help` does without

    without_telemetry()
    prepare_environment()
    from service.commands.demo import Wishes, play  # noqa: PLC0415 - after the environment is prepared

    wishes = Wishes(port=port, browser=browser, approve=approve, once=once)
    if keep:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        click.echo(f"What the run leaves is kept in {folder}.", err=True)
        exit_with(play(folder, wishes))
    with own_folder(PREFIX) as folder:
        exit_with(play(folder, wishes))
