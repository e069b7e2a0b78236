"""The options of `signalbox keys`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

import click

from domain.caller import LOCAL_TENANT, SCOPES, TENANT, CallerLimits, Scope
from service.commands.exits import INTERRUPTED
from service.commands.options import as_json, example

if TYPE_CHECKING:
    from service.settings import Settings


def command_settings(**overrides: Any) -> Settings:
    """Return the settings of a command, with the environment prepared for what it imports."""
    from service.settings import prepare_environment, read_settings  # noqa: PLC0415 - `--help` does without

    settings = read_settings(**overrides)
    prepare_environment()
    return settings


def exit_with(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Exit with what a piece of work comes to. After Ctrl-C click would say "Aborted!" and exit 1, as if it had
    failed."""
    try:
        code = asyncio.run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    sys.exit(code)


def _tenant(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not TENANT.fullmatch(value):
        msg = "write 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or a digit"
        raise click.BadParameter(msg)
    return value


def _name(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not value.strip() or len(value) > 100 or not value.isprintable():  # noqa: PLR2004 - see the message
        raise click.BadParameter("write 1 to 100 printable characters")
    return value.strip()


@click.group(epilog=example("signalbox keys create --name me", "signalbox keys list"))
def keys() -> None:
    """Make, list and revoke the keys of the API. It works while a server runs."""


@keys.command(
    name="create",
    epilog=example(
        "signalbox keys create --name CI --scope runs:write --scope runs:read --expires-days 90"
    ),
)
@click.option("--name", required=True, callback=_name, help="Whose key it is, or what for.")
@click.option(
    "--tenant",
    default=LOCAL_TENANT,
    show_default=True,
    callback=_tenant,
    help="Whose runs it is about; keys of one tenant see the same runs.",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    help="What it may do; may be given several times. Where not given: runs:write and runs:read.",
)
@click.option(
    "--expires-days",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Days it is good for; for ever where not given.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(1, 1_000_000),
    default=None,
    help="Its own number in place of SIGNALBOX_REQUESTS_PER_MINUTE.",
)
@click.option(
    "--concurrent-runs",
    type=click.IntRange(1, 10_000),
    default=None,
    help="Its own number in place of SIGNALBOX_MAX_CONCURRENT_PER_KEY.",
)
@as_json
def create(
    name: str,
    tenant: str,
    scopes: tuple[Scope, ...],
    expires_days: float | None,
    requests_per_minute: int | None,
    concurrent_runs: int | None,
    *,
    json_: bool,
) -> None:
    """Make a key. Its secret is printed on stdout, this once; nobody can look it up later."""
    settings = command_settings()
    from service.commands import keys as work  # noqa: PLC0415 - after the environment is prepared

    asked = work.KeyAsked(
        name=name,
        tenant_id=tenant,
        scopes=scopes,
        days=expires_days,
        limits=CallerLimits(
            requests_per_minute=requests_per_minute, concurrent_runs=concurrent_runs
        ),
    )
    key, secret = asyncio.run(work.create(settings, asked))
    click.echo(work.as_line(key), err=True)
    click.echo("This is its secret, shown only now:", err=True)
    click.echo(json.dumps({**work.as_json(key), "secret": secret}) if json_ else secret)


@keys.command(name="list", epilog=example("signalbox keys list", "signalbox keys list --json"))
@as_json
def list_keys(*, json_: bool) -> None:
    """List all keys, the oldest first, also those that are no longer good."""
    settings = command_settings()
    from service.commands import keys as work  # noqa: PLC0415 - after the environment is prepared

    found = asyncio.run(work.list_keys(settings))
    if json_:
        click.echo(json.dumps([work.as_json(key) for key in found]))
        return
    for key in found:
        click.echo(work.as_line(key))
    if not found:
        click.echo("There are no keys. `signalbox keys create --name NAME` makes one.", err=True)


@keys.command(name="revoke", epilog=example("signalbox keys revoke key_…"))
@click.argument("key_id", metavar="ID")
@as_json
def revoke(key_id: str, *, json_: bool) -> None:
    """Revoke the key ID, for good. Running servers refuse it within seconds."""
    settings = command_settings()
    from service.commands import keys as work  # noqa: PLC0415 - after the environment is prepared

    key = asyncio.run(work.revoke(settings, key_id))
    click.echo(work.as_line(key), err=True)
    if json_:
        click.echo(json.dumps(work.as_json(key)))
