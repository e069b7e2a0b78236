"""Makes runs, drafts and calls with sane defaults, and walks a run to where a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar, cast

from sqlalchemy import update

from domain.artifact import Artifact, artifact_url
from domain.errors import OwnershipLostError
from domain.events import TERMINAL_TYPES, Event, EventDraft
from domain.limits import NO_LIMITS, NOTHING_SPENT, budget_of
from domain.ports import IdempotencyKey, RunRef
from domain.run import Ending, Run, RunResult, RunStatus
from domain.usage import ModelCall
from service.store import SqlRunStore
from service.store.tables import runs

NOW: Final = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER: Final = NOW + timedelta(minutes=1)

T = TypeVar("T")


def run_id(number: int) -> str:
    """Return the id of the n-th run; ids sort by number."""
    return f"run_{number:08d}"


def make_run(number: int = 1, **changes: Any) -> Run:
    """Return a queued run of its own thread."""
    values = {
        "id": run_id(number),
        "tenant_id": "ada",
        "thread_id": f"thread_{number}",
        "status": "queued",
        "task": "Count the trains.",
        "budget": budget_of(NO_LIMITS, max_rounds=4, rounds=0, spent=NOTHING_SPENT),
        "graph_version": "g1",
        "engine": "model",
        "created_at": NOW + timedelta(seconds=number),
    }
    return Run.model_validate({**values, **changes})


def make_draft(call: object = "", **changes: Any) -> EventDraft:
    """Return a draft whose key differs by `call`."""
    values: dict[str, Any] = {"type": "agent.completed", "data": {"call": str(call)}}
    return EventDraft(**{**values, "call": str(call), **changes})


def make_artifact(name: str = "chart.png", *, number: int = 1, **changes: Any) -> Artifact:
    """Return an artifact of the n-th run."""
    artifact = Artifact(
        name=name,
        media_type="image/png",
        size=3,
        sha256="ab" * 32,
        agent="coder",
        url=artifact_url(run_id(number), name),
    )
    return cast("Artifact", {**artifact, **changes})


def artifact_draft(artifact: Artifact, call: object = "0.0") -> EventDraft:
    """Return the event that tells of an artifact."""
    return make_draft(call, type="artifact.created", round=1, data={"artifact": artifact})


def make_call(key: str, **changes: Any) -> ModelCall:
    """Return a model call."""
    values: dict[str, Any] = {
        "agent": "coder",
        "model": "m-1",
        "tier": "fast",
        "input_tokens": 10,
        "output_tokens": 5,
        "cached_tokens": 2,
        "cost_usd": Decimal("0.0001"),
    }
    return ModelCall(key=key, **{**values, **changes})


def make_key(key: str = "k1", **changes: Any) -> IdempotencyKey:
    """Return an idempotency key."""
    return IdempotencyKey(**{"scope": "POST /v1/runs", "key": key, "digest": "d1", **changes})


def make_ending(status: RunStatus = "completed", output: str = "Three.") -> Ending:
    """Return how a run ends; with a result where there is one."""
    result = RunResult(output=output) if status in {"completed", "incomplete"} else None
    reason: Any = {"cancelled": "cancelled", "failed": "error"}.get(status, "done")
    return Ending(status=status, stop_reason=reason, result=result, rounds=2)


def last_draft(status: RunStatus, **changes: Any) -> EventDraft:
    """Return the draft of the event that ends a run."""
    return EventDraft(**{"type": TERMINAL_TYPES.get(status, "run.failed"), "data": {}, **changes})


def ref_of(run: Run) -> RunRef:
    """Return where the run is found."""
    return RunRef(run.tenant_id, run.id)


async def add_run(store: SqlRunStore, number: int = 1, **changes: Any) -> RunRef:
    """Create a run and return where it is found."""
    created = await store.create(
        make_run(number, **changes), EventDraft(type="run.created", data={})
    )
    return ref_of(created.run)


async def add_running(store: SqlRunStore, number: int = 1, **changes: Any) -> RunRef:
    """Create and claim a run."""
    ref = await add_run(store, number, **changes)
    assert await store.claim(ref, now=NOW) is not None
    return ref


async def put_in(store: SqlRunStore, ref: RunRef, status: RunStatus) -> None:
    """Give a run a status without asking how it could have come there."""
    change = update(runs).where(runs.c.id == ref.run_id).values(status=status)
    await store.database.write(lambda connection: connection.execute(change).close())


async def append(store: SqlRunStore, ref: RunRef, *calls: object, attempt: int = 1) -> list[Event]:
    """Append one event for each of the calls."""
    drafts = [make_draft(call) for call in calls]
    return await store.append(ref, attempt=attempt, drafts=drafts, calls=[], now=LATER)


async def finish(
    store: SqlRunStore, ref: RunRef, status: RunStatus = "completed", *, attempt: int = 1
) -> Run | None:
    """End a run as its owner; return it where that worked."""
    ended = await store.finish(
        ref,
        attempt=attempt,
        ending=make_ending(status),
        drafts=[last_draft(status)],
        now=LATER,
    )
    return None if ended is None else ended[0]


async def cancel(store: SqlRunStore, ref: RunRef) -> Run | None:
    """Cancel a run; return it where that worked."""
    ended = await store.cancel(
        ref, ending=make_ending("cancelled"), draft=last_draft("cancelled"), now=LATER
    )
    return None if ended is None else ended[0]


async def all_events(store: SqlRunStore, ref: RunRef) -> list[Event]:
    """Return the run's whole log."""
    return await store.events(ref, after=0, limit=10_000)


async def unless_lost(appending: Coroutine[Any, Any, T]) -> T | None:
    """Return what was appended, or `None` where the run was no longer owned."""
    try:
        return await appending
    except OwnershipLostError:
        return None


async def at_once(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Run them concurrently and return their results in order."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
    return [task.result() for task in tasks]
