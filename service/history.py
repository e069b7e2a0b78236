"""Reads the checkpoints of runs: where each has stood, step by step."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot

from domain.errors import CallerError
from domain.problems import Pointer
from domain.run import Run
from graph.forking import ANSWER, Point, read_point, refusal
from graph.state import Workflow
from service.asking import read_asked

LOOKED_AT: Final = 50
"""Checkpoints among which the one before an answer is looked for; the answer takes two or three."""


class Entry(NamedTuple):
    """A checkpoint, and what has ended since the one before it."""

    snapshot: StateSnapshot
    finished: list[dict[str, Any]]
    approvals: list[str]
    """What people were asked at it, where it is the last."""
    refusal: str | None
    """Why no run can be forked from it."""


class RunHistory:
    """Reads checkpoints, for one run at a time: whose it is, is known by then."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow: Final = workflow

    async def page(self, run: Run, *, limit: int, before: str | None) -> list[Entry]:
        """Return up to `limit + 1` checkpoints, the newest first; none where none is kept."""
        found = await self._find(run, limit=limit + 2, before=before)
        older = [*(each.values for each in found), {}][1:]
        return [
            Entry(
                snapshot,
                _finished(snapshot.values, values),
                [asked.ask["id"] for asked in read_asked(snapshot, run)],
                refusal(snapshot),
            )
            for snapshot, values in zip(found, older, strict=bool(found))
        ][: limit + 1]

    async def point(self, run: Run, checkpoint_id: str | None) -> Point:
        """Return the checkpoint that is named, or else the last one at which a run can go on: of one that has
        its answer, that before the answer. Raises `CallerError`."""
        newest = await self._find(run, limit=LOOKED_AT)
        if not newest:
            raise _nothing_kept(run)
        if checkpoint_id is None:
            chosen = _usual(newest)
        else:
            chosen = await self._named(run, checkpoint_id)
        fault = refusal(chosen)
        if fault:
            raise _unusable(f"{_id(chosen)!r} is a checkpoint from which nothing goes on: {fault}")
        return await read_point(self.workflow, chosen, last=_id(chosen) == _id(newest[0]))

    async def _named(self, run: Run, checkpoint_id: str) -> StateSnapshot:
        config = _config(run)
        config["configurable"]["checkpoint_id"] = checkpoint_id
        snapshot = await self.workflow.aget_state(config)
        if snapshot.metadata is None:
            raise _unusable(
                f"there is no checkpoint {checkpoint_id[:80]!r} of the run itself, or it is not kept any more; "
                f"GET /v1/runs/{run.id}/history lists them"
            )
        return snapshot

    async def _find(
        self, run: Run, *, limit: int, before: str | None = None
    ) -> list[StateSnapshot]:
        older: RunnableConfig | None = None
        if before is not None:
            older = {"configurable": {"checkpoint_id": before}}
        found = self.workflow.aget_state_history(_config(run), before=older, limit=limit)
        return [each async for each in found]


def _config(run: Run) -> RunnableConfig:
    return {"configurable": {"thread_id": run.id, "checkpoint_ns": ""}}


def _id(snapshot: StateSnapshot) -> str:
    return str(snapshot.config["configurable"]["checkpoint_id"])


def _usual(newest: list[StateSnapshot]) -> StateSnapshot:
    """Return the checkpoint that is meant where none is named."""
    final = newest[0].values.get("final")
    if final is None or final["status"] != "completed":
        return newest[0]
    before = (each for each in newest if ANSWER in each.next)
    return next(before, newest[0])


def _finished(values: dict[str, Any], before: dict[str, Any]) -> list[dict[str, Any]]:
    known = {(o["round"], o["path"]) for o in before.get("outcomes", [])}
    return [
        {name: outcome[name] for name in ("agent", "path", "round", "status")}
        for outcome in values.get("outcomes", [])
        if (outcome["round"], outcome["path"]) not in known
    ]


def _nothing_kept(run: Run) -> CallerError:
    if run.cache is not None:
        msg = (
            f"The run has its answer from {run.cache.run_id} and no checkpoints of its own. Fork that run, or "
            "create a new one."
        )
        return CallerError("run-incompatible", msg, run_id=run.id)
    if run.terminal:
        msg = "No checkpoint of the run is kept, so none can be forked. Create the run again."
        return CallerError("run-incompatible", msg, run_id=run.id)
    msg = f"The run has not begun ({run.status}), so there is nothing to fork yet. Try again once it has."
    return CallerError("run-not-terminal", msg, run_id=run.id)


def _unusable(detail: str) -> CallerError:
    fault = Pointer(pointer="/checkpoint_id", detail=detail)
    return CallerError("validation-error", f"/checkpoint_id: {detail}.", errors=[fault])
