"""The sender alone, where time and names are the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import pytest

from domain.delivery import Delivery
from domain.errors import CallerError
from domain.ports import RunRef
from domain.webhook import Webhook
from service.deliveries import (
    AT_ONCE,
    CLAIM,
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    MOST_TOLD_SECONDS,
    PER_TENANT,
    Sender,
    delay_after,
    told_delay,
)
from service.endpoints import Reach
from service.store import SqlRunStore, endpoints, open_store
from service.store.outbox import GIVE_UP
from service.store.webhooks import SqlWebhookStore
from tests.contract.factories import add_running, last_draft, make_ending
from tests.fakes.http_target import CountingTarget

BEGIN: Final = datetime(2030, 1, 2, 12, 0, tzinfo=UTC)
SECONDS: Final = 10.0


class Hands:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.time = BEGIN

    def now(self) -> datetime:
        return self.time


@pytest.fixture
async def store() -> AsyncIterator[SqlRunStore]:
    async with open_store("memory://") as opened:
        yield opened


@pytest.fixture
async def target() -> AsyncIterator[CountingTarget]:
    async with CountingTarget() as server:
        yield server


async def ended(store: SqlRunStore, url: str, number: int = 1, **changes: str) -> RunRef:
    """End a run that reports to a url."""
    webhook = Webhook(url=url)
    ref = await add_running(store, number, webhook=webhook, **changes)
    await SqlWebhookStore(store.database).ensure(ref.tenant_id, webhook, now=BEGIN)
    done = await store.finish(
        ref, attempt=1, ending=make_ending(), drafts=[last_draft("completed")], now=BEGIN
    )
    assert done is not None
    return ref


async def settled(
    webhooks: SqlWebhookStore, ref: RunRef, attempts: int, *, at: datetime = BEGIN
) -> Delivery:
    """Return the one delivery of a run after so many attempts, the last one, made then, being over."""
    async with asyncio.timeout(SECONDS):
        while True:
            [found] = await webhooks.find(ref, limit=5, before=None)
            over = found.status != "pending" or (found.next_attempt_at or at) > at
            if found.attempts == attempts and over:
                return found
            await asyncio.sleep(0.005)


async def test_a_name_that_leads_into_the_network_is_not_followed(store: SqlRunStore) -> None:
    """Also where it led elsewhere when the run was created."""

    async def private(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34", "10.0.0.7"]

    webhooks, clock = SqlWebhookStore(store.database), Hands()
    sender = Sender(webhooks, clock, Reach(vouched=(), development=True), resolve=private)
    ref = await ended(store, "https://hooks.example.com/hook")
    await sender.send_due()
    found = await settled(webhooks, ref, 1)
    assert found.status == "pending"
    assert "not public" in str(found.last_error)
    assert "10.0.0.7" not in str(found.last_error)
    await sender.stop()


async def test_what_is_tried_for_a_day_is_tried_in_growing_steps(
    store: SqlRunStore, target: CountingTarget
) -> None:
    webhooks, clock = SqlWebhookStore(store.database), Hands()
    sender = Sender(webhooks, clock, Reach(vouched=(), development=True))
    target.reply("/hook", status=500)
    ref = await ended(store, target.url("/hook"))
    moments = []
    for attempt in range(1, 40):
        await sender.send_due()
        found = await settled(webhooks, ref, attempt, at=clock.time)
        moments.append(clock.time - BEGIN)
        if found.status == "failed":
            break
        assert found.next_attempt_at is not None
        clock.time = found.next_attempt_at
    assert timedelta(hours=18) < moments[-1] < GIVE_UP
    assert 10 <= len(moments) <= 16
    steps = [b - a for a, b in pairwise(moments)]
    assert steps[0] < timedelta(seconds=7)
    assert steps[:7] == sorted(steps[:7])
    assert len(target.requests) == len(moments)
    await sender.stop()


async def test_of_two_processes_each_sends_what_the_other_does_not(
    store: SqlRunStore, target: CountingTarget
) -> None:
    webhooks, clock = SqlWebhookStore(store.database), Hands()
    senders = [Sender(webhooks, clock, Reach(vouched=(), development=True)) for _ in range(2)]
    refs = [await ended(store, target.url("/hook"), number) for number in range(1, 21)]
    for sender in senders:
        sender.wake()
    for ref in refs:
        await settled(webhooks, ref, 1)
    assert len(target.requests) == 20
    assert len({r.headers["webhook-id"] for r in target.requests}) == 20
    for sender in senders:
        await sender.stop()


async def test_what_a_process_has_taken_and_never_sent_is_sent_later(
    store: SqlRunStore, target: CountingTarget
) -> None:
    """It died, and nobody told: its claim lapses."""
    webhooks, clock = SqlWebhookStore(store.database), Hands()
    ref = await ended(store, target.url("/hook"))
    [due] = await webhooks.due(now=clock.now(), busy=(), limit=5)
    taken = await webhooks.claim(due, now=clock.now(), until=clock.now() + CLAIM)
    assert taken is not None
    assert await webhooks.claim(due, now=clock.now(), until=clock.now() + CLAIM) is None
    sender = Sender(webhooks, clock, Reach(vouched=(), development=True))
    clock.time += CLAIM - timedelta(seconds=1)
    await sender.send_due()
    assert not target.requests
    clock.time += timedelta(seconds=1)
    await sender.send_due()
    found = await settled(webhooks, ref, 2)
    assert (found.status, found.id) == ("delivered", taken.id)
    await sender.stop()


async def test_who_stops_gives_back_what_is_under_way(
    store: SqlRunStore, target: CountingTarget
) -> None:
    webhooks, clock = SqlWebhookStore(store.database), Hands()
    ref = await ended(store, target.url("/hook"))
    gate = target.hold("/hook")
    first = Sender(webhooks, clock, Reach(vouched=(), development=True))
    await first.send_due()
    await target.arrived("/hook")
    await first.stop()
    gate.open()
    second = Sender(webhooks, clock, Reach(vouched=(), development=True))
    await second.send_due()
    assert (await settled(webhooks, ref, 2)).status == "delivered"
    await second.stop()


async def test_endpoints_are_not_made_without_end(
    store: SqlRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 2)
    webhooks = SqlWebhookStore(store.database)
    for number in (1, 2, 1):
        await webhooks.ensure("ada", Webhook(url=f"https://example.com/{number}"), now=BEGIN)
    await webhooks.ensure("eve", Webhook(url="https://example.com/3"), now=BEGIN)
    with pytest.raises(CallerError, match="goes into the query") as refused:
        await webhooks.ensure("ada", Webhook(url="https://example.com/3"), now=BEGIN)
    assert refused.value.errors is not None
    assert refused.value.errors[0]["pointer"] == "/webhook/url"


async def test_one_tenants_dead_receivers_leave_places_for_others(store: SqlRunStore) -> None:
    """However many hosts it names, a tenant has half of what is sent at once; the oldest go first all the same."""
    webhooks, clock = SqlWebhookStore(store.database), Hands()
    looked_up: list[str] = []
    begun = asyncio.Semaphore(0)

    async def hang(host: str, port: int) -> list[str]:
        looked_up.append(host)
        begun.release()
        await asyncio.Event().wait()
        raise OSError(port)

    for number in range(1, AT_ONCE + 2):
        tenant = "eve" if number <= AT_ONCE else "ada"
        await ended(store, f"https://{tenant}{number}.example.com/hook", number, tenant_id=tenant)
    sender = Sender(webhooks, clock, Reach(vouched=(), development=True), resolve=hang)
    await sender.send_due()
    async with asyncio.timeout(SECONDS):
        for _ in range(PER_TENANT + 1):
            await begun.acquire()
    assert sum(host.startswith("eve") for host in looked_up) == PER_TENANT
    assert sum(host.startswith("ada") for host in looked_up) == 1
    await sender.stop()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("Wed, 02 Jan 2030 12:01:00 GMT", 60.0),
        ("Wed, 02 Jan 2030 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_what_a_receiver_says_of_when(text: str, seconds: float | None) -> None:
    assert told_delay(text, BEGIN) == seconds


def test_a_delay_is_as_long_as_asked_for_but_not_longer_than_that_may_be() -> None:
    assert 0.8 * FIRST_DELAY_SECONDS <= delay_after(1, None) <= 1.2 * FIRST_DELAY_SECONDS
    assert delay_after(1, 600.0) == 600.0
    assert delay_after(1, 1e9) == MOST_TOLD_SECONDS
    assert delay_after(30, 1.0) <= 1.2 * LONGEST_DELAY_SECONDS
