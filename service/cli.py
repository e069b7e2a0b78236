"""The `signalbox` command."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from service.commands.approve_options import approve
from service.commands.completion import completion
from service.commands.config_options import config
from service.commands.demo_options import demo
from service.commands.exits import DONE, FAILED, carry_out
from service.commands.key_options import command_settings, keys
from service.commands.options import as_json, example
from service.commands.run_options import run
from service.commands.runs import runs
from service.commands.webhook_options import webhooks


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="signalbox", message="%(version)s")
def cli() -> None:
    """Signalbox: a team of AI agents behind one REST API."""


@cli.command(epilog=example("signalbox serve --port 8080", "signalbox serve --no-worker"))
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


@cli.command(epilog=example("signalbox worker --metrics-port 9100"))
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


@cli.command(epilog=example("signalbox sandbox --socket /run/signalbox/sandbox.sock"))
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


@cli.command(epilog=example("signalbox agents", "signalbox agents --json"))
@as_json
def agents(*, json_: bool) -> None:
    """List the agents with their models and tools."""
    settings = command_settings()
    from service.commands.agents import describe_agents, list_agents  # noqa: PLC0415 - after the environment is prepared

    if json_:
        click.echo(json.dumps(describe_agents(settings), indent=2, ensure_ascii=False))
    else:
        click.echo(list_agents(settings))


@cli.command(epilog=example("signalbox graph > workflow.mmd", "signalbox graph --json"))
@as_json
def graph(*, json_: bool) -> None:
    """Print the workflow with its agents as a Mermaid diagram; no server is needed."""
    settings = command_settings()
    from service.commands.graph import draw, outline  # noqa: PLC0415 - after the environment is prepared

    click.echo(json.dumps(outline(settings), indent=2) if json_ else draw(settings))


class _AgentGroup(click.Group):
    """Takes the name of any agent, of which the settings tell, for the command that serves it."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; what is none of the others is the name of an agent."""
        return super().get_command(ctx, cmd_name) or _serving(cmd_name)


@cli.group(
    cls=_AgentGroup,
    subcommand_metavar="NAME | test NAME TASK",
    epilog=example(
        "signalbox agent coder --port 9001", 'signalbox agent test analyst "mean of 1, 2, 3"'
    ),
)
def agent() -> None:
    """Serve the agent NAME to servers elsewhere (docs/agent-services.md), or try one out.

    Serving takes --host and --port, as `signalbox serve` does.
    """


def _serving(name: str) -> click.Command:
    @click.command(
        name=name,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=example("signalbox agent coder --port 9001"),
    )
    @click.option("--host", default=None, help="Address to listen on (SIGNALBOX_HOST).")
    @click.option(
        "--port", type=int, default=None, help="Port to listen on; 0 picks one (SIGNALBOX_PORT)."
    )
    def serve_it(host: str | None, port: int | None) -> None:
        """Serve one agent until SIGTERM or Ctrl-C: `signalbox agent coder`."""
        given = {"host": host, "port": port}
        settings = command_settings(**{k: v for k, v in given.items() if v is not None})
        from service.commands.agent import serve_agent  # noqa: PLC0415 - after the environment is prepared

        asyncio.run(serve_agent(settings, name))

    return serve_it


@agent.command(name="test", epilog=example('signalbox agent test analyst "mean of 1, 2, 3"'))
@click.argument("name")
@click.argument("task")
def agent_test(name: str, task: str) -> None:
    """Give TASK to the agent NAME alone and print its outcome as JSON."""
    settings = command_settings()
    from service.commands.agents import test_agent  # noqa: PLC0415 - after the environment is prepared

    outcome: dict[str, Any] = asyncio.run(test_agent(settings, name, task))
    click.echo(json.dumps(outcome, indent=2, ensure_ascii=False))


@cli.command(epilog=example("signalbox doctor", "signalbox doctor --offline --json"))
@click.option(
    "--offline", is_flag=True, help="Look at nothing beyond this machine but the database."
)
@as_json
def doctor(*, offline: bool, json_: bool) -> None:
    """Check settings, keys, database, sandbox, models and all that is reached; each fault with its remedy.

    It ends with 1 where anything keeps a server from starting.
    """
    settings = command_settings()
    from service.commands.doctor import examine  # noqa: PLC0415 - after the environment is prepared

    findings = asyncio.run(examine(settings, offline=offline))
    well = all(finding.level != "fail" for finding in findings)
    if json_:
        found = [finding.document() for finding in findings]
        click.echo(json.dumps({"ok": well, "findings": found}, indent=2))
    else:
        for finding in findings:
            click.echo(finding.line())
    sys.exit(DONE if well else FAILED)


@cli.group(epilog=example("signalbox db check", "signalbox db upgrade"))
def db() -> None:
    """Work with the tables of the database."""


@db.command(name="upgrade", epilog=example("signalbox db upgrade"))
@as_json
def db_upgrade(*, json_: bool) -> None:
    """Bring the database to what this version expects. Safe to repeat; Postgres needs it once per release."""
    settings = command_settings()
    from service.commands.db import upgrade  # noqa: PLC0415 - after the environment is prepared

    where, *done = asyncio.run(upgrade(settings))
    if json_:
        click.echo(json.dumps({"database": where, "done": done}))
        return
    for line in (where, *done):
        click.echo(line)


@db.command(name="check", epilog=example("signalbox db check", "signalbox db check --json"))
@as_json
def db_check(*, json_: bool) -> None:
    """Say whether the database has to be upgraded; exit 0 where it need not be, 1 where it has to be."""
    settings = command_settings()
    from service.commands.db import check  # noqa: PLC0415 - after the environment is prepared

    found = asyncio.run(check(settings))
    click.echo(json.dumps(found.document()) if json_ else found.line())
    sys.exit(FAILED if found.missing else DONE)


for command in (approve, completion, config, demo, keys, run, runs, webhooks):
    cli.add_command(command)


def main() -> None:
    """Run the command; a fault is one line on stderr, and how it ends is the exit code (docs/cli.md)."""
    if sys.stderr is None:  # closed (`2>&-`): `print` would have it on stdout
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows what it can; it must not cost the run its result.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(carry_out(cli))
