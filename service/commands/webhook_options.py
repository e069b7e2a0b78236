"""The options of `signalbox webhooks`."""

from __future__ import annotations

import asyncio
import contextlib
import json

import click

from service.commands.key_options import command_settings
from service.commands.options import as_json, example


@click.group(epilog=example("signalbox webhooks list", "signalbox webhooks listen"))
def webhooks() -> None:
    """Work with those who receive webhooks; also beside a running server."""


_of_tenant = click.option(
    "--tenant", default="default", show_default=True, help="Whose runs name it."
)


@webhooks.command(
    name="secret", epilog=example("signalbox webhooks secret https://example.com/hook")
)
@click.argument("url")
@_of_tenant
@as_json
def webhooks_secret(url: str, tenant: str, *, json_: bool) -> None:
    """Print the secret that messages to URL are signed with, once; it is made where there is none."""
    settings = command_settings()
    from service.commands.webhooks import show_secret  # noqa: PLC0415 - after the environment is prepared

    secret = asyncio.run(show_secret(settings, url, tenant))
    click.echo(json.dumps({"url": url, "secret": secret}) if json_ else secret)


@webhooks.command(
    name="rotate", epilog=example("signalbox webhooks rotate https://example.com/hook")
)
@click.argument("url")
@_of_tenant
@as_json
def webhooks_rotate(url: str, tenant: str, *, json_: bool) -> None:
    """Print a new secret of URL; for 24 hours messages are signed with the one before as well."""
    settings = command_settings()
    from service.commands.webhooks import rotate_secret  # noqa: PLC0415 - after the environment is prepared

    secret = asyncio.run(rotate_secret(settings, url, tenant))
    click.echo(json.dumps({"url": url, "secret": secret}) if json_ else secret)


@webhooks.command(
    name="enable", epilog=example("signalbox webhooks enable https://example.com/hook")
)
@click.argument("url")
@_of_tenant
def webhooks_enable(url: str, tenant: str) -> None:
    """Send to URL again after it has answered 410 Gone."""
    settings = command_settings()
    from service.commands.webhooks import enable  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(enable(settings, url, tenant))


@webhooks.command(
    name="forget", epilog=example("signalbox webhooks forget https://example.com/hook")
)
@click.argument("url")
@_of_tenant
def webhooks_forget(url: str, tenant: str) -> None:
    """Forget URL and its secret: nothing more is sent there until a run names it again."""
    settings = command_settings()
    from service.commands.webhooks import forget  # noqa: PLC0415 - after the environment is prepared

    asyncio.run(forget(settings, url, tenant))


@webhooks.command(
    name="list",
    epilog=example("signalbox webhooks list", "signalbox webhooks list --tenant web --json"),
)
@_of_tenant
@as_json
def webhooks_list(tenant: str, *, json_: bool) -> None:
    """List who receives webhooks; never with their secrets."""
    settings = command_settings()
    from service.commands import webhooks as work  # noqa: PLC0415 - after the environment is prepared

    found = asyncio.run(work.list_endpoints(settings, tenant))
    if json_:
        click.echo(json.dumps([work.as_json(each) for each in found], indent=2))
        return
    for each in found:
        click.echo(work.as_line(each))
    if not found:
        click.echo("Nobody receives webhooks yet: a run names its own in `webhook.url`.", err=True)


@webhooks.command(
    name="listen", epilog=example("signalbox webhooks listen --port 9000 --secret whsec_…")
)
@click.option("--port", type=int, default=9000, show_default=True, help="0 picks a free one.")
@click.option(
    "--json", "json_", is_flag=True, help="Print each delivery as a line of JSON on stdout."
)
@click.option("--secret", default=None, help="Check signatures with this secret (whsec_…).")
def webhooks_listen(port: int, secret: str | None, *, json_: bool) -> None:
    """Show what is sent to a webhook on this machine, until Ctrl-C; for development."""
    from service.commands.listen import listen  # noqa: PLC0415 - loads what only it needs

    with contextlib.suppress(KeyboardInterrupt):
        listen(port, secret, json_=json_)
