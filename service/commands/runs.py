"""The options of `signalbox runs`: commands that look at the runs of a server, over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, get_args

import click

from domain.run import RunStatus
from service.commands.key_options import command_settings, exit_with
from service.commands.options import as_json, example, of_server
from service.commands.replay import replay


@click.group(epilog=example("signalbox runs list", "signalbox runs watch run_…"))
def runs() -> None:
    """Look at the runs of a running server, and fork them."""


_limit: Final = click.option(
    "--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many at most."
)
_id: Final = click.argument("run_id", metavar="ID")


def _server(url: str | None, api_key: str | None) -> Any:  # noqa: ANN401 - imported later
    settings = command_settings(**({"api_key": api_key} if api_key else {}))
    from service.commands.run_views import Server  # noqa: PLC0415 - after the environment is prepared

    return Server(settings, url)


@runs.command(
    name="list", epilog=example("signalbox runs list --status requires_action --limit 5 --json")
)
@click.option(
    "--status", type=click.Choice(get_args(RunStatus)), default=None, help="Only those that are so."
)
@click.option("--thread", default=None, metavar="ID", help="Only those of one thread.")
@_limit
@as_json
@of_server
def list_(
    status: str | None,
    thread: str | None,
    limit: int,
    url: str | None,
    api_key: str | None,
    *,
    json_: bool,
) -> None:
    """List runs, newest first."""
    server = _server(url, api_key)
    from service.commands import run_views  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(run_views.list_runs(server, status=status, thread=thread, limit=limit, json_=json_))


@runs.command(epilog=example("signalbox runs show run_…", "signalbox runs show run_… --json"))
@_id
@as_json
@of_server
def show(run_id: str, url: str | None, api_key: str | None, *, json_: bool) -> None:
    """Show the run ID: how it stands, what it has cost, what is missing, what it waits for, its answer."""
    server = _server(url, api_key)
    from service.commands import run_views  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(run_views.show_run(server, run_id, json_=json_))


@runs.command(epilog=example("signalbox runs watch run_… --server http://127.0.0.1:8000"))
@_id
@click.option("--quiet", is_flag=True, help="Do not show progress on stderr.")
@as_json
@of_server
def watch(run_id: str, url: str | None, api_key: str | None, *, quiet: bool, json_: bool) -> None:
    """Follow the run ID to its end: progress on stderr, its answer on stdout.

    Ctrl-C leaves it running.
    """
    server = _server(url, api_key)
    from service.commands import run_views  # noqa: PLC0415 - after the environment is prepared

    exit_with(run_views.watch_run(server, run_id, json_=json_, quiet=quiet))


@runs.command(epilog=example("signalbox runs fork run_… --task 'Say it in French' --watch"))
@_id
@click.option("--checkpoint", default=None, metavar="ID", help="One of `signalbox runs history`.")
@click.option("--task", default=None, help="Takes the place of the task: it is decided anew.")
@click.option("--watch", "watch_", is_flag=True, help="Follow the new run to its end.")
@as_json
@of_server
def fork(
    run_id: str,
    checkpoint: str | None,
    task: str | None,
    url: str | None,
    api_key: str | None,
    *,
    watch_: bool,
    json_: bool,
) -> None:
    """Make a run that begins where the run ID stood; print its id. What was finished by then is kept.

    With --watch it ends as `watch` does.
    """
    server = _server(url, api_key)
    from service.commands import run_views  # noqa: PLC0415 - after the environment is prepared

    given = {"checkpoint_id": checkpoint, "task": task}
    body = {name: value for name, value in given.items() if value is not None}
    exit_with(run_views.fork_run(server, run_id, body, watch=watch_, json_=json_))


@runs.command(epilog=example("signalbox runs history run_…"))
@_id
@_limit
@as_json
@of_server
def history(run_id: str, limit: int, url: str | None, api_key: str | None, *, json_: bool) -> None:
    """List the checkpoints of the run ID, newest first."""
    server = _server(url, api_key)
    from service.commands import run_views  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(run_views.show_history(server, run_id, limit=limit, json_=json_))


@runs.command(epilog=example("signalbox runs export run_… -o run.json"))
@_id
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write it there, whole or not at all; on stdout where not given.",
)
@of_server
def export(run_id: str, file: Path | None, url: str | None, api_key: str | None) -> None:
    """Write everything that is kept of the run ID as one JSON document."""
    server = _server(url, api_key)
    from service.commands import run_views  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(run_views.export_run(server, run_id, file))


runs.add_command(replay)
