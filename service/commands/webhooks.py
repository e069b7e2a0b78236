"""`signalbox webhooks secret|rotate|enable|forget|list`: those who receive webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from domain.delivery import Endpoint
from domain.errors import ConfigurationError, ToolFailedError
from domain.webhook import Webhook
from service.endpoints import Reach
from service.ids import SystemClock
from service.settings import Settings
from service.store import endpoints as statements
from service.store.beside import open_beside
from service.store.webhooks import SqlWebhookStore


async def show_secret(settings: Settings, url: str, tenant_id: str) -> str:
    """Return the secret of an endpoint, which is made where there is none; once."""
    webhook = _read(settings, url)
    async with open_beside(settings.database_url) as database:
        store, now = SqlWebhookStore(database), SystemClock().now()
        await store.ensure(tenant_id, webhook, now=now)
        secret = await store.show(tenant_id, webhook, now=now)
    if secret is None:
        msg = (
            f"{webhook.endpoint} has a secret that was shown before, and is not shown again; "
            "`signalbox webhooks rotate` makes a new one"
        )
        raise ConfigurationError(msg)
    return secret


async def rotate_secret(settings: Settings, url: str, tenant_id: str) -> str:
    """Return a new secret of an endpoint; the one before is used beside it for a day."""
    webhook = _read(settings, url)
    async with open_beside(settings.database_url) as database:
        now = SystemClock().now()
        secret = await database.write(statements.rotate, tenant_id, webhook.endpoint, now)
    if secret is None:
        raise _unknown(webhook)
    return secret


async def enable(settings: Settings, url: str, tenant_id: str) -> None:
    """Send to an endpoint again that has answered 410."""
    webhook = _read(settings, url)
    async with open_beside(settings.database_url) as database:
        if not await database.write(statements.enable, tenant_id, webhook.endpoint):
            raise _unknown(webhook)


async def forget(settings: Settings, url: str, tenant_id: str) -> None:
    """Forget an endpoint and its secret; nothing more is sent there until a run names it again."""
    webhook = _read(settings, url)
    async with open_beside(settings.database_url) as database:
        if not await database.write(statements.forget, tenant_id, webhook.endpoint):
            raise _unknown(webhook)


async def list_endpoints(settings: Settings, tenant_id: str) -> list[Endpoint]:
    """Return every endpoint of a tenant."""
    async with open_beside(settings.database_url) as database:
        return await database.read(statements.list_all, tenant_id)


def as_json(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as the command prints it; never with its secrets."""

    def time(value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    return {
        "url": endpoint.url,
        "created_at": time(endpoint.created_at),
        "secret_shown_at": time(endpoint.shown_at),
        "previous_secret_until": time(endpoint.previous_until),
        "disabled_at": time(endpoint.disabled_at),
    }


def as_line(endpoint: Endpoint) -> str:
    """Return an endpoint in a line."""
    notes = [f"since {endpoint.created_at:%Y-%m-%d %H:%M}Z"]
    if endpoint.shown_at is None:
        notes.append("its secret was shown to nobody yet")
    if endpoint.previous_until and SystemClock().now() < endpoint.previous_until:
        notes.append(f"signed with two secrets until {endpoint.previous_until:%Y-%m-%d %H:%M}Z")
    if endpoint.disabled_at is not None:
        notes.append(f"answered 410 at {endpoint.disabled_at:%Y-%m-%d %H:%M}Z: nothing is sent")
    return f"{endpoint.url}  {', '.join(notes)}"


def _unknown(webhook: Webhook) -> ConfigurationError:
    msg = f"{webhook.endpoint} was named by no run yet; `signalbox webhooks secret` makes it known"
    return ConfigurationError(msg)


def _read(settings: Settings, url: str) -> Webhook:
    """Return a url in the spelling under which an endpoint is known."""
    reach = Reach(vouched=settings.http_allow, development=settings.env == "development")
    try:
        return reach.spelled(Webhook(url=url))
    except ToolFailedError as error:
        raise ConfigurationError(error.detail) from None
