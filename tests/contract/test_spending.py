"""What the cost ledger promises, on every database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, update

from domain.ports import RunRef
from domain.spending import Dimension, SpendingQuery
from domain.usage import ModelCall, UsageShare
from service.store import SqlRunStore
from service.store.spending import SqlSpendingLedger
from service.store.tables import usage
from tests.contract.factories import add_run, add_running, make_call

FIRST = date(2030, 1, 1)
QUERY = SpendingQuery(since=FIRST, until=date(2030, 1, 31), group_by=("day",))


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(2030, 1, day, hour, minute, tzinfo=UTC)


async def book(store: SqlRunStore, ref: RunRef, now: datetime, *calls: ModelCall) -> None:
    await store.append(ref, attempt=1, drafts=[], calls=list(calls), now=now)


async def set_aside(store: SqlRunStore, ref: RunRef, key: str, **changes: Any) -> None:
    """Insert a call the way it stands before it is made."""
    row = {
        "run_id": ref.run_id,
        "tenant_id": ref.tenant_id,
        "key": key,
        "ts": at(1),
        "agent": "coder",
        "model": "m-1",
        "tier": "fast",
        "status": "open",
        "metered": False,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "most_tokens": 900,
        "most_cost_usd": Decimal("0.5"),
    }
    await store.database.write(lambda c: c.execute(insert(usage), {**row, **changes}))


async def lose(store: SqlRunStore, key: str) -> None:
    """Let an open call be one of a process that is gone."""
    statement = update(usage).where(usage.c.key == key).values(status="lost")
    await store.database.write(lambda c: c.execute(statement))


async def summed(
    store: SqlRunStore, *by: Dimension, tenant: str = "ada", **changes: Any
) -> dict[tuple[str, ...], UsageShare]:
    query = replace(QUERY, group_by=by or ("day",), **changes)
    groups = await SqlSpendingLedger(store.database).groups(tenant, query)
    return {group.values: group.share for group in groups}


async def used(store: SqlRunStore, ref: RunRef) -> Any:
    run = await store.get(ref)
    assert run
    return run.usage


# one run: what is booked, once, over what was set aside


async def test_all_that_a_call_used_is_kept(store: SqlRunStore) -> None:
    ref = await add_running(store)
    calls = [
        make_call("1", reasoning_tokens=3, round=1),
        make_call("2", reasoning_tokens=4, round=2, status="failed"),
        make_call("3", metered=False, cost_usd=None, status="cancelled"),
    ]
    await book(store, ref, at(1), *calls)
    usage = await used(store, ref)
    assert (usage.reasoning_tokens, usage.calls, usage.unmetered_calls) == (7, 3, 1)
    assert (usage.cost_usd, usage.cost_known) == (None, False)
    assert usage.by_agent["coder"].unmetered_calls == 1


async def test_a_call_that_is_being_made_counts_only_once_it_is_booked(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await set_aside(store, ref, "1")
    assert (await used(store, ref)).calls == 0
    assert await summed(store) == {}
    await book(store, ref, at(1), make_call("1"))
    await book(store, ref, at(1), make_call("1", input_tokens=99))
    usage = await used(store, ref)
    assert (usage.calls, usage.input_tokens, usage.cost_usd) == (1, 10, Decimal("0.0001"))
    assert (await summed(store))[("2030-01-01",)] == UsageShare(
        input_tokens=10, output_tokens=5, cached_tokens=2, cost_usd=Decimal("0.0001"), calls=1
    )


async def test_a_lost_call_has_an_unknown_price_until_it_is_told(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await set_aside(store, ref, "1", metered=True, cost_usd=Decimal("0.2"))
    await lose(store, "1")
    for share in (await used(store, ref), (await summed(store))[("2030-01-01",)]):
        assert (share.calls, share.unmetered_calls) == (1, 1)
        assert (share.cost_usd, share.cost_known) == (None, False)
    await book(store, ref, at(1), make_call("1"))
    for share in (await used(store, ref), (await summed(store))[("2030-01-01",)]):
        assert (share.calls, share.unmetered_calls, share.cost_usd) == (1, 0, Decimal("0.0001"))


async def test_a_lost_call_that_could_cost_nothing_has_cost_nothing(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await set_aside(store, ref, "1", most_cost_usd=Decimal("0.00"))
    await lose(store, "1")
    await book(store, ref, at(1), make_call("2", metered=False, cost_usd=Decimal("0E-9")))
    for share in (await used(store, ref), (await summed(store))[("2030-01-01",)]):
        assert (share.calls, share.unmetered_calls) == (2, 2)
        assert (share.cost_usd, share.cost_known) == (0, True)


async def test_a_list_of_runs_counts_as_each_run_does(store: SqlRunStore) -> None:
    from domain.ports import RunQuery

    ref = await add_running(store)
    await set_aside(store, ref, "1")
    await set_aside(store, ref, "2")
    await lose(store, "2")
    (listed,) = await store.find("ada", RunQuery())
    assert listed.usage == await used(store, ref)
    assert listed.usage.calls == 1


# many runs


async def test_calls_are_summed_by_utc_day(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await book(store, ref, at(1, 0, 0), make_call("1"))
    await book(store, ref, at(1, 23, 59), make_call("2"))
    await book(store, ref, at(2, 0, 0), make_call("3"))
    found = await summed(store)
    assert {day: share.calls for (day,), share in found.items()} == {
        "2030-01-01": 2,
        "2030-01-02": 1,
    }
    assert [*await summed(store, since=date(2030, 1, 2))] == [("2030-01-02",)]
    assert [*await summed(store, until=FIRST)] == [("2030-01-01",)]
    assert len(await summed(store, since=date.min, until=date.max)) == 2


async def test_money_is_summed_exactly(store: SqlRunStore) -> None:
    """Also what a float could not hold, and what has very many digits."""
    ref = await add_running(store)
    amounts = ["0.1", "0.2", "1E-7", "1234567890123456789012", "0.0000000000000000001"]
    calls = [make_call(str(n), cost_usd=Decimal(amount)) for n, amount in enumerate(amounts)]
    await book(store, ref, at(1), *calls)
    (share,) = (await summed(store)).values()
    assert share.cost_usd == Decimal("1234567890123456789012.3000001000000000001")
    assert share.cost_known is True


async def test_one_unknown_price_makes_its_group_unknown_and_no_other(store: SqlRunStore) -> None:
    ref = await add_running(store)
    calls = [
        make_call("1", cost_usd=None, model="a"),
        make_call("2", model="a"),
        make_call("3", model="b"),
    ]
    await book(store, ref, at(1), *calls)
    found = await summed(store, "model")
    assert (found[("a",)].cost_usd, found[("a",)].cost_known) == (None, False)
    assert (found[("b",)].cost_usd, found[("b",)].cost_known) == (Decimal("0.0001"), True)
    total = await SqlSpendingLedger(store.database).total("ada", QUERY)
    assert (total.cost_usd, total.calls, total.input_tokens) == (None, 3, 30)


async def test_groups_are_of_all_that_was_asked_for(store: SqlRunStore) -> None:
    one = await add_running(store, 1, caller_id="key_a")
    two = await add_running(store, 2, caller_id="key_b")
    await book(store, one, at(1), make_call("1", agent="coder"), make_call("2", agent="analyst"))
    await book(store, two, at(2), make_call("1", agent="coder", input_tokens=2**40))
    assert {key: share.calls for (key,), share in (await summed(store, "key")).items()} == {
        "key_a": 2,
        "key_b": 1,
    }
    found = await summed(store, "key", "day", "agent")
    assert [*found] == [
        ("key_a", "2030-01-01", "analyst"),
        ("key_a", "2030-01-01", "coder"),
        ("key_b", "2030-01-02", "coder"),
    ]
    assert found[("key_b", "2030-01-02", "coder")].input_tokens == 2**40


async def test_pages_are_without_holes_and_in_one_order(store: SqlRunStore) -> None:
    """By bytes, whatever a database would take for alphabetical."""
    ref = await add_running(store)
    names = ["a:1", "B:1", "b:2", "ä:1", "Z:0", "a:10"]
    await book(store, ref, at(1), *(make_call(name, model=name) for name in names))
    ledger = SqlSpendingLedger(store.database)
    query = replace(QUERY, group_by=("day", "model"), limit=2)
    seen: list[str] = []
    while True:
        groups = await ledger.groups("ada", query)
        seen += [group.values[1] for group in groups[:2]]
        if len(groups) <= 2:
            break
        query = replace(query, after=groups[1].values)
    assert seen == sorted(names, key=str.encode)


async def test_a_tenant_sees_its_own_spending_only(store: SqlRunStore) -> None:
    mine = await add_running(store, 1)
    theirs = await add_running(store, 2, tenant_id="other")
    await book(store, mine, at(1), make_call("1"))
    await book(store, theirs, at(1), make_call("1"), make_call("2"))
    for by in ("day", "key"):
        (share,) = (await summed(store, by)).values()
        assert share.calls == 1
    (share,) = (await summed(store, tenant="other")).values()
    assert share.calls == 2
    assert await summed(store, tenant="nobody") == {}


async def test_nothing_spent_is_a_known_nothing(store: SqlRunStore) -> None:
    await add_run(store)
    assert await summed(store, "agent") == {}
    assert await SqlSpendingLedger(store.database).total("ada", QUERY) == UsageShare()
