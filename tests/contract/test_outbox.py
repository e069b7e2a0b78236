"""What the outbox of webhooks promises on every database."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from sqlalchemy import delete

from domain.delivery import Attempt, AttemptResult, Delivery
from domain.ports import RunRef
from domain.webhook import Webhook
from service.store import SqlRunStore
from service.store.tables import runs
from service.store.webhooks import SqlWebhookStore
from tests.contract.factories import LATER, NOW, add_running, last_draft, make_ending

HOOK: Final = Webhook(url="https://hooks.example.com/hook")
UNTIL: Final = LATER + timedelta(seconds=45)
DELIVERED: Final = AttemptResult(status="delivered", next_at=None, last_status=204, last_error=None)
GONE: Final = AttemptResult(
    status="disabled", next_at=None, last_status=410, last_error="It answered 410 Gone."
)


async def ended(store: SqlRunStore, number: int = 1, *, attempt: int = 1) -> RunRef:
    """Try to end a run that reports."""
    ref = await add_running(store, number, webhook=HOOK)
    await SqlWebhookStore(store.database).ensure(ref.tenant_id, HOOK, now=NOW)
    await store.finish(
        ref,
        attempt=attempt,
        ending=make_ending(),
        drafts=[last_draft("completed")],
        now=LATER,
    )
    return ref


async def one(webhooks: SqlWebhookStore, ref: RunRef) -> Delivery:
    [found] = await webhooks.find(ref, limit=5, before=None)
    return found


async def claimed(webhooks: SqlWebhookStore) -> list[Attempt]:
    """Claim all that is due."""
    due = await webhooks.due(now=LATER, busy=(), limit=100)
    found = [await webhooks.claim(each, now=LATER, until=UNTIL) for each in due]
    return [each for each in found if each]


async def test_a_delivery_is_written_with_the_end_or_not_at_all(store: SqlRunStore) -> None:
    webhooks = SqlWebhookStore(store.database)
    lost = await ended(store, 1, attempt=2)
    assert await webhooks.find(lost, limit=5, before=None) == []
    ref = await ended(store, 2)
    found = await one(webhooks, ref)
    assert (found.type, found.status, found.attempts) == ("run.completed", "pending", 0)
    assert (found.created_at, found.next_attempt_at) == (LATER, LATER)
    strange = RunRef("eve", ref.run_id)
    assert await webhooks.find(strange, limit=5, before=None) == []
    again = await webhooks.redeliver(strange, found.id, idempotency=None, now=LATER)
    assert again is None


async def test_of_ten_who_claim_at_once_one_has_it(store: SqlRunStore) -> None:
    webhooks = SqlWebhookStore(store.database)
    await ended(store)
    [due] = await webhooks.due(now=LATER, busy=(), limit=5)
    claims = [webhooks.claim(due, now=LATER, until=UNTIL) for _ in range(10)]
    assert sum(each is not None for each in await asyncio.gather(*claims)) == 1
    assert await webhooks.due(now=LATER, busy=(), limit=5) == []
    assert await webhooks.due(now=UNTIL, busy=[due.host], limit=5) == []
    [again] = await webhooks.due(now=UNTIL, busy=["other:443"], limit=5)
    assert again == due._replace(attempts=1)


async def test_who_lost_a_claim_tells_of_success_and_of_nothing_else(store: SqlRunStore) -> None:
    webhooks = SqlWebhookStore(store.database)
    ref = await ended(store)
    [first] = await claimed(webhooks)
    [due] = await webhooks.due(now=UNTIL, busy=(), limit=5)
    second = await webhooks.claim(due, now=UNTIL, until=UNTIL + timedelta(seconds=45))
    assert second is not None
    assert (second.id, second.body, second.number) == (first.id, first.body, 2)
    failed = AttemptResult(
        status="failed", next_at=None, last_status=500, last_error="It answered 500."
    )
    await webhooks.settle(first, failed, now=UNTIL)
    assert (await one(webhooks, ref)).status == "pending"
    await webhooks.settle(first, DELIVERED, now=UNTIL)
    await webhooks.settle(second, failed, now=UNTIL)
    found = await one(webhooks, ref)
    assert (found.status, found.last_status, found.delivered_at) == ("delivered", 204, UNTIL)


async def test_several_who_are_told_gone_at_once_do_not_wait_in_a_circle(
    store: SqlRunStore,
) -> None:
    webhooks = SqlWebhookStore(store.database)
    refs = [await ended(store, number) for number in range(1, 13)]
    attempts = await claimed(webhooks)
    assert len(attempts) == 12
    await asyncio.gather(*(webhooks.settle(each, GONE, now=LATER) for each in attempts[:8]))
    assert {(await one(webhooks, ref)).status for ref in refs} == {"disabled"}
    endpoint = await webhooks.ensure(refs[0].tenant_id, HOOK, now=LATER)
    assert endpoint.disabled_at == LATER
    late = await ended(store, 13)
    assert await claimed(webhooks) == []
    found = await one(webhooks, late)
    assert (found.status, found.attempts) == ("disabled", 0)


async def test_of_many_who_ask_for_a_secret_one_gets_it(store: SqlRunStore) -> None:
    webhooks = SqlWebhookStore(store.database)
    made = await asyncio.gather(*(webhooks.ensure("ada", HOOK, now=NOW) for _ in range(10)))
    assert len({each.secret for each in made}) == 1
    shown = await asyncio.gather(*(webhooks.show("ada", HOOK, now=NOW) for _ in range(10)))
    assert [each for each in shown if each] == [made[0].secret]


async def test_what_a_run_reported_goes_with_it(store: SqlRunStore) -> None:
    ref = await ended(store)
    await store.database.write(lambda c: c.execute(delete(runs).where(runs.c.id == ref.run_id)))
    webhooks = SqlWebhookStore(store.database)
    assert await webhooks.find(ref, limit=5, before=None) == []
    assert await claimed(webhooks) == []


async def test_what_nobody_sends_is_overdue(store: SqlRunStore) -> None:
    """Not what is sent, nor what is not due yet, nor what waits while others are sent."""
    webhooks = SqlWebhookStore(store.database)
    assert not await webhooks.overdue(before=LATER)
    await ended(store, 1)
    assert await webhooks.overdue(before=LATER)
    assert not await webhooks.overdue(before=LATER - timedelta(seconds=1))
    [attempt] = await claimed(webhooks)
    await ended(store, 2)
    assert not await webhooks.overdue(before=LATER)
    await webhooks.settle(attempt, DELIVERED, now=LATER)
    assert await webhooks.overdue(before=LATER)
