"""The `signalbox` command."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import click

from service.commands.approve_options import approve
from service.commands.completion import completion
from service.commands.config_options import config
from service.commands.exits import carry_out
from service.commands.key_options import command_settings, keys
from service.commands.run_options import run
from service.commands.runs import runs
from service.commands.webhook_options import webhooks


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="signalbox", message="%(version)s")
def cli() -> None:
    """Signalbox: a team of AI agents behind one REST API."""


@cli.command()
@click.option("--host", default=None, help="Address to listen on (SIGNALBOX_HOST).")
@click.option(
    "--port", type=int, default=None, help="Port to listen on; 0 picks one (SIGNALBOX_PORT)."
)
@click.option(
    "--worker/--no-worker",
    default=True,
    show_default=True,
    help="Execute runs in this process too; --no-worker leaves them to `signalbox worker`.",
)
def serve(host: str | None, port: int | None, *, worker: bool) -> None:
    """Serve the API until SIGTERM or Ctrl-C."""
    given = {"host": host, "port": port}
    settings = command_settings(
        **{name: value for name, value in given.items() if value is not None}
    )
    from service.commands.serve import run_server  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(run_server(settings, executes=worker))


@cli.command()
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Show what this worker counts at /metrics of this port (0: any) on SIGNALBOX_HOST, to anybody.",
)
def worker(metrics_port: int | None) -> None:
    """Execute runs from the queue until SIGTERM or Ctrl-C; any number of these on one Postgres."""
    settings = command_settings()
    from service.commands.worker import run_worker  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(run_worker(settings, metrics_port=metrics_port))


@cli.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    default=None,
    help="Unix socket to listen at (SIGNALBOX_SANDBOX_SOCKET).",
)
def sandbox(path: Path | None) -> None:
    """Run programs for a server in another container, until SIGTERM or Ctrl-C."""
    settings = command_settings(**({"sandbox_socket": path} if path else {}))
    from service.commands.sandbox import run_sandbox  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(run_sandbox(settings))


@cli.command()
def agents() -> None:
    """List the agents with their models and tools."""
    settings = command_settings()
    from service.commands.agents import list_agents  # noqa: PLC0415 - after the environment is prepared

    click.echo(list_agents(settings))


@cli.command()
def graph() -> None:
    """Print the workflow with its agents as a Mermaid diagram; no server is needed."""
    settings = command_settings()
    from service.commands.graph import draw  # noqa: PLC0415 - after the environment is prepared

    click.echo(draw(settings))


@cli.group()
def agent() -> None:
    """Work with one agent."""


@agent.command(name="test")
@click.argument("name")
@click.argument("task")
def agent_test(name: str, task: str) -> None:
    """Give TASK to the agent NAME alone and print its outcome as JSON."""
    settings = command_settings()
    from service.commands.agents import test_agent  # noqa: PLC0415 - after the environment is prepared

    outcome: dict[str, Any] = asyncio.run(test_agent(settings, name, task))
    click.echo(json.dumps(outcome, indent=2, ensure_ascii=False))


@cli.command()
@click.option(
    "--offline", is_flag=True, help="Look at nothing beyond this machine but the database."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(*, offline: bool, as_json: bool) -> None:
    """Check settings, keys, database, sandbox, models and all that is reached; each fault with its remedy.

    The exit code is 1 where anything keeps a server from starting, else 0."""
    settings = command_settings()
    from service.commands.doctor import examine  # noqa: PLC0415 - after the environment is prepared

    findings = asyncio.run(examine(settings, offline=offline))
    well = all(finding.level != "fail" for finding in findings)
    if as_json:
        found = [finding.document() for finding in findings]
        click.echo(json.dumps({"ok": well, "findings": found}, indent=2))
    else:
        for finding in findings:
            click.echo(finding.line())
    sys.exit(0 if well else 1)


@cli.group()
def db() -> None:
    """Work with the tables of the database."""


@db.command(name="upgrade")
def db_upgrade() -> None:
    """Bring the database to what this version expects. Safe to repeat; Postgres needs it once per release."""
    settings = command_settings()
    from service.commands.db import upgrade  # noqa: PLC0415 - after the environment is prepared

    for line in asyncio.run(upgrade(settings)):
        click.echo(line)


@db.command(name="check")
def db_check() -> None:
    """Say whether the database has to be upgraded; exit 0 where it need not be, 1 where it has to be."""
    settings = command_settings()
    from service.commands.db import check  # noqa: PLC0415 - after the environment is prepared

    fine, line = asyncio.run(check(settings))
    click.echo(line)
    sys.exit(0 if fine else 1)


for command in (approve, completion, config, keys, run, runs, webhooks):
    cli.add_command(command)


def main() -> None:
    """Run the command; a fault is one line on stderr, and how it ends is the exit code (docs/cli.md)."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows what it can; it must not cost the run its result.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(carry_out(cli))
