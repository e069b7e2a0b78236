"""Create, read, list, cancel and wait for runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from agents._kit.registry import Team
from domain.dispatch import Dispatcher
from domain.errors import CallerError, ToolFailedError
from domain.events import Event, EventDraft
from domain.limits import NOTHING_SPENT, BudgetRules, budget_of
from domain.partial import MAX_EVENTS_OF_A_RUN, PARTIAL_TYPES, cancelled_after
from domain.ports import (
    Clock,
    Created,
    IdempotencyKey,
    Ids,
    RunPatch,
    RunQuery,
    RunRef,
    RunStore,
)
from domain.run import Ending, Engine, MultitaskStrategy, Run
from domain.validation import Validation
from service.crowding import QueueBound
from service.days import DayBudget
from service.endpoints import Endpoints, Standing
from service.hub import EventHub, Reader
from service.limits import check_agents, check_limits, check_rounds
from service.new_run import NewRun, log_accepted
from service.notices import Notice
from service.output_schemas import read_schema
from service.reuse import key_of, reuse_seconds
from service.workspaces import NewFile, fill_workspace, list_files, remove_workspace

FULL_AGAIN_SECONDS: Final = 30
"""When a client may try again whose files could not be kept."""

_NOT_THERE: Final = "is not there. Ids look like run_ followed by 32 hexadecimal digits."


@dataclass(frozen=True, kw_only=True)
class RunRules:
    """What holds for every run of this server."""

    engine: Engine
    graph_version: str
    max_rounds: int
    budgets: BudgetRules
    validation: Validation
    workspaces: Path
    """Below it, by tenant and run, lie the folders of runs."""
    queue: QueueBound
    cache_seconds: int = 0
    """How old an answer may be that a run reuses which does not say; 0 reuses none."""
    work_version: str = ""
    """A hash of what may change answers from one start of the server to the next."""


class Cancelled(NamedTuple):
    """A run that is cancelled."""

    run: Run
    now: bool
    """This request has cancelled it, or the one that it repeats."""
    replayed: bool = False


_log = logging.getLogger("signalbox.runs")


class RunService:
    """The life of runs, for one tenant at a time."""

    def __init__(  # noqa: PLR0913 - called once, when services are put together
        self,
        *,
        store: RunStore,
        hub: EventHub,
        dispatcher: Dispatcher,
        clock: Clock,
        ids: Ids,
        team: Team,
        rules: RunRules,
        day: DayBudget,
        endpoints: Endpoints,
    ) -> None:
        self._store = store
        self._hub = hub
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids
        self._team = team
        self._rules = rules
        self._day = day
        self._endpoints = endpoints

    async def create(
        self, tenant_id: str, new: NewRun, *, idempotency: IdempotencyKey | None = None
    ) -> Created:
        """Accept a run: when this returns it is committed and will be executed."""
        check_agents(new.agents or (), [spec.name for spec in self._team.routable])
        check_rounds(new.max_rounds, self._rules.max_rounds)
        limits = self._rules.budgets.limits_of(new.limits)
        check_limits(new.limits, self._rules.budgets, [s.name for s in self._team.specs])
        # To check the largest takes as long as fifty requests.
        schema = await asyncio.to_thread(read_schema, new.output_schema, self._rules.engine)
        webhook = self._endpoints.read(new.webhook, own=new.own_hook) if new.webhook else None
        refusal = await self._day.refuse(tenant_id, new.caller_id)
        if new.thread_id is not None:
            await self._prepare_thread(tenant_id, new.thread_id, new.strategy)
        run_id = self._ids.new("run")
        run = Run(
            id=run_id,
            thread_id=new.thread_id or run_id.replace("run_", "thr_", 1),
            status="queued",
            task=new.task,
            budget=budget_of(
                limits,
                max_rounds=new.max_rounds or self._rules.max_rounds,
                rounds=0,
                spent=NOTHING_SPENT,
            ),
            graph_version=self._rules.graph_version,
            engine=self._rules.engine,
            created_at=self._clock.now(),
            metadata=new.metadata,
            tags=new.tags,
            tenant_id=tenant_id,
            agents=new.agents,
            approval_mode=new.approval_mode,
            # Kept with the run: a restart under another setting changes nothing for it.
            validation=new.validation or self._rules.validation,
            output_schema=schema,
            caller_id=new.caller_id,
            caller_places=new.caller_places,
            files=await asyncio.to_thread(list_files, new.files) if new.files else (),
            webhook=webhook,
            traceparent=new.traceparent,
        )
        run = await self._with_key(run, new)
        # What was created before, or has an answer already, costs nothing more.
        error = CallerError("budget-exhausted", refusal.why) if refusal else None
        endpoint = Standing()
        if webhook is not None:
            endpoint = await self._endpoints.look_at(tenant_id, webhook)
            error = error or endpoint.refusal
        error = error or await self._rules.queue.refusal(tenant_id, new.caller_id)
        created = await self._commit(run, new, idempotency, error)
        self._begin(created, new)
        if webhook is not None and endpoint.untold:
            # Only now: an answer that refuses the run would not have shown it.
            secret = await self._endpoints.show(tenant_id, webhook)
            created = created._replace(webhook_secret=secret)
        return created

    def _begin(self, created: Created, new: NewRun) -> None:
        """Tell everybody whom a run that was just committed concerns."""
        for ended, events in created.interrupted:
            self._tell_cancelled(ended, events)
        run = created.run
        if created.replayed:
            return
        if run.terminal:
            self._hub.end(run)  # it had its answer from another, and nobody told of that
            return
        # Others of its key may have all the places there are for it.
        free = new.caller_places is None
        alone = free and new.thread_id is None and run.leader_id is None
        self._dispatcher.submit(RunRef(run.tenant_id, run.id), alone=alone)

    async def refusal(self, tenant_id: str, caller_id: str) -> CallerError | None:
        """Return why nothing more is taken on of a caller, or `None`; then it counts as a run that waits."""
        spent = await self._day.refuse(tenant_id, caller_id)
        if spent:
            return CallerError("budget-exhausted", spent.why)
        return await self._rules.queue.refusal(tenant_id, caller_id)

    async def _with_key(self, run: Run, new: NewRun) -> Run:
        """Return a run with what it may share with others."""
        seconds = reuse_seconds(new.reuse, self._rules.cache_seconds)
        if seconds is None:
            return run
        more: dict[str, Any] = {"cache_seconds": seconds, "cache_web": new.reuse.web}
        if new.thread_id is None:
            # Hashing megabytes of files would hold up everybody.
            key = asyncio.to_thread(key_of, run, new.files, self._rules.work_version)
            more["cache_key"] = await key
        return run.model_copy(update=more)

    async def _commit(
        self,
        run: Run,
        new: NewRun,
        idempotency: IdempotencyKey | None,
        refusal: CallerError | None,
    ) -> Created:
        """Store a run, or find the one its key has made; its files are on the disk before its row is."""
        ref = RunRef(run.tenant_id, run.id)
        draft = EventDraft(type="run.created", data={"task": run.task, "thread_id": run.thread_id})
        await self._keep_files(ref, new.files)
        try:
            created = await self._store.create(
                run, draft, idempotency=idempotency, strategy=new.strategy, refusal=refusal
            )
        except Exception:
            # The answer to a commit may be lost: files are removed only where no run has them.
            if new.files and await self._store.get(ref) is None:
                await self._remove_files(ref)
            raise
        if not created.replayed:
            log_accepted(run, status=created.run.status, files=len(new.files))
        elif new.files:
            await self._remove_files(ref)
        return created

    async def _keep_files(self, ref: RunRef, files: Sequence[NewFile]) -> None:
        """Put what came with a task into the run's folder."""
        if not files:
            return
        # A database that is away is found out before anything is written, over and over again.
        await self._store.ping()
        try:
            await asyncio.to_thread(fill_workspace, self._rules.workspaces, ref, files)
        except (OSError, ToolFailedError) as error:
            await self._remove_files(ref)
            fields = {"action": "files_not_kept", "run_id": ref.run_id}
            _log.warning("The files of a task could not be kept.", extra=fields, exc_info=True)
            raise CallerError(
                "overloaded",
                "The files cannot be kept at the moment; nothing was created. Try again later.",
                headers={"retry-after": str(FULL_AGAIN_SECONDS)},
            ) from error

    async def _remove_files(self, ref: RunRef) -> None:
        """Remove what was kept for a run that there is not; what stays is swept later."""
        try:
            await asyncio.to_thread(remove_workspace, self._rules.workspaces, ref)
        except OSError:
            fields = {"action": "workspace_not_removed", "run_id": ref.run_id}
            _log.warning("A workspace could not be removed.", extra=fields, exc_info=True)

    async def get(self, tenant_id: str, run_id: str) -> Run:
        """Return a run, or raise `not-found`."""
        run = await self._store.get(RunRef(tenant_id, run_id))
        if run is None:
            raise CallerError("not-found", f"The run {run_id[:80]!r} {_NOT_THERE}")
        return run

    async def find(self, tenant_id: str, query: RunQuery) -> list[Run]:
        """Return up to `query.limit + 1` runs, newest first."""
        return await self._store.find(tenant_id, query)

    async def thread(self, tenant_id: str, query: RunQuery) -> list[Run]:
        """Return up to `query.limit + 1` runs of a thread, or raise `not-found` where it has none."""
        known = await self._store.find(tenant_id, RunQuery(thread_id=query.thread_id, limit=1))
        if not known:
            raise CallerError(
                "not-found", f"The thread {str(query.thread_id)[:80]!r} is not there."
            )
        return await self._store.find(tenant_id, query)

    async def wait(self, run: Run, seconds: float, *, fresh: bool = False) -> Run:
        """Return the run as soon as it has ended or asks a person, at the latest after `seconds`.

        `fresh`: the caller has the run from `create` and has not let go of the loop since, so nothing
        can have happened to it.
        """
        if _has_stopped(run) or seconds <= 0:
            return run
        now = asyncio.get_running_loop().time
        until = now() + seconds
        with self._hub.reading(RunRef(run.tenant_id, run.id), only_end=True) as reader:
            if not fresh:
                run = await self.get(run.tenant_id, run.id)
            while not _has_stopped(run) and not reader.closed and now() < until:
                reader.given = max(reader.given, run.last_seq)
                ended = await _first_end(reader, until - now(), after=run.last_seq)
                run = ended or await self.get(run.tenant_id, run.id)
        return run

    async def cancel(
        self,
        tenant_id: str,
        run_id: str,
        reason: str | None,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> Cancelled:
        """Cancel a run; the row first, so that it holds even where the owner is dead.

        Raises `run-terminal` where it ended otherwise.
        """
        ref = RunRef(tenant_id, run_id)
        run = await self.get(tenant_id, run_id)
        if not run.terminal or idempotency:  # a key may have cancelled it
            data: dict[str, Any] = {"reason": reason} if reason else {}
            await self._hub.catch_up(run_id)
            done = await self._store.cancel(
                ref,
                ending=await self._partial(ref),
                draft=EventDraft(type="run.cancelled", data=data),
                now=self._clock.now(),
                idempotency=idempotency,
            )
            if done:
                self._tell_cancelled(done.run, done.events)
                return Cancelled(done.run, now=True)
            before = idempotency and await self._store.made_by(tenant_id, idempotency)
            if before:
                return Cancelled(before, now=True, replayed=True)
            run = await self.get(tenant_id, run_id)
        if run.status == "cancelled":
            return Cancelled(run, now=False)
        msg = f"The run has ended already ({run.status}), so it cannot be cancelled."
        raise CallerError("run-terminal", msg, run_id=run_id)

    async def patch(self, tenant_id: str, run_id: str, change: RunPatch) -> Run:
        """Change a run's metadata or budget; where the budget is all that it waits for, it goes on."""
        if change.limits is not None:
            names = [spec.name for spec in self._team.specs]
            check_limits(change.limits, self._rules.budgets, names)
        check_rounds(change.max_rounds, self._rules.max_rounds)
        ref = RunRef(tenant_id, run_id)
        done = await self._store.patch(ref, change, now=self._clock.now())
        if done is None:
            return await self.get(tenant_id, run_id)  # says that it is not there
        self._hub.publish(run_id, [Notice(event, run=done.run) for event in done.events])
        if done.events and done.run.status == "queued":
            self._dispatcher.submit(ref, alone=True)
        for each in done.claimable:
            self._dispatcher.submit(each, alone=False)
        return done.run

    async def events(self, tenant_id: str, run_id: str, *, after: int, limit: int) -> list[Event]:
        """Return stored events after a number, in order."""
        return await self._store.events(RunRef(tenant_id, run_id), after=after, limit=limit)

    async def _partial(self, ref: RunRef) -> Ending:
        events = await self._store.events(
            ref, after=0, limit=MAX_EVENTS_OF_A_RUN, types=PARTIAL_TYPES
        )
        return cancelled_after(events)

    def _tell_cancelled(self, run: Run, events: Sequence[Event]) -> None:
        """Stop the segment of a run whose row says `cancelled`, and tell its readers."""
        self._dispatcher.cancel(RunRef(run.tenant_id, run.id))
        self._hub.publish(run.id, [Notice(event, run=run) for event in events])

    async def _prepare_thread(
        self, tenant_id: str, thread_id: str, strategy: MultitaskStrategy
    ) -> None:
        """Check that the thread is there; have stored what an interruption would cut off."""
        query = RunQuery(thread_id=thread_id, limit=1)
        if not await self._store.find(tenant_id, query):
            msg = f"The thread {thread_id[:80]!r} is not there. Leave thread_id out to begin a new one."
            raise CallerError("not-found", msg)
        if strategy == "interrupt":
            for run in await self._store.find(tenant_id, replace(query, status="running")):
                await self._hub.catch_up(run.id)


def _has_stopped(run: Run) -> bool:
    return run.terminal or run.status == "requires_action"


async def _first_end(reader: Reader, seconds: float, *, after: int) -> Run | None:
    """Return the run when a reader hears of its end; `None` when it has to be looked up."""
    try:
        async with asyncio.timeout(seconds):
            while not reader.closed and not reader.behind:
                for notice in await reader.take():
                    if notice.final and (notice.seq or 0) > after:
                        return notice.run
                    if notice.type == "run.requires_action":
                        return None
    except TimeoutError:
        return None
    # The end may be among what a reader that fell behind has lost.
    reader.restart()
    return None
