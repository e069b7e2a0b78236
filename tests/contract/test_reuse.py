"""One answer for the same task: who works on it, who waits for it, and who takes whose place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import pytest
from sqlalchemy import update

from domain.approval import Ask, Decision, open_approval
from domain.deciding import Verdict
from domain.events import EventDraft
from domain.limits import Limits
from domain.ports import Created, RunPatch, RunRef
from domain.run import Degraded, Reused, Run, RunStatus
from service.store import SqlRunStore, open_store
from service.store.reuse import MOST_FOLLOWERS
from service.store.tables import runs
from service.store.waiting import approval_draft
from tests.contract.factories import (
    LATER,
    NOW,
    add_run,
    add_running,
    at_once,
    cancel,
    finish,
    last_draft,
    make_ending,
    make_run,
    ref_of,
)

MINUTES: Final = 3600
SAME: Final[dict[str, Any]] = {"cache_key": "k", "cache_seconds": MINUTES, "created_at": LATER}


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[SqlRunStore, SqlRunStore]]:
    """Open the store, on Postgres twice: two processes."""
    async with open_store(url, owner="shared" if url.startswith("postgres") else "alone") as one:
        if not url.startswith("postgres"):
            yield one, one
            return
        async with open_store(url, owner="shared") as other:
            yield one, other


async def create(store: SqlRunStore, number: int, **changes: Any) -> Run:
    """Create a run with the task of all of them."""
    made: Created = await store.create(
        make_run(number, **{**SAME, **changes}), EventDraft(type="run.created", data={})
    )
    return made.run


async def all_of(store: SqlRunStore, count: int) -> list[Run]:
    """Return the first runs."""
    found = [await store.get(ref_of(make_run(n))) for n in range(1, count + 1)]
    return [run for run in found if run]


async def test_of_runs_created_at_once_one_leads(two: tuple[SqlRunStore, SqlRunStore]) -> None:
    await at_once(*(create(two[n % 2], n) for n in range(1, 41)))
    found = await all_of(two[0], 40)
    [leader] = [run for run in found if run.leader_id is None]
    assert {run.leader_id for run in found} == {None, leader.id}
    assert await two[0].runnable(limit=50, exclude=[]) == [ref_of(leader)]
    for run in found:
        if run is not leader:
            assert await two[1].claim(ref_of(run), now=NOW) is None
    assert await two[1].claim(ref_of(leader), now=NOW) is not None


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_nobody_is_left_behind_by_an_ending_among_creates(
    two: tuple[SqlRunStore, SqlRunStore], status: RunStatus
) -> None:
    """Whoever is created while the leader ends has its answer, or follows one that can be claimed."""
    await create(two[0], 1)
    first = ref_of(make_run(1))
    await two[0].claim(first, now=NOW)

    async def end() -> None:
        await finish(two[1], first, status)

    async def make(number: int) -> None:
        await create(two[number % 2], number)

    await at_once(*(make(n) for n in range(2, 12)), end(), *(make(n) for n in range(12, 22)))
    found = await all_of(two[0], 21)
    assert found[0].status == status
    waiting = [run for run in found if run.status == "queued"]
    if status == "completed":
        assert waiting == []
        assert all(run.cache and run.cache.run_id == first.run_id for run in found[1:])
    else:
        [leader] = [run for run in waiting if run.leader_id is None]
        assert {run.leader_id for run in waiting} == {None, leader.id}
        assert len(waiting) == 20


async def test_an_ending_that_cannot_be_shared_passes_the_place_on(store: SqlRunStore) -> None:
    """Failed, cancelled, incomplete or degraded: the oldest follower leads the others now."""
    endings: dict[int, RunStatus] = {1: "failed", 2: "incomplete"}
    for number in range(1, 7):
        await create(store, number)
    for number, status in endings.items():
        await store.claim(ref_of(make_run(number)), now=NOW)
        await finish(store, ref_of(make_run(number)), status)
    assert await store.runnable(limit=9, exclude=[]) == [ref_of(make_run(3))]
    await cancel(store, ref_of(make_run(3)))
    leader = ref_of(make_run(4))
    await store.claim(leader, now=NOW)
    ending = replace(make_ending(), degraded=(Degraded(agent="coder", reason="gone"),))
    ended = await store.finish(
        leader, attempt=1, ending=ending, drafts=[last_draft("completed")], now=LATER
    )
    assert ended is not None
    assert ended.followers == ()
    await store.claim(ref_of(make_run(5)), now=NOW)
    ended = await store.finish(
        ref_of(make_run(5)),
        attempt=1,
        ending=make_ending(),
        drafts=[last_draft("completed")],
        now=LATER,
    )
    assert ended is not None
    [(last, told)] = ended.followers
    assert (last.id, last.status, last.result) == (make_run(6).id, "completed", ended.run.result)
    assert [event.type for event in told] == ["cache.hit", "run.completed"]
    assert [event.seq for event in told] == [2, 3]
    assert last == await store.get(ref_of(last))


async def test_what_a_person_has_answered_before_the_run_waits_is_its_own(
    store: SqlRunStore,
) -> None:
    """The run never waits then, and is shared all the same with nobody."""
    ref = await add_running(store, 1, **SAME)
    follower = await create(store, 2)
    asked = Ask(
        id="apr_1", type="input", agent="coder", path="coder", round=1, call="0.0", tool=None, args={},
        description="Which coast?", response_schema={}, by="any",
    )  # fmt: skip
    approval = open_approval(asked, run=make_run(), now=NOW, seconds=None, on_expiry="reject")
    draft = replace(approval_draft("approval.requested", approval), approval=approval)
    await store.append(ref, attempt=1, drafts=[draft], calls=[], now=NOW)
    answer = Verdict(approval_id="apr_1", decision=Decision(type="respond", message="The north."))
    await store.approvals.decide("ada", [answer], by="default", now=NOW)
    waiting = await store.approvals.wait_for(
        ref, attempt=1, approval_ids=["apr_1"], since=None, now=LATER
    )
    assert waiting.answers
    await finish(store, ref)
    assert await store.get(ref_of(follower)) == follower.model_copy(update={"leader_id": None})
    assert (await create(store, 3)).leader_id == follower.id


async def test_an_answer_is_as_old_as_what_it_rests_on(store: SqlRunStore) -> None:
    """Who follows has what is older than its wait only as far as it might have found it itself."""
    ref = await add_running(store, 1, **SAME)
    anybody = ref_of(await create(store, 2))
    patient = ref_of(await create(store, 3, cache_web=True))
    strict = ref_of(await create(store, 4, cache_web=True, cache_seconds=600))
    hit = {"kind": "tool", "run_id": "run_other", "age": 1200, "saved_cost_usd": None}
    await store.append(
        ref, attempt=1, drafts=[EventDraft(type="cache.hit", data=hit)], calls=[], now=LATER
    )
    ended = await store.finish(
        ref,
        attempt=1,
        ending=replace(make_ending(), fleeting=True),
        drafts=[last_draft("completed")],
        now=LATER,
    )
    assert ended is not None
    assert [run.id for run, _ in ended.followers] == [patient.run_id]
    assert ended.followers[0][0].cache == Reused(run_id=ref.run_id, age=1201)
    assert await store.runnable(limit=9, exclude=[]) == [anybody]
    left = await store.get(strict)
    assert left is not None
    assert (left.status, left.leader_id) == ("queued", anybody.run_id)
    for each in (anybody, strict):
        await cancel(store, each)
    assert (await create(store, 5, cache_web=True, cache_seconds=1200)).cache is None
    await cancel(store, ref_of(make_run(5)))
    assert (await create(store, 6, cache_web=True, cache_seconds=1201)).cache is not None


async def test_nobody_follows_a_run_that_began_before_it_would_take_an_answer(
    store: SqlRunStore,
) -> None:
    ref = await add_running(store, 1, **SAME)
    late = await create(store, 2, created_at=LATER, cache_seconds=30)
    assert late.leader_id is None
    assert (await create(store, 3, created_at=LATER, cache_seconds=60)).leader_id == ref.run_id


async def test_who_gets_another_tier_shares_nothing_any_more(store: SqlRunStore) -> None:
    """Other models may work on it than on what it follows, or what follows it."""
    ref = await add_running(store, 1, **SAME)
    second, third, fourth = [ref_of(await create(store, number)) for number in (2, 3, 4)]
    patch = RunPatch(by="ada", limits=Limits(max_tier="fast"))
    done = await store.patch(ref, patch, now=NOW)
    assert done is not None
    assert done.claimable == {second}
    done = await store.patch(third, patch, now=NOW)
    assert done is not None
    assert done.claimable == {third}
    assert await store.runnable(limit=9, exclude=[]) == [second, third]
    await finish(store, ref)
    last = await store.get(fourth)
    assert last is not None
    assert (last.status, last.leader_id) == ("queued", second.run_id)
    assert (await create(store, 5)).leader_id == second.run_id


async def test_only_so_many_follow_one(store: SqlRunStore) -> None:
    for number in range(1, MOST_FOLLOWERS + 4):
        await create(store, number)
    found = await all_of(store, MOST_FOLLOWERS + 3)
    leaders = [run.id for run in found if run.leader_id is None]
    assert leaders == [make_run(1).id, make_run(MOST_FOLLOWERS + 2).id]


async def test_a_follower_whose_leader_ended_unseen_may_be_claimed(store: SqlRunStore) -> None:
    """A version that knows nothing of followers leaves them behind."""
    leader = await add_running(store, 1, **SAME)
    follower = ref_of(await create(store, 2))
    await store.database.write(
        lambda connection: connection.execute(
            update(runs).where(runs.c.id == leader.run_id).values(status="completed")
        )
    )
    assert await store.runnable(limit=9, exclude=[]) == [follower]
    claimed = await store.claim(follower, now=NOW)
    assert claimed is not None
    assert claimed.run.leader_id is None


async def test_a_follower_that_was_begun_unseen_goes_on_by_itself(store: SqlRunStore) -> None:
    """A version that knows nothing of followers has claimed it, and had it wait for a person."""
    leader = await add_running(store, 1, **SAME)
    follower = ref_of(await create(store, 2))
    await store.database.write(
        lambda connection: connection.execute(
            update(runs).where(runs.c.id == follower.run_id).values(attempt=1)
        )
    )
    assert await store.runnable(limit=9, exclude=[]) == [follower]
    await finish(store, leader)
    assert await store.runnable(limit=9, exclude=[]) == [follower]


async def test_tenants_share_nothing(store: SqlRunStore) -> None:
    ref = await add_running(store, 1, **SAME)
    other = await create(store, 2, tenant_id="bob")
    await finish(store, ref)
    later = await create(store, 3, tenant_id="bob")
    assert (other.leader_id, later.leader_id, later.status) == (None, other.id, "queued")
    assert (await create(store, 4)).cache is not None


async def test_an_answer_is_given_while_it_is_young_enough(store: SqlRunStore) -> None:
    ref = await add_running(store, 1, **SAME)
    await finish(store, ref)
    assert (await create(store, 2, cache_seconds=0)).cache is None
    await cancel(store, RunRef("ada", make_run(2).id))
    late = LATER.replace(hour=LATER.hour + 1)
    young = await create(store, 3, created_at=late)
    assert young.cache is not None
    assert young.cache.age == MINUTES
    old = await create(store, 4, created_at=late.replace(microsecond=999_999))
    assert (old.cache, old.leader_id) == (None, None)
    assert await add_run(store, 5, cache_key=None)
