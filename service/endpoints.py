"""Where webhooks may go, and the secrets of those who receive them."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from contextlib import suppress
from typing import Final, NamedTuple

from domain.delivery import WebhookStore
from domain.errors import CallerError, ToolFailedError
from domain.ports import Clock
from domain.problems import Pointer
from domain.webhook import Webhook
from tools.net.addresses import refuse_private
from tools.net.targets import Target, read_page

MAX_URL_CHARS: Final = 2_000

_POINTER: Final = "/webhook/url"


class Reach:
    """Says where webhooks may go: to public hosts over https, to those that the operator vouches for, and
    in development to this machine, where whoever names it may reach that."""

    def __init__(self, *, vouched: Collection[str], development: bool) -> None:
        self._vouched = frozenset(vouched)
        self._development = development

    def target(self, url: str, *, own: bool = True) -> Way:
        """Return the way to a url; raises `ToolFailedError`, with a sentence, where there is none.

        `own`: whoever has named it may reach this machine.
        """
        target = read_page(url)
        own = own or target.address in self._vouched
        own = own and self._development and is_loopback(target.host)
        if target.url.scheme != "https" and not own:
            where = "http is only for this machine's own addresses, in development, with the scope `admin`"
            raise ToolFailedError(f"The url is not https; {where}.")
        if own:
            return Way(target, self._vouched | {target.address})
        if target.address not in self._vouched:
            refuse_private(target.host, target.port)
        return Way(target, self._vouched)

    def spelled(self, webhook: Webhook, *, own: bool = True) -> Webhook:
        """Return a webhook with its url as it is sent to; raises `ToolFailedError` where that may not be."""
        if len(webhook.url) > MAX_URL_CHARS:
            raise ToolFailedError(f"The url has more than {MAX_URL_CHARS} characters.")
        if "#" in webhook.url:
            raise ToolFailedError("The url has a fragment, which is never sent; leave it out.")
        return webhook.model_copy(update={"url": str(self.target(webhook.url, own=own).target.url)})


class Way(NamedTuple):
    """A url that may be sent to, and the addresses that are reached though they are not public."""

    target: Target
    vouched: frozenset[str]


class Standing(NamedTuple):
    """How an endpoint stands."""

    untold: bool = False
    """Nobody was given its secret yet."""
    refusal: CallerError | None = None
    """Why a run that is still to be worked on may not name it."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its own name or address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


class Endpoints:
    """Those who receive webhooks, for one tenant at a time."""

    def __init__(self, store: WebhookStore, clock: Clock, reach: Reach) -> None:
        self._store = store
        self._clock = clock
        self._reach = reach

    def read(self, webhook: Webhook, *, own: bool) -> Webhook:
        """Return a webhook with its url as it is sent to; raises `CallerError` where that may not be."""
        try:
            return self._reach.spelled(webhook, own=own)
        except ToolFailedError as error:
            raise _refused(error.detail.removesuffix(".")) from None

    async def look_at(self, tenant_id: str, webhook: Webhook) -> Standing:
        """Return how the endpoint of a webhook stands."""
        endpoint = await self._store.endpoint(tenant_id, webhook)
        if endpoint is None:
            return Standing(untold=True)
        refusal = None
        if endpoint.disabled_at is not None:
            when = endpoint.disabled_at.isoformat()
            detail = (
                f"answered 410 Gone at {when}, so nothing is sent there. Once it takes messages again, "
                "POST one of its deliveries' …/redeliver, or run `signalbox webhooks enable`"
            )
            refusal = _refused(detail)
        return Standing(endpoint.shown_at is None, refusal)

    async def show(self, tenant_id: str, webhook: Webhook) -> str | None:
        """Return an endpoint's secret, once; `None` where somebody was given it before."""
        return await self._store.show(tenant_id, webhook, now=self._clock.now())


def _refused(detail: str) -> CallerError:
    return CallerError(
        "validation-error",
        f"{_POINTER}: {detail}.",
        errors=[Pointer(pointer=_POINTER, detail=detail)],
    )
