"""What is sent to webhooks, what became of it, and the port of the store that keeps it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from domain.ports import IdempotencyKey, RunRef
from domain.run import UtcTime
from domain.webhook import Webhook, WebhookEvent

DeliveryStatus = Literal["pending", "delivered", "failed", "disabled"]
"""`pending` it is being sent, or will be again · `delivered` the receiver has answered 2xx · `failed` a day
of tries was in vain · `disabled` the receiver has said that it wants nothing more (410)."""


class Delivery(BaseModel):
    """One message to a webhook, as clients see it."""

    model_config = ConfigDict(frozen=True)

    id: str
    """The same in the header `webhook-id` of every attempt."""
    object: Literal["delivery"] = "delivery"
    run_id: str
    type: WebhookEvent
    url: str
    """Without its query, which may hold a secret; `?…` stands for it."""
    status: DeliveryStatus
    attempts: int
    next_attempt_at: UtcTime | None
    last_status: int | None
    """The HTTP status that the last attempt was answered with; null where no answer came."""
    last_error: str | None
    """Why the last attempt was in vain."""
    created_at: UtcTime
    delivered_at: UtcTime | None


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A receiver, and what its messages are signed with."""

    tenant_id: str
    url: str
    """Without a query."""
    secret: str
    previous_secret: str | None
    previous_until: datetime | None
    """Until when messages are signed with the one before as well."""
    created_at: datetime
    shown_at: datetime | None
    """When the secret was given to somebody, which is done once."""
    disabled_at: datetime | None
    """When it answered that it wants nothing more."""

    def secrets(self, now: datetime) -> tuple[str, ...]:
        """Return what a message is signed with now."""
        if self.previous_secret and self.previous_until and now < self.previous_until:
            return self.secret, self.previous_secret
        return (self.secret,)


class Due(NamedTuple):
    """A delivery whose turn it is."""

    tenant_id: str
    id: str
    host: str
    attempts: int
    """Made so far: who sends it next is the one who counts on from there."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A delivery that is this process's to send, for as long as its claim lasts."""

    tenant_id: str
    id: str
    run_id: str
    url: str
    body: str
    """ASCII, so that its characters are its bytes."""
    secrets: tuple[str, ...]
    number: int
    """Which one it is of all."""
    tries: int
    """Which one it is since somebody asked for it."""
    give_up_at: datetime
    traceparent: str | None = None
    """The span that its run was created in."""
    retried_after: int = 0
    """That of its run."""


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """What an attempt came to."""

    status: DeliveryStatus
    """`pending`: it is tried again."""
    next_at: datetime | None
    last_status: int | None
    last_error: str | None


class Redelivered(NamedTuple):
    """A delivery that is sent again."""

    delivery: Delivery
    replayed: bool
    """Whether the same request had asked for it before."""


class WebhookStore(Protocol):
    """What is to be sent to webhooks. The rows are written by whatever changes a run's status, in the same
    transaction. Every method takes the tenant, but for those that the sender alone calls."""

    async def endpoint(self, tenant_id: str, webhook: Webhook) -> Endpoint | None:
        """Return the endpoint of a webhook; it is made with the first run that names it."""
        ...

    async def show(self, tenant_id: str, webhook: Webhook, *, now: datetime) -> str | None:
        """Return an endpoint's secret to the first who asks, and `None` from then on."""
        ...

    async def find(self, ref: RunRef, *, limit: int, before: str | None) -> list[Delivery]:
        """Return up to `limit + 1` deliveries of a run, newest first."""
        ...

    async def redeliver(
        self, ref: RunRef, delivery_id: str, *, idempotency: IdempotencyKey | None, now: datetime
    ) -> Redelivered | None:
        """Have a delivery sent again, whatever became of it; `None` where the run has no such one. An
        endpoint that wanted nothing more is tried again too."""
        ...

    async def due(
        self, *, now: datetime, busy: Collection[str], full: Collection[str] = (), limit: int
    ) -> list[Due]:
        """Return deliveries whose turn it is and that nobody sends, but none to the `busy` hosts and none of
        the `full` tenants."""
        ...

    async def claim(self, due: Due, *, now: datetime, until: datetime) -> Attempt | None:
        """Make a delivery this process's to send until then; `None` where another has it, or where its
        receiver wants nothing more."""
        ...

    async def settle(self, attempt: Attempt, result: AttemptResult, *, now: datetime) -> None:
        """Record what an attempt came to. With `disabled` all that waits for that endpoint is."""
        ...

    async def overdue(self, *, before: datetime) -> bool:
        """Return whether a delivery was due before that time, and nobody has begun to send any since."""
        ...

    async def release(self, attempts: Sequence[Attempt] | None, *, now: datetime) -> None:
        """Give claims back that were cut off; with `None` all there are, for a process that is alone."""
        ...
