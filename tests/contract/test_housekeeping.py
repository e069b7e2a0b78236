"""What every run keeper promises: `domain.keeping.RunKeeper`, and what is left for whoever goes on."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Final

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from sqlalchemy import func, select, update
from typing_extensions import TypedDict

from domain.errors import CallerError
from domain.events import EventDraft
from domain.ports import RetryWish, RunQuery, RunRef
from domain.run import ACTIVE, RunStatus
from domain.spending import SpendingQuery
from domain.usage import cached_call
from service.checkpoints import Checkpoints, MemoryCheckpoints, open_sqlite_checkpoints
from service.ids import SystemClock
from service.store import SqliteDatabase, SqlRunStore, is_postgres, sqlite_path
from service.store.housekeeping import EVENTS_AT_ONCE, SETTLING, SqlRunKeeper
from service.store.keys import KEY_LIFE
from service.store.spending import SqlSpendingLedger
from service.store.tables import erased_keys, events, idempotency, run_tags, runs, usage
from tests.contract.factories import (
    LATER,
    NOW,
    add_run,
    add_running,
    all_events,
    append,
    at_once,
    cancel,
    finish,
    make_call,
    make_key,
    make_run,
    ref_of,
)

MUCH_LATER: Final = NOW + timedelta(days=400)


class Words(TypedDict):
    said: Annotated[list[str], operator.add]


class Kept:
    """A store with its checkpoints and what keeps both small."""

    def __init__(self, store: SqlRunStore, checkpoints: Checkpoints) -> None:
        self.store = store
        self.checkpoints = checkpoints
        self.keeper = SqlRunKeeper(store.database)
        self._memory = checkpoints if isinstance(checkpoints, MemoryCheckpoints) else None

    async def trim(self, now: datetime = MUCH_LATER, limit: int = 100) -> list[RunRef]:
        done = await self.keeper.trim(now=now, limit=limit)
        if self._memory:
            self._memory.trim(ref.run_id for ref in done)
        return done

    async def prune(self, before: datetime = MUCH_LATER, limit: int = 100) -> list[RunRef]:
        done = await self.keeper.prune(before=before, limit=limit)
        if self._memory:
            self._memory.prune(ref.run_id for ref in done)
        return done

    async def clear(self, before: datetime = MUCH_LATER, limit: int = 100) -> list[RunRef]:
        return await self.keeper.clear(before=before, limit=limit)

    async def delete(self, before: datetime = MUCH_LATER, limit: int = 100) -> list[RunRef]:
        done = await self.keeper.delete(before=before, now=MUCH_LATER, limit=limit)
        if self._memory:
            self._memory.delete(ref.run_id for ref in done)
        return done

    async def execute(self, ref: RunRef, *, cut_off: bool = False) -> None:
        """Run a graph of two steps, the first with steps of its own, as a segment does."""
        run = await self.store.get(ref)
        assert run is not None
        async with self.checkpoints.segment(run) as saver:
            graph = make_graph(cut_off=cut_off).compile(checkpointer=saver)
            try:
                await graph.ainvoke({"said": ["go"]}, config_of(ref), durability="sync")
            except LookupError:
                assert cut_off
            await self.checkpoints.flush(ref.run_id)

    async def state(self, ref: RunRef) -> Any:
        graph = make_graph().compile(checkpointer=self.checkpoints.saver)
        return await graph.aget_state(config_of(ref), subgraphs=True)

    async def saved(self, ref: RunRef) -> list[tuple[str, str, Any]]:
        """Return namespace, id and values of every checkpoint of a run, the newest first."""
        found = [
            (own["checkpoint_ns"], own["checkpoint_id"], each.checkpoint["channel_values"])
            async for each in self.checkpoints.saver.alist(config_of(ref))
            if (own := each.config["configurable"])
        ]
        return sorted(found, key=lambda each: each[1], reverse=True)

    async def all_of(self, ref: RunRef) -> Any:
        """Return everything there is of a run."""
        return (
            await self.store.get(ref),
            await all_events(self.store, ref),
            await self.saved(ref),
        )


def config_of(ref: RunRef) -> RunnableConfig:
    return {"configurable": {"thread_id": ref.run_id}}


def make_graph(*, cut_off: bool = False) -> Any:
    """Return a graph whose agent thinks and acts; `cut_off`: it never comes to act."""

    async def think(_: Words) -> Words:
        return {"said": ["thought"]}

    async def act(_: Words) -> Words:
        if cut_off:
            raise LookupError
        return {"said": ["acted"]}

    async def answer(_: Words) -> Words:
        return {"said": ["answered"]}

    agent: Any = StateGraph(Words)
    agent.add_node("think", think)
    agent.add_node("act", act)
    agent.add_edge(START, "think")
    agent.add_edge("think", "act")
    agent.add_edge("act", END)
    graph: Any = StateGraph(Words)
    graph.add_node("agent", agent.compile())
    graph.add_node("answer", answer)
    graph.add_edge(START, "agent")
    graph.add_edge("agent", "answer")
    graph.add_edge("answer", END)
    return graph


@pytest.fixture
async def kept(store: SqlRunStore, url: str) -> AsyncIterator[Kept]:
    """Open the checkpoints in the store's database."""
    async with AsyncExitStack() as stack:
        path = sqlite_path(url)
        checkpoints: Checkpoints = MemoryCheckpoints(store.database, SystemClock())
        if path and isinstance(store.database, SqliteDatabase):
            opened = open_sqlite_checkpoints(path, store.database, SystemClock())
            checkpoints = await stack.enter_async_context(opened)
        elif is_postgres(url):
            from service.checkpoints.postgres import open_postgres_checkpoints
            from service.store.postgres import conninfo

            pool = open_postgres_checkpoints(conninfo(url), SystemClock(), pool_size=2)
            checkpoints = await stack.enter_async_context(pool)
        yield Kept(store, checkpoints)


