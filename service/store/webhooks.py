"""The webhook store: `domain.delivery.WebhookStore` over SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from domain.delivery import Attempt, AttemptResult, Delivery, Due, Endpoint, Redelivered
from domain.ports import IdempotencyKey, RunRef
from domain.webhook import Webhook
from service.store import endpoints, outbox
from service.store.database import Database


class SqlWebhookStore:
    """Remembers what is sent to webhooks; what each method promises is said at the port."""

    def __init__(self, database: Database, *, public_url: str | None = None) -> None:
        self._database = database
        self._public_url = public_url
        """Below it are the pages on which people decide."""

    async def endpoint(self, tenant_id: str, webhook: Webhook) -> Endpoint | None:
        """Return the endpoint of a webhook."""
        return await self._database.read(endpoints.find, tenant_id, webhook.endpoint)

    async def ensure(self, tenant_id: str, webhook: Webhook, *, now: datetime) -> Endpoint:
        """Return the endpoint of a webhook; it is made where there is none."""
        found = await self._database.read(endpoints.find, tenant_id, webhook.endpoint)
        if found is not None:
            return found
        return await self._database.write(endpoints.ensure, tenant_id, webhook.endpoint, now)

    async def show(self, tenant_id: str, webhook: Webhook, *, now: datetime) -> str | None:
        """Return an endpoint's secret to the first who asks."""
        return await self._database.write(endpoints.show, tenant_id, webhook.endpoint, now)

    async def find(self, ref: RunRef, *, limit: int, before: str | None) -> list[Delivery]:
        """Return deliveries of a run, newest first, and one more than asked for."""
        return await self._database.read(outbox.of_run, ref, limit, before)

    async def redeliver(
        self, ref: RunRef, delivery_id: str, *, idempotency: IdempotencyKey | None, now: datetime
    ) -> Redelivered | None:
        """Have a delivery sent again, or return `None`."""
        return await self._database.write(outbox.again, ref, delivery_id, idempotency, now)

    async def due(
        self, *, now: datetime, busy: Collection[str], full: Collection[str] = (), limit: int
    ) -> list[Due]:
        """Return deliveries whose turn it is."""
        return await self._database.read(outbox.due, now, busy, full, limit)

    async def claim(self, due: Due, *, now: datetime, until: datetime) -> Attempt | None:
        """Take a delivery to send it, or return `None`."""
        return await self._database.write(outbox.claim, due, now, until, self._public_url)

    async def settle(self, attempt: Attempt, result: AttemptResult, *, now: datetime) -> None:
        """Record what an attempt came to."""
        await self._database.write(outbox.settle, attempt, result, now)

    async def overdue(self, *, before: datetime) -> bool:
        """Return whether a delivery was due before that time, and nobody has begun to send any since."""
        return await self._database.read(outbox.overdue, before)

    async def release(self, attempts: Sequence[Attempt] | None, *, now: datetime) -> None:
        """Give claims back that were cut off."""
        await self._database.write(outbox.release, attempts, now)
