"""`signalbox runs replay`: its options."""

from __future__ import annotations

from pathlib import Path

import click

from service.commands.key_options import command_settings, exit_with
from service.commands.options import example
from service.commands.own_folder import own_folder


@click.command(epilog=example("signalbox runs replay --check run.jsonl"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--check",
    is_flag=True,
    help="Compare the events with those recorded; exit 1 where they differ.",
)
@click.option(
    "--loose",
    is_flag=True,
    help="Give recorded answers also where they are asked for otherwise, as after a prompt was edited.",
)
@click.option("--quiet", is_flag=True, help="Do not show progress on stderr.")
def replay(file: Path, *, check: bool, loose: bool, quiet: bool) -> None:
    """Replay the recording FILE without a model: progress on stderr, the Run as JSON on stdout.

    Nothing is asked of a model, sent anywhere or run as a program. Exit 0 only if it went as recorded.
    """
    from service.recordings import read_recording, replay_settings  # noqa: PLC0415 - loads what only it needs
    from service.settings import without_telemetry  # noqa: PLC0415 - likewise

    recording = read_recording(file, loose=loose)
    # A replay reaches nobody, and in traces it would pass for a run with a model.
    without_telemetry()
    with own_folder("signalbox-replay-") as folder:
        settings = command_settings(**replay_settings(recording.header, folder))
        from service.commands.replaying import replay_run  # noqa: PLC0415 - after the environment is prepared

        exit_with(replay_run(settings, recording, file, check=check, loose=loose, quiet=quiet))
