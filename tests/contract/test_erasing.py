"""What every run eraser promises: `domain.keeping.RunEraser`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import CallerError
from domain.ports import RunQuery, RunRef
from service.store import SqlRunStore
from service.store.erasing import ERASED_LIFE, SqlRunEraser
from service.store.housekeeping import SqlRunKeeper
from tests.contract.factories import LATER, NOW, add_run, add_running, finish
from tests.contract.test_housekeeping import kept  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("kept")  # with the tables of checkpoints


async def add_thread(store: SqlRunStore) -> list[RunRef]:
    """Add two runs of a thread that have ended, and one of another."""
    refs = []
    for number in (1, 2, 3):
        thread_id = "thr_a" if number < 3 else "thr_b"
        refs.append(await add_running(store, number, thread_id=thread_id))
        await finish(store, refs[-1])
    return refs


async def listed(store: SqlRunStore, tenant_id: str = "ada") -> list[str]:
    return [run.id for run in await store.find(tenant_id, RunQuery(limit=100))]


async def test_a_run_is_erased_once_and_by_its_tenant_only(store: SqlRunStore) -> None:
    eraser, refs = SqlRunEraser(store.database), await add_thread(store)
    assert not await eraser.erase_run(RunRef("eve", refs[0].run_id), now=NOW)
    assert len(await listed(store)) == 3
    assert await eraser.erase_run(refs[0], now=NOW)
    assert not await eraser.erase_run(refs[0], now=NOW)
    assert await listed(store) == [refs[2].run_id, refs[1].run_id]
    assert [each.ref for each in await eraser.erased(None, limit=9)] == [refs[0]]


async def test_a_thread_is_erased_as_a_whole_and_by_its_tenant_only(store: SqlRunStore) -> None:
    eraser, refs = SqlRunEraser(store.database), await add_thread(store)
    assert await eraser.ended_of("eve", "thr_a") == []
    assert not await eraser.erase_thread("eve", "thr_a", ended=set(refs), now=NOW)
    assert await eraser.ended_of("ada", "thr_a") == refs[:2]
    assert await eraser.erase_thread("ada", "thr_a", ended=set(refs[:2]), now=NOW)
    assert await listed(store) == [refs[2].run_id]
    assert not await eraser.erase_thread("ada", "thr_a", ended=set(), now=NOW)


@pytest.mark.parametrize("last", ["queued", "running", "just ended"])
async def test_of_a_thread_with_a_run_that_is_not_over_nothing_is_erased(
    store: SqlRunStore, last: str
) -> None:
    """Nor where it has ended since it was looked at: its segment may still be writing."""
    eraser, refs = SqlRunEraser(store.database), await add_thread(store)
    if last == "queued":
        await add_run(store, 4, thread_id="thr_a")
    else:
        ref = await add_running(store, 4, thread_id="thr_a")
        if last == "just ended":
            await finish(store, ref)
        else:
            with pytest.raises(CallerError, match="has not ended"):
                await eraser.erase_run(ref, now=NOW)
    before = await listed(store)
    with pytest.raises(CallerError) as refused:
        await eraser.erase_thread("ada", "thr_a", ended=set(refs), now=NOW)
    assert refused.value.code == "run-not-terminal"
    assert await listed(store) == before


async def test_what_was_erased_is_told_in_order_and_forgotten_in_time(store: SqlRunStore) -> None:
    eraser, refs = SqlRunEraser(store.database), await add_thread(store)
    assert await SqlRunKeeper(store.database).delete(before=LATER, now=NOW, limit=1) == refs[:1]
    for number, ref in enumerate(refs[1:]):
        assert await eraser.erase_run(ref, now=NOW + timedelta(seconds=number))
    first = await eraser.erased(None, limit=2)
    rest = await eraser.erased(first[-1], limit=2)
    assert [each.ref for each in [*first, *rest]] == refs
    assert await eraser.erased(rest[-1], limit=2) == []
    keeper = SqlRunKeeper(store.database)
    await keeper.expire_keys(now=NOW + ERASED_LIFE, limit=9)
    assert [each.ref for each in await eraser.erased(None, limit=9)] == refs[2:]