async def add_finished(kept: Kept, number: int = 1, status: RunStatus = "completed") -> RunRef:
    """Add a run that has been executed to its end, with everything a run can have."""
    ref = await add_running(kept.store, number, tags=["red"])
    await append(kept.store, ref, "a", "b")
    await kept.store.append(ref, attempt=1, drafts=[], calls=[make_call("c")], now=NOW)
    await kept.execute(ref)
    if status == "cancelled":
        await cancel(kept.store, ref)
    else:
        await finish(kept.store, ref, status)
    return ref


async def count(kept: Kept, table: Any) -> int:
    rows = select(func.count()).select_from(table)
    return await kept.store.database.read(lambda connection: connection.execute(rows).scalar_one())


async def change(kept: Kept, ref: RunRef, **values: Any) -> None:
    """Change a run's row without asking how that could have come about."""
    statement = update(runs).where(runs.c.id == ref.run_id).values(**values)
    await kept.store.database.write(lambda connection: connection.execute(statement).close())


async def do_everything(kept: Kept) -> None:
    for chore in (kept.trim, kept.prune, kept.clear, kept.delete):
        while await chore():
            pass


async def test_of_a_trimmed_run_its_own_steps_are_left(kept: Kept) -> None:
    ref = await add_finished(kept)
    before = await kept.saved(ref)
    state = await kept.state(ref)
    assert {namespace.partition(":")[0] for namespace, _, _ in before} == {"", "agent"}
    assert await kept.trim() == [ref]
    assert await kept.saved(ref) == [each for each in before if not each[0]]
    assert await kept.state(ref) == state
    assert state.values["said"][-1] == "answered"
    assert len(await all_events(kept.store, ref)) == 4


async def test_an_agent_that_was_cut_off_keeps_its_steps_until_the_run_is_pruned(
    kept: Kept,
) -> None:
    ref = await add_running(kept.store)
    await kept.execute(ref, cut_off=True)
    await finish(kept.store, ref, "failed")
    before = await kept.saved(ref)
    assert await kept.trim() == [ref]
    (task,) = (await kept.state(ref)).tasks
    assert task.state.values["said"] == ["go", "thought"]
    assert await kept.saved(ref) == before
    await kept.prune()
    (task,) = (await kept.state(ref)).tasks
    assert (task.name, [namespace for namespace, _, _ in await kept.saved(ref)]) == ("agent", [""])


async def test_a_pruned_run_can_still_be_read_where_it_ended(kept: Kept) -> None:
    ref = await add_finished(kept)
    newest = next(each for each in await kept.saved(ref) if not each[0])
    assert await kept.prune() == [ref]
    assert await kept.saved(ref) == [newest]
    state = await kept.state(ref)
    assert (state.values, state.next) == (newest[2], ())
    assert await kept.checkpoints.saver.aget_tuple(config_of(ref)) is not None


