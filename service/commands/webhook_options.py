"""The options of `signalbox webhooks`."""

from __future__ import annotations

import asyncio
import contextlib

import click

from service.commands.key_options import command_settings


@click.group()
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
