"""The options of `signalbox config`."""

from __future__ import annotations

import json
import sys

import click

from domain.unseen import plain_line
from service.commands.exits import DONE, FAILED
from service.commands.key_options import command_settings
from service.commands.options import as_json, example


@click.group(
    invoke_without_command=True, epilog=example("signalbox config --set", "signalbox config check")
)
@click.option("--set", "changed", is_flag=True, help="Only what is set.")
@as_json
@click.pass_context
def config(context: click.Context, *, changed: bool, json_: bool) -> None:
    """Show the settings in force, and where each comes from: the environment, `.env`, or nowhere. Keys and passwords
    are not shown."""
    if context.invoked_subcommand:
        return
    settings = command_settings()
    from service.commands import config as work  # noqa: PLC0415 - after the environment is prepared

    rows = work.effective(settings, changed=changed)
    if json_:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for line in work.lines(rows):
        click.echo(plain_line(line))
    if not rows:
        click.echo("Nothing is set; .env.example has all there is.", err=True)


@config.command(epilog=example("signalbox config check", "signalbox config check --json"))
@as_json
def check(*, json_: bool) -> None:
    """Say what of the environment and `.env` cannot be used; exit 1 where anything cannot.

    What settings lead to (models, a database, a sandbox) is tried by `signalbox doctor`."""
    from service.commands import config as work  # noqa: PLC0415 - loads what only it needs

    found = work.check()
    if json_:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in found["faults"]:
            click.echo(f"[fail] {plain_line(line)}")
        for name in found["unknown"]:
            click.echo(
                f"[warn] {plain_line(name)} is no setting: a slip of the pen? .env.example has all."
            )
        if found["ok"] and not found["unknown"]:
            click.echo("[  ok] every setting can be used")
    sys.exit(DONE if found["ok"] else FAILED)