async def test_of_a_cleared_run_the_event_that_ended_it_is_left(kept: Kept) -> None:
    ref = await add_finished(kept)
    log, run = await all_events(kept.store, ref), await kept.store.get(ref)
    assert await kept.clear() == [ref]
    assert await all_events(kept.store, ref) == log[-1:]
    assert log[-1].terminal
    assert await kept.store.get(ref) == run


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "cancelled"])
async def test_nothing_is_left_of_a_deleted_run(kept: Kept, status: RunStatus) -> None:
    ref = await add_finished(kept, status=status)
    assert await kept.delete() == [ref]
    if isinstance(kept.checkpoints, MemoryCheckpoints):
        memory: Any = kept.checkpoints.saver
        assert not memory.storage
        assert not memory.writes
        assert not memory.blobs
    assert await kept.all_of(ref) == (None, [], [])
    assert [await count(kept, t) for t in (runs, events, run_tags, usage)] == [0, 0, 0, 0]
    assert await kept.store.find(ref.tenant_id, RunQuery(tag="red")) == []


async def test_the_key_of_a_deleted_run_makes_no_second_one_within_its_time(kept: Kept) -> None:
    draft = EventDraft(type="run.created", data={})
    first = await kept.store.create(make_run(1), draft, idempotency=make_key())
    await cancel(kept.store, ref_of(first.run))
    await kept.delete()
    with pytest.raises(CallerError) as refused:
        await kept.store.create(make_run(2), draft, idempotency=make_key(digest="d2"))
    assert refused.value.code == "run-deleted"
    assert await kept.store.find("ada", RunQuery()) == []
    late = make_run(3, created_at=NOW + KEY_LIFE + timedelta(seconds=1))
    assert not (await kept.store.create(late, draft, idempotency=make_key())).replayed
    await cancel(kept.store, ref_of(late))
    await kept.delete()
    assert [await count(kept, t) for t in (runs, idempotency, erased_keys)] == [0, 0, 1]
    assert await kept.keeper.expire_keys(now=MUCH_LATER, limit=10) == 0
    assert await count(kept, erased_keys) == 0


async def test_what_deleted_runs_have_cost_stays_in_the_sums(kept: Kept) -> None:
    ledger, query = (
        SqlSpendingLedger(kept.store.database),
        SpendingQuery(
            since=NOW.date(), until=NOW.date(), group_by=("day", "agent", "model", "key")
        ),
    )
    calls = [
        make_call("1", cost_usd=Decimal("0.1")),
        make_call("2", cost_usd=Decimal("1E-9"), agent="analyst"),
        make_call("3", metered=False, cost_usd=None, most_cost_usd=Decimal("0.3"), most_tokens=9),
        cached_call("4", "coder", "m-1", "fast", Decimal("0.2")),
    ]
    for number in (1, 2, 3):
        ref = await add_running(kept.store, number)
        await kept.store.append(ref, attempt=1, drafts=[], calls=calls, now=NOW)
        await finish(kept.store, ref)
    day = await kept.store.spent_since("ada", "default", NOW.replace(hour=0))
    before = await ledger.groups("ada", query), await ledger.total("ada", query), day
    for _ in range(3):
        assert len(await kept.delete(limit=1)) == 1
        day = await kept.store.spent_since("ada", "default", NOW.replace(hour=0))
        assert (await ledger.groups("ada", query), await ledger.total("ada", query), day) == before
    assert await count(kept, usage) == 0
    assert (await ledger.total("eve", query)).calls == 0
    early = SpendingQuery(since=date.min, until=NOW.date() - timedelta(days=1), group_by=("day",))
    assert await ledger.groups("ada", early) == []


@pytest.mark.parametrize("names", ["tpcd", "ptcd", "cptd", "ctpd", "cpd", "td", "cd", "pcd", "tcd"])
async def test_whatever_has_been_done_before_the_rest_is_done_once(kept: Kept, names: str) -> None:
    ref = await add_finished(kept)
    chores: dict[str, Callable[[], Awaitable[list[RunRef]]]] = {
        each.__name__[0]: each for each in (kept.trim, kept.prune, kept.clear, kept.delete)
    }
    done = ""
    for name in names:
        # What was pruned has nothing left to trim.
        expected = [] if name == "t" and "p" in done else [ref]
        assert await chores[name]() == expected
        assert await chores[name]() == []
        done += name
    assert await kept.store.get(ref) is None


@pytest.mark.parametrize("status", sorted(ACTIVE))
async def test_a_run_that_has_not_ended_is_never_touched(kept: Kept, status: RunStatus) -> None:
    ref = await add_running(kept.store)
    await append(kept.store, ref, "a")
    await kept.execute(ref, cut_off=True)
    # Also one that went on after it had ended.
    for ended_at in (None, NOW):
        await change(kept, ref, status=status, ended_at=ended_at)
        before = await kept.all_of(ref)
        await do_everything(kept)
        assert await kept.all_of(ref) == before


