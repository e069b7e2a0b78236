"""What every run store promises of a fork: its seed is committed with it, and is nobody else's."""

from __future__ import annotations

from typing import Any, Final

import pytest

from domain.approval import ActionStatus
from domain.errors import CallerError
from domain.forking import MadeCall, Seed, SeedSend
from domain.ledger import ActionCall, Standing
from domain.ports import Created, RunRef
from domain.run import ForkedFrom
from service.store import SqlRunStore, actions
from service.store.erasing import SqlRunEraser
from tests.contract.factories import (
    LATER,
    add_run,
    add_running,
    at_once,
    finish,
    make_draft,
    make_key,
    make_run,
    ref_of,
    run_id,
)
from tests.contract.test_housekeeping import kept  # noqa: F401 - a fixture

SEED: Final = Seed(
    state={"task": "Do it", "round": 2, "outcomes": [{"output": "sch\u00f6n \u2028\U0001f600"}]},
    sends=(SeedSend(node="coder", arg={"assignment": {"round": 2}}),),
    earlier="Asked: before",
    made=("sha256:0",),
)
pytestmark = pytest.mark.usefixtures("kept")  # with the tables of checkpoints

PARENT: Final = ForkedFrom(run_id=run_id(1), checkpoint_id="1f0bd5a4-6f3e-6c52-8001-0a7d7b9d3a10")


async def add_fork(store: SqlRunStore, number: int = 2, **more: Any) -> Created:
    """Create a run that was forked from the first."""
    run = make_run(number, forked_from=PARENT)
    return await store.create(run, make_draft(type="run.created"), seed=SEED, **more)


async def test_a_seed_comes_back_as_it_was(store: SqlRunStore) -> None:
    """And of a run that was not forked there is none."""
    parent = await add_run(store)
    made = await add_fork(store)
    ref = ref_of(made.run)
    assert await store.seed(ref) == SEED
    found = await store.get(ref)
    assert found is not None
    assert (found.forked_from, found.links["forked_from"]) == (PARENT, f"/v1/runs/{run_id(1)}")
    assert await store.seed(parent) is None
    first = await store.get(parent)
    assert first is not None
    assert "forked_from" not in first.links
    assert await store.seed(ref._replace(tenant_id="other")) is None


async def test_what_is_refused_leaves_no_seed(store: SqlRunStore) -> None:
    with pytest.raises(CallerError):
        await add_fork(store, refusal=CallerError("overloaded", "Full."))
    assert await store.seed(ref_of(make_run(2))) is None


async def test_a_key_makes_one_with_one_seed(store: SqlRunStore) -> None:
    await add_run(store)
    key = make_key()
    made = await at_once(*(add_fork(store, number, idempotency=key) for number in (2, 3)))
    [run] = {each.run.id for each in made}
    assert sorted(each.replayed for each in made) == [False, True]
    seeds = [await store.seed(ref_of(make_run(number))) for number in (2, 3)]
    assert seeds.count(None) == 1
    assert await store.seed(RunRef(made[0].run.tenant_id, run)) == SEED


async def test_each_is_deleted_alone(store: SqlRunStore) -> None:
    """A fork needs nothing of the run that it was forked from, and takes its seed along."""
    eraser = SqlRunEraser(store.database)
    parent = await add_running(store)
    await finish(store, parent)
    made = await add_fork(store)
    ref = ref_of(made.run)
    assert await eraser.erase_run(parent, now=LATER)
    assert await store.seed(ref) == SEED
    claim = await store.claim(ref, now=LATER)
    assert claim is not None
    assert claim.run.forked_from == PARENT
    await finish(store, ref)
    assert await eraser.erase_run(ref, now=LATER)
    assert await store.seed(ref) is None


async def test_calls_count_that_were_made_or_may_have_been(store: SqlRunStore) -> None:
    """Not those that have failed; and nobody else's."""
    ref = await add_running(store)
    statuses: tuple[ActionStatus | None, ...] = ("done", "in_doubt", "failed", None)
    for number, status in enumerate(statuses):
        call = ActionCall(
            ref=ref,
            attempt=1,
            id=f"apr_{number:032x}",
            agent="coder",
            tool="http_request",
            args={"number": number},
            path="coder",
            round=1,
            call=f"0.{number}",
            steps={},
        )
        await store.database.write(actions.start, call, LATER)
        if status:
            ended = Standing("ended", status, "")
            await store.database.write(actions.end, call, ended, LATER)
    found = await store.made(ref)
    assert sorted(call.args["number"] for call in found) == [0, 1, 3]
    assert found[0] == MadeCall("http_request", found[0].args)
    assert await store.made(ref._replace(tenant_id="other")) == []
