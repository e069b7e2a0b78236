"""Makes runs that begin at a checkpoint of another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents._kit.registry import Team
from domain.approval import digest_of
from domain.caller import CallerIdentity
from domain.dispatch import Dispatcher
from domain.errors import CallerError, RunFailedError
from domain.events import EventDraft
from domain.forking import MadeCall, Seed
from domain.limits import NO_LIMITS, NOTHING_SPENT, Limits, budget_of
from domain.ports import Clock, Created, IdempotencyKey, Ids, RunRef, RunStore
from domain.run import ForkedFrom, Run
from graph.continuation import state_format
from graph.forking import Point, make_seed
from graph.state import STATE_FORMAT
from service.earlier import tell_earlier
from service.history import RunHistory
from service.limits import check_limits, check_rounds
from service.new_run import log_accepted
from service.runs import FULL_AGAIN_SECONDS, RunRules, RunService
from service.workspaces import RunFolders, copy_folders, remove_folders
from tools.registry import Toolbox

_log = logging.getLogger("signalbox.forks")


@dataclass(frozen=True, kw_only=True)
class ForkWish:
    """From where a run is to be forked, and what it is to do."""

    checkpoint_id: str | None = None
    task: str | None = None
    limits: Limits | None = None
    max_rounds: int | None = None


class ForkService:
    """Makes runs out of checkpoints; the run they are of may be under way, wait or have ended."""

    def __init__(  # noqa: PLR0913 - called once, when services are put together
        self,
        *,
        store: RunStore,
        runs: RunService,
        history: RunHistory,
        dispatcher: Dispatcher,
        clock: Clock,
        ids: Ids,
        team: Team,
        toolbox: Toolbox,
        folders: RunFolders,
        rules: RunRules,
    ) -> None:
        self._store = store
        self._runs = runs
        self._history = history
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids
        self._team = team
        self._toolbox = toolbox
        self._folders = folders
        self._rules = rules

    async def fork(
        self,
        caller: CallerIdentity,
        run_id: str,
        wish: ForkWish,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> Created:
        """Accept a run that begins at a checkpoint of another: when this returns it is committed.

        Raises `CallerError`: `not-found`, `validation-error`, `run-incompatible`, `run-not-terminal` where it has
        not begun, and what a new run is refused for.
        """
        before = idempotency and await self._store.made_by(caller.tenant_id, idempotency)
        if before:
            return Created(before, replayed=True)
        names = [spec.name for spec in self._team.specs]
        check_limits(wish.limits or NO_LIMITS, self._rules.budgets, names)
        check_rounds(wish.max_rounds, self._rules.max_rounds)
        parent = await self._runs.get(caller.tenant_id, run_id)
        self._check(parent)
        point = await self._history.point(parent, wish.checkpoint_id)
        run = self._make(parent, wish, caller, point)
        seed = await self._seed(parent, point, run, wish)
        created = await self._commit(run, RunRef(parent.tenant_id, parent.id), seed, idempotency)
        if not created.replayed:
            self._dispatcher.submit(RunRef(run.tenant_id, run.id), alone=False)
        return created

    def _check(self, parent: Run) -> None:
        """Refuse what this server cannot go on with."""
        if parent.engine != self._rules.engine:
            msg = (
                f"The run was accepted with the engine {parent.engine!r}, this server has "
                f"{self._rules.engine!r}. Start the server with the model settings it had, or create a new run."
            )
            raise CallerError("run-incompatible", msg, run_id=parent.id)
        if state_format(parent.graph_version) != STATE_FORMAT:
            msg = (
                f"The run's state has format {state_format(parent.graph_version)}, this server has format "
                f"{STATE_FORMAT}. Create a new run."
            )
            raise CallerError("run-incompatible", msg, run_id=parent.id)

    def _make(self, parent: Run, wish: ForkWish, caller: CallerIdentity, point: Point) -> Run:
        """Return the fork's row: what the parent was asked for, on a thread of its own, for who forks it."""
        run_id = self._ids.new("run")
        own = parent.budget.limits.changed_by(wish.limits or NO_LIMITS)
        rounds = wish.max_rounds or min(parent.budget.max_rounds, self._rules.max_rounds)
        checkpoint_id = str(point.snapshot.config["configurable"]["checkpoint_id"])
        return Run(
            id=run_id,
            thread_id=run_id.replace("run_", "thr_", 1),
            status="queued",
            task=parent.task if wish.task is None else wish.task,
            forked_from=ForkedFrom(run_id=parent.id, checkpoint_id=checkpoint_id),
            budget=budget_of(
                self._rules.budgets.capped(own), max_rounds=rounds, rounds=0, spent=NOTHING_SPENT
            ),
            graph_version=self._rules.graph_version,
            engine=parent.engine,
            created_at=self._clock.now(),
            metadata=parent.metadata,
            tags=parent.tags,
            tenant_id=parent.tenant_id,
            agents=parent.agents,
            approval_mode=parent.approval_mode,
            validation=parent.validation,
            output_schema=parent.output_schema,
            caller_id=caller.id,
            caller_places=caller.limits.concurrent_runs,
            files=parent.files,
            # It may reuse what others have done; its own answer is for nobody else.
            cache_seconds=parent.cache_seconds,
            cache_web=parent.cache_web,
        )

    async def _seed(self, parent: Run, point: Point, run: Run, wish: ForkWish) -> Seed:
        ref = RunRef(parent.tenant_id, parent.id)
        try:
            seed = make_seed(
                point,
                self._history.workflow,
                run_id=run.id,
                task=wish.task,
                planned_by_rule=run.engine == "offline",
            )
        except RunFailedError as error:
            raise CallerError("run-incompatible", error.detail, run_id=parent.id) from error
        before = await self._store.seed(ref) if parent.forked_from else None
        before = before or Seed(earlier=await tell_earlier(self._store, parent))
        made = {*before.made, *self._digests(await self._store.made(ref))}
        return seed.model_copy(update={"earlier": before.earlier, "made": tuple(sorted(made))})

    def _digests(self, calls: Sequence[MadeCall]) -> list[str]:
        """Return what tells the calls apart, as their tools read them."""
        known = self._toolbox.names
        return [
            digest_of(tool, self._toolbox.get(tool).as_read(args) if tool in known else args)
            for tool, args in calls
        ]

    async def _commit(
        self, run: Run, parent: RunRef, seed: Seed, idempotency: IdempotencyKey | None
    ) -> Created:
        """Store the run with its seed; its files are on the disk before its row is."""
        ref = RunRef(run.tenant_id, run.id)
        refusal = await self._runs.refusal(run.tenant_id, run.caller_id)
        if refusal:
            raise refusal
        data: dict[str, Any] = {"task": run.task, "thread_id": run.thread_id}
        if run.forked_from:
            data["forked_from"] = run.forked_from.model_dump(mode="json")
        draft = EventDraft(type="run.created", data=data)
        await self._store.ping()
        await self._copy_files(parent, ref)
        try:
            created = await self._store.create(run, draft, idempotency=idempotency, seed=seed)
        except Exception:
            # The answer to a commit may be lost: files are removed only where no run has them.
            if await self._store.get(ref) is None:
                await remove_folders(self._folders, ref)
            raise
        if created.replayed:
            await remove_folders(self._folders, ref)
        else:
            log_accepted(
                run, status=created.run.status, files=len(run.files), forked_from=parent.run_id
            )
        return created

    async def _copy_files(self, parent: RunRef, ref: RunRef) -> None:
        try:
            await asyncio.to_thread(copy_folders, self._folders, parent, ref)
        except OSError as error:
            await remove_folders(self._folders, ref)
            fields = {"action": "files_not_kept", "run_id": ref.run_id}
            _log.warning("The files of a run could not be copied.", extra=fields, exc_info=True)
            raise CallerError(
                "overloaded",
                "The files of the run cannot be copied at the moment; nothing was created. Try again later.",
                headers={"retry-after": str(FULL_AGAIN_SECONDS)},
            ) from error