async def test_other_runs_are_left_as_they_are(kept: Kept) -> None:
    old, young, running = (
        await add_finished(kept, 1),
        await add_finished(kept, 2),
        await add_running(kept.store, 3),
    )
    await kept.execute(running)
    await change(kept, young, ended_at=MUCH_LATER)
    before = [await kept.all_of(ref) for ref in (young, running)]
    early = LATER + timedelta(days=1)
    assert await kept.trim(early) == await kept.prune(early) == [old]
    assert await kept.clear(early) == await kept.delete(early) == [old]
    assert [await kept.all_of(ref) for ref in (young, running)] == before


async def test_age_counts_from_the_end(kept: Kept) -> None:
    ref = await add_finished(kept)
    moment = timedelta(microseconds=1)
    for chore in (kept.trim, kept.prune, kept.clear, kept.delete):
        assert await chore(LATER - moment) == []
        assert await chore(LATER) == [ref]


async def test_a_cancelled_run_is_trimmed_when_its_segment_has_had_time_to_stop(
    kept: Kept,
) -> None:
    ref = await add_finished(kept, status="cancelled")
    assert await kept.trim(LATER + SETTLING - timedelta(seconds=1)) == []
    assert await kept.trim(LATER + SETTLING) == [ref]


async def test_a_batch_has_so_many_runs_and_so_many_events(kept: Kept) -> None:
    refs = [await add_finished(kept, number) for number in range(5)]
    assert len(await kept.trim(limit=2)) == 2
    assert len(await kept.trim(limit=2)) == 2
    assert len(await kept.trim(limit=2)) == 1
    for ref in refs:
        await change(kept, ref, last_seq=EVENTS_AT_ONCE)
    assert [len(await kept.clear()) for _ in range(6)] == [1, 1, 1, 1, 1, 0]


async def test_two_housekeepers_share_the_work(kept: Kept) -> None:
    refs = [await add_finished(kept, number) for number in range(12)]

    async def work(chore: Callable[..., Awaitable[list[RunRef]]]) -> list[RunRef]:
        done: list[RunRef] = []
        while batch := await chore(limit=2):
            done += batch
        return done

    for chore in (kept.trim, kept.prune, kept.clear, kept.delete):
        one, other = await at_once(work(chore), work(chore))
        # One that found all that was left taken may have ended first; nothing is done twice.
        assert sorted([*one, *other]) == sorted(refs)
    assert await count(kept, runs) == 0


async def test_idempotency_records_go_when_they_count_no_more(kept: Kept) -> None:
    draft = EventDraft(type="run.created", data={})
    for number in range(3):
        run = make_run(number, created_at=NOW + timedelta(hours=number))
        await kept.store.create(run, draft, idempotency=make_key(f"k{number}"))
    at = NOW + timedelta(hours=49)
    assert await kept.keeper.expire_keys(now=at - timedelta(hours=2), limit=9) == 0
    assert await kept.keeper.expire_keys(now=at, limit=1) == 1
    assert await kept.keeper.expire_keys(now=at, limit=9) == 1
    assert await kept.keeper.expire_keys(now=at, limit=9) == 0
    assert await count(kept, idempotency) == 1
    assert await count(kept, runs) == 3


async def test_unknown_runs_are_told_from_those_of_the_tenant(kept: Kept) -> None:
    ref = await add_run(kept.store)
    others = [RunRef("bob", ref.run_id), RunRef(ref.tenant_id, "run_none")]
    assert await kept.keeper.unknown([ref, *others]) == others
    assert await kept.keeper.unknown([]) == []


async def test_a_run_that_is_not_kept_cannot_be_retried(kept: Kept) -> None:
    """What is tidied a moment after its end can; it is tidied anew after the next one."""
    store = kept.store
    retry = partial(store.retry, wish=RetryWish(), now=LATER)
    pruned, cleared, trimmed = [await add_running(store, number) for number in (1, 2, 3)]
    await finish(store, pruned, "failed")
    assert await kept.prune() == [pruned]
    with pytest.raises(CallerError, match="SIGNALBOX_KEEP_CHECKPOINTS_DAYS"):
        await retry(pruned)
    await finish(store, cleared, "failed")
    assert cleared in await kept.clear()
    with pytest.raises(CallerError, match="SIGNALBOX_KEEP_EVENTS_DAYS"):
        await retry(cleared)
    await finish(store, trimmed, "failed")
    assert trimmed in await kept.trim()
    assert await retry(trimmed)
    assert await kept.prune() == [cleared]
    assert await store.claim(trimmed, now=LATER)
    await finish(store, trimmed, "failed", attempt=2)
    assert await kept.trim() == [trimmed]
