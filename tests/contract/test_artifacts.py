"""Artifacts are written down with the events that tell of them, and are part of what a run came to."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, func, select

from domain.artifact import MAX_ARTIFACT_BYTES, Artifact
from domain.errors import OwnershipLostError
from domain.events import EventDraft
from domain.ports import RunRef
from domain.problems import make_problem
from domain.run import Ending, Run, RunResult, RunStatus
from service.store import SqlRunStore
from service.store.tables import artifacts, runs
from tests.contract.factories import (
    LATER,
    add_run,
    add_running,
    all_events,
    artifact_draft,
    cancel,
    finish,
    last_draft,
    make_artifact,
    make_ending,
)


async def leave(store: SqlRunStore, ref: RunRef, *left: Artifact, attempt: int = 1) -> None:
    """Append the events of artifacts, in one batch."""
    before = len(await all_events(store, ref))
    drafts = [artifact_draft(each, f"{before + number}.0") for number, each in enumerate(left)]
    await store.append(ref, attempt=attempt, drafts=drafts, calls=[], now=LATER)


async def rows(store: SqlRunStore) -> int:
    """Return how many artifacts of whatever run are written down."""
    counted = select(func.count()).select_from(artifacts)
    return await store.database.read(lambda connection: connection.execute(counted).scalar_one())


def told(run: Run | None) -> list[Artifact] | None:
    """Return the artifacts of a run's result; `None` where it has no result."""
    assert run is not None
    return None if run.result is None else run.result.artifacts


async def test_an_artifact_is_there_with_its_event(store: SqlRunStore) -> None:
    ref = await add_running(store)
    chart, data = make_artifact(), make_artifact("data/a.csv", size=MAX_ARTIFACT_BYTES * 200)
    await leave(store, ref, data, chart)
    assert await store.artifacts.of_run(ref) == [chart, data]
    assert await store.artifacts.find(ref, "data/a.csv") == data
    assert await store.artifacts.find(ref, "data") is None
    run = await store.get(ref)
    assert run is not None
    assert run.result is None, "a run that executes has no result"


async def test_the_last_version_counts(store: SqlRunStore) -> None:
    """In one batch, in another, and from another agent."""
    ref = await add_running(store)
    first, second = make_artifact(sha256="1" * 64), make_artifact(sha256="2" * 64)
    await leave(store, ref, first, second)
    assert await store.artifacts.of_run(ref) == [second]
    third = make_artifact(sha256="3" * 64, size=9, agent="analyst", media_type="text/plain")
    await leave(store, ref, third)
    assert await store.artifacts.of_run(ref) == [third]
    assert len([e for e in await all_events(store, ref) if e.type == "artifact.created"]) == 3


async def test_names_of_any_kind_are_kept_and_sorted_alike(store: SqlRunStore) -> None:
    """Every database has an order of its own, and a bound on what a key may be."""
    ref = await add_running(store)
    long = "".join(chr(0x4E00 + 37 * number % 20_000) for number in range(333))
    names = ["", " ", "B", "a", "a b%.png", "b", "e\nf", "é", "'; --", "😀", long]
    await leave(store, ref, *(make_artifact(name) for name in names))
    found = [artifact["name"] for artifact in await store.artifacts.of_run(ref)]
    assert found == sorted(names)
    for name in names:
        assert await store.artifacts.find(ref, name) == make_artifact(name)


async def test_runs_and_tenants_do_not_see_each_others(store: SqlRunStore) -> None:
    mine, other = await add_running(store), await add_running(store, 2)
    await leave(store, mine, make_artifact())
    stranger = RunRef("bob", mine.run_id)
    assert await store.artifacts.of_run(stranger) == await store.artifacts.of_run(other) == []
    assert await store.artifacts.find(stranger, "chart.png") is None
    assert await store.artifacts.find(other, "chart.png") is None


async def test_a_run_that_was_lost_leaves_nothing_more(store: SqlRunStore) -> None:
    ref = await add_running(store)
    assert await store.claim(ref, now=LATER) is not None
    with pytest.raises(OwnershipLostError):
        await leave(store, ref, make_artifact(), attempt=1)
    assert await rows(store) == 0


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
async def test_an_ended_run_names_its_artifacts(store: SqlRunStore, status: RunStatus) -> None:
    """Also those of its last events, and in the event that tells of its end."""
    ref = await add_running(store)
    old, new = make_artifact("z.txt"), make_artifact("a.txt")
    await leave(store, ref, old)
    ended = await store.finish(
        ref,
        attempt=1,
        ending=make_ending(status),
        drafts=[artifact_draft(new, "9.0"), last_draft(status)],
        now=LATER,
    )
    assert ended is not None
    run, events, _ = ended
    assert told(run) == [new, old]
    assert told(await store.get(ref)) == [new, old]
    assert events[-1].data["run"]["result"]["artifacts"] == [new, old]
    assert run.result is not None
    assert run.result.output == ("" if status == "failed" else "Three.")
    assert await store.artifacts.of_run(ref) == [new, old]


async def test_the_last_events_may_tell_of_the_only_artifact(store: SqlRunStore) -> None:
    ref = await add_running(store)
    draft = artifact_draft(make_artifact())
    ended = await store.finish(
        ref,
        attempt=1,
        ending=make_ending(),
        drafts=[draft, last_draft("completed")],
        now=LATER,
    )
    assert ended is not None
    assert told(ended[0]) == [make_artifact()]


async def test_a_failed_run_with_a_result_keeps_it(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await leave(store, ref, make_artifact())
    ending = Ending(
        status="failed",
        stop_reason="error",
        result=RunResult(output="partly"),
        error=make_problem("agents-failed", "No agent."),
    )
    ended = await store.finish(
        ref, attempt=1, ending=ending, drafts=[last_draft("failed")], now=LATER
    )
    assert ended is not None
    assert ended[0].result == RunResult(output="partly", artifacts=[make_artifact()])


async def test_a_cancelled_run_names_what_was_there(store: SqlRunStore) -> None:
    ref, empty = await add_running(store), await add_running(store, 2)
    await leave(store, ref, make_artifact())
    assert told(await cancel(store, ref)) == [make_artifact()]
    assert told(await store.get(ref)) == [make_artifact()]
    assert told(await cancel(store, empty)) is None


async def test_a_run_that_makes_place_for_another_names_them_too(store: SqlRunStore) -> None:
    ref = await add_running(store)
    await leave(store, ref, make_artifact())
    run = (await store.get(ref)).model_copy(update={"id": "run_00000009", "attempt": 0})  # type: ignore[union-attr]  # it is there
    created = await store.create(
        run.model_copy(update={"status": "queued", "started_at": None}),
        EventDraft(type="run.created", data={}),
        strategy="interrupt",
    )
    ((interrupted, _),) = created.interrupted
    assert told(interrupted) == [make_artifact()]
    assert told(created.run) is None


async def test_a_run_without_artifacts_ends_as_ever(store: SqlRunStore) -> None:
    ref = await add_running(store)
    run = await finish(store, ref)
    assert told(run) == []
    failed = await add_running(store, 2)
    assert told(await finish(store, failed, "failed")) is None


async def test_artifacts_go_with_their_run(store: SqlRunStore) -> None:
    ref, young = await add_running(store), await add_run(store, 2)
    await leave(store, ref, make_artifact(), make_artifact("b"))
    await finish(store, ref)
    gone = delete(runs).where(runs.c.id == ref.run_id)
    await store.database.write(lambda connection: connection.execute(gone).close())
    assert await rows(store) == 0
    assert await store.get(young) is not None
