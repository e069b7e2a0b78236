"""The `signalbox` command."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any, Literal

import click

from domain.errors import ConfigurationError, RunFailedError
from service.commands.key_options import command_settings, exit_with, keys
from service.commands.replay import replay
from service.commands.runs import runs


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
@click.argument("task")
@click.option("--url", default=None, help="Use a running server instead of starting one.")
@click.option("--api-key", default=None, help="Key for that server (better: SIGNALBOX_API_KEY).")
@click.option("--quiet", is_flag=True, help="Do not show progress on stderr.")
@click.option(
    "--approve",
    type=click.Choice(["ask", "auto", "deny"]),
    default="ask",
    show_default=True,
    help="What to do where a person is asked: ask on the terminal, approve or reject everything.",
)
@click.option(
    "--approvals",
    type=click.Choice(["policy", "always", "never"]),
    default="policy",
    show_default=True,
    help="When to ask: where the server's gates say so, before whatever changes something, never.",
)
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Send a file along, under its own name; may be given up to 20 times.",
)
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    default=None,
    help="A JSON Schema in a file: the answer as a document by it too, in result.structured.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    default=None,
    help="Write all that the run got from models, tools and people to a file for `signalbox runs replay`.",
)
def run(  # noqa: PLR0913 - one for each option
    task: str,
    url: str | None,
    api_key: str | None,
    files: tuple[Path, ...],
    schema: Path | None,
    record: Path | None,
    *,
    quiet: bool,
    approve: Literal["ask", "auto", "deny"],
    approvals: Literal["policy", "always", "never"],
) -> None:
    """Run TASK over HTTP: progress on stderr, the Run as JSON on stdout. Exit 0 only if it completed."""
    if record and url:
        msg = (
            "--record: what another server gets from its models is not seen here. Leave --url out."
        )
        raise ConfigurationError(msg)
    settings = command_settings(**({"api_key": api_key} if api_key else {}))
    from service.commands.run import read_files, read_schema, run_task  # noqa: PLC0415 - after the environment is prepared

    body: dict[str, Any] = {"task": task, "approvals": {"mode": approvals}}
    if files:
        body["files"] = read_files(files)
    if schema:
        body["output_schema"] = read_schema(schema)
    exit_with(run_task(settings, body, url=url, quiet=quiet, approve=approve, record=record))


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


class _AgentGroup(click.Group):
    """Takes the name of any agent, of which the settings tell, for the command that serves it."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; what is none of the others is the name of an agent."""
        return super().get_command(ctx, cmd_name) or _serving(cmd_name)


@cli.group(cls=_AgentGroup, subcommand_metavar="NAME | test NAME TASK")
def agent() -> None:
    """Serve the agent NAME to servers elsewhere (docs/agent-services.md), or try one out."""


def _serving(name: str) -> click.Command:
    @click.command(name=name, context_settings={"help_option_names": ["-h", "--help"]})
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


cli.add_command(keys)
runs.add_command(replay)
cli.add_command(runs)


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


@cli.group()
def webhooks() -> None:
    """Work with those who receive webhooks; also beside a running server."""


_of_tenant = click.option(
    "--tenant", default="default", show_default=True, help="Whose runs name it."
)


@webhooks.command(name="secret")
@click.argument("url")
@_of_tenant
def webhooks_secret(url: str, tenant: str) -> None:
    """Print the secret that messages to URL are signed with, once; it is made where there is none."""
    settings = command_settings()
    from service.commands.webhooks import show_secret  # noqa: PLC0415 - after the environment is prepared

    click.echo(asyncio.run(show_secret(settings, url, tenant)))


@webhooks.command(name="rotate")
@click.argument("url")
@_of_tenant
def webhooks_rotate(url: str, tenant: str) -> None:
    """Print a new secret of URL; for 24 hours messages are signed with the one before as well."""
    settings = command_settings()
    from service.commands.webhooks import rotate_secret  # noqa: PLC0415 - after the environment is prepared

    click.echo(asyncio.run(rotate_secret(settings, url, tenant)))


@webhooks.command(name="enable")
@click.argument("url")
@_of_tenant
def webhooks_enable(url: str, tenant: str) -> None:
    """Send to URL again after it has answered 410 Gone."""
    settings = command_settings()
    from service.commands.webhooks import enable  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(enable(settings, url, tenant))


@webhooks.command(name="forget")
@click.argument("url")
@_of_tenant
def webhooks_forget(url: str, tenant: str) -> None:
    """Forget URL and its secret: nothing more is sent there until a run names it again."""
    settings = command_settings()
    from service.commands.webhooks import forget  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(forget(settings, url, tenant))


@webhooks.command(name="list")
@_of_tenant
def webhooks_list(tenant: str) -> None:
    """List who receives webhooks; never with their secrets."""
    settings = command_settings()
    from service.commands.webhooks import list_endpoints  # noqa: PLC0415 - after the environment is prepared

    for line in asyncio.run(list_endpoints(settings, tenant)):
        click.echo(line)


@webhooks.command(name="listen")
@click.option("--port", type=int, default=9000, show_default=True, help="0 picks a free one.")
@click.option("--secret", default=None, help="Check signatures with this secret (whsec_…).")
def webhooks_listen(port: int, secret: str | None) -> None:
    """Show what is sent to a webhook on this machine, until Ctrl-C; for development."""
    from service.commands.listen import listen  # noqa: PLC0415 - loads what only it needs

    with contextlib.suppress(KeyboardInterrupt):
        listen(port, secret)


def main() -> None:
    """Run the command; a wrong setting is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows what it can; it must not cost the run its result.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        cli()
    except ConfigurationError as error:
        click.echo(f"signalbox: {error}", err=True)
        sys.exit(2)
    except RunFailedError as error:
        click.echo(f"signalbox: {error.detail}", err=True)
        sys.exit(1)
