"""Executes one segment of one run; the only caller of the graph."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained, GraphRecursionError
from langgraph.runtime import RunControl
from langgraph.types import Command, StateSnapshot

from agents._kit.models import ModelGateway
from agents._kit.outside import closing_outside_calls
from domain.approval import AskRaised
from domain.errors import OwnershipLostError, RunFailedError, StoreUnavailableError
from domain.events import TERMINAL_TYPES, EventDraft
from domain.forking import Seed
from domain.ports import Claim, Clock, RunRef, RunStore
from domain.run import Ending, Run, RunContext
from graph.continuation import carry_over
from graph.forking import own_part, plant
from graph.projection import unfinished_drafts, update_drafts
from graph.reentry import reenter
from graph.state import FinalAnswer, State, Workflow
from graph.streaming import Item, Segment
from graph.workflow import recursion_limit
from monitoring.logs import speak_of
from service.asking import Asked, People, read_asked, resume_with
from service.budgets import BudgetGuard
from service.checkpoints import Checkpoints, Saver
from service.earlier import tell_earlier
from service.endings import ending_of, failed_ending
from service.events import SegmentLog
from service.fitness import check_engine, check_progress, read_seed
from service.hub import EventHub
from service.notices import Notice
from service.openings import opening
from service.run_trees import RunTrees
from service.workspaces import RunFolders, context_of
from tools.workspace import sweep

_log = logging.getLogger("signalbox.executor")


@dataclass(frozen=True, kw_only=True)
class _Start:
    """Where a pass over the graph begins."""

    graph: Workflow
    """The work's graph, or that with stand-ins for agents that are gone."""
    state: State | Command[Any] | None
    """The input of a fresh run, or what answers its questions; `None` continues from the checkpoint."""
    round: int = 0
    missed: tuple[EventDraft | AskRaised, ...] = ()
    """Events and questions that the checkpoint implies, stored or not."""
    final: FinalAnswer | None = None
    """What the graph ended with, where only the row is behind."""
    asked: tuple[Asked, ...] = ()
    """What the graph asks at this checkpoint."""
    at: str | None = None
    """That checkpoint."""
    since: str | None = None
    """The checkpoint at which the run has waited before, where it is still in the same round."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One segment: its run, the graph over the segment's own saver, its log, and how it is stopped."""

    run: Run
    graph: Workflow
    log: SegmentLog
    control: RunControl
    remembered: frozenset[str]
    known: frozenset[str]
    seed: Seed
    """What a fork begins with; of other runs nothing."""


Outcome = Literal["ended", "waiting", "drained", "lost", "refused"]
"""How a segment left its run: `ended` the run has ended · `waiting` for a person, of which only rows are
left · `drained` at a step's end, to go on elsewhere · `lost` a newer claim or a caller's cancellation took
it · `refused` it could not be claimed."""


class Executor:
    """Runs segments: claim, stream the graph into the event log, write the end."""

    def __init__(  # noqa: PLR0913 - called once, by the composition root
        self,
        *,
        store: RunStore,
        people: People,
        hub: EventHub,
        clock: Clock,
        workflow: Workflow,
        graph_version: str,
        folders: RunFolders,
        gateway: ModelGateway,
        checkpoints: Checkpoints,
        guard: BudgetGuard,
        trees: RunTrees,
    ) -> None:
        self._store = store
        self._people = people
        self._hub = hub
        self._clock = clock
        self.workflow: Final = workflow
        self.graph_version: Final = graph_version
        self._engine = gateway.engine
        self._folders = folders
        self._relay = gateway.relay
        self._checkpoints = checkpoints
        self._guard = guard
        self._trees = trees

    async def execute(self, ref: RunRef, control: RunControl) -> Outcome:
        """Claim a run and bring it as far as it goes; return how far that was.

        Raises only what a later claim may mend (the store is down); the run stays `running` then.
        """
        speak_of(run_id=ref.run_id)
        url = self._trees.url(ref.run_id)
        claim = await self._store.claim(ref, now=self._clock.now(), trace_url=url)
        if claim is None:
            return "refused"
        self._hub.forget_messages(ref.run_id)
        run = claim.run
        speak_of(**_ids(run), attempt=run.attempt)
        _log.info("Segment started.", extra=_log_fields(run, "segment_started"))
        try:
            async with self._checkpoints.segment(run) as saver:
                return await self._run_segment(claim, saver, control)
        except OwnershipLostError:
            _log.info(
                "The run belongs to somebody else now.", extra=_log_fields(run, "ownership_lost")
            )
            return "lost"
        except GraphDrained:
            _log.info(
                "Segment handed back at a step's end.", extra=_log_fields(run, "segment_drained")
            )
            return "drained"

    async def _run_segment(self, claim: Claim, saver: Saver, control: RunControl) -> Outcome:
        run = claim.run
        log = SegmentLog(
            self._store,
            self._hub,
            self._clock,
            claim=claim,
            flush=partial(self._checkpoints.flush, run.id),
        )
        work = _Work(
            run=run,
            graph=self._graph_with(saver),
            log=log,
            control=control,
            remembered=claim.remembered,
            known=claim.keys,
            seed=await read_seed(self._store, run),
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(log.run(), name=f"log {run.id}")
                try:
                    with self._guard.account(run, log.put):
                        ending = await self._come_to_end(work)
                finally:
                    log.close()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        if ending is None:
            await log.write_rest()
            raise GraphDrained
        if ending == "waiting":
            return "waiting"
        await self._checkpoints.flush(run.id)
        await self._finish(run, ending, log)
        return "ended"

    async def _come_to_end(self, work: _Work) -> Ending | Literal["waiting"] | None:
        """Return how the run ended, or that it waits; `None` where it was drained."""
        try:
            final = await self._reach_end(work)
            return ending_of(final) if final else "waiting"
        except RunFailedError as error:
            return failed_ending(error)
        except GraphDrained:
            return None

    def _graph_with(self, saver: Saver) -> Workflow:
        if saver is self.workflow.checkpointer:
            return self.workflow
        return self.workflow.copy({"checkpointer": saver})

    async def _reach_end(self, work: _Work) -> FinalAnswer | None:
        """Return what the graph ends with, `None` where it waits for a person.

        Raises `RunFailedError` where it has no end.
        """
        start: _Start | None = None
        try:
            check_engine(work.run, self._engine)
            await check_progress(work.run, self._store)
            start = await self._start(work)
        finally:
            for draft in opening(
                work.run, known=work.known, decided=start is not None and bool(start.asked)
            ):
                await work.log.put(draft)
        for item in start.missed:
            await self._put(work, item)
        while start.final is None:
            if start.asked:
                answered = await self._ask(work, start)
                if answered is None:
                    return None
                start, work = answered
            final = await self._stream(work, start)
            if final is not None:
                return final
            start = await self._asked_now(work, start)
        return start.final

    async def _put(self, work: _Work, item: Item) -> None:
        """Hand an item to the log; a question becomes an approval on its way."""
        await work.log.put(self._people.draft(item, work.run))

    async def _ask(self, work: _Work, start: _Start) -> tuple[_Start, _Work] | None:
        """Return how the run goes on with what was decided; `None` where it waits now."""
        waiting = await self._people.ask(work.run, start.asked, work.log, since=start.since)
        if waiting.answers is None:
            return None
        # By id, always: a bare answer goes to whichever question comes next.
        resume: Command[Any] = Command(resume=resume_with(start.asked, waiting.answers))
        since = start.since or start.at
        resumed = replace(start, state=resume, asked=(), since=since)
        return resumed, replace(work, remembered=waiting.remembered)

    async def _asked_now(self, work: _Work, start: _Start) -> _Start:
        """Return where the run stands whose graph has stopped without an end."""
        snapshot = await start.graph.aget_state(_config(work.run))
        asked = read_asked(snapshot, work.run)
        if not asked:
            msg = "The workflow ended without an answer."
            raise RunFailedError(msg)
        round_ = snapshot.values.get("round", 0)
        since = start.since if round_ == start.round else None
        at = snapshot.config["configurable"]["checkpoint_id"]
        return replace(start, state=None, round=round_, asked=asked, since=since, at=at)

    async def _start(self, work: _Work) -> _Start:
        ref = RunRef(work.run.tenant_id, work.run.id)
        if work.run.attempt > 1 and work.graph.checkpointer:
            await asyncio.to_thread(sweep, self._folders.of(ref).workspaces)
            snapshot = await work.graph.aget_state(_config(work.run))
            if snapshot.values:
                return await self._resume(work, snapshot)
        if work.seed.state:
            return await self._resume(work, await plant(work.graph, _config(work.run), work.seed))
        return _Start(graph=work.graph, state={"task": work.run.task})

    async def _resume(self, work: _Work, snapshot: StateSnapshot) -> _Start:
        run = work.run
        graph, snapshot = await carry_over(
            work.graph, snapshot, _config(run), version=run.graph_version
        )
        snapshot = await reenter(graph, snapshot, _config(run), after=run.retried_after)
        if run.graph_version != self.graph_version:
            fields = _log_fields(run, "run_continued_by_other_version")
            _log.info("Another graph version began the run.", extra=fields)
        state = cast("State", snapshot.values)
        round_ = state.get("round", 0)
        asked = read_asked(snapshot, run)
        return _Start(
            graph=graph,
            state=None,
            round=round_,
            asked=asked,
            since=snapshot.config["configurable"]["checkpoint_id"] if asked else None,
            missed=(
                *update_drafts(own_part(state, work.seed), round_),
                *await unfinished_drafts(graph, snapshot),
            ),
            final=state.get("final"),
        )

    async def _stream(self, work: _Work, start: _Start) -> FinalAnswer | None:
        """Stream the graph to its end, or until it asks (`None`); raises `RunFailedError`."""
        run = work.run
        segment = Segment(start.graph)
        parts = segment.run(
            start.state,
            config=self._trees.config(run, _config(run)),
            context=self._context(work, work.seed.earlier or await tell_earlier(self._store, run)),
            control=work.control,
            round_=start.round,
        )
        try:
            with self._relay.listening(run.id, work.log.take), closing_outside_calls():
                async with aclosing(parts):
                    async for item in parts:
                        await self._put(work, item)
        except (GraphDrained, OwnershipLostError, StoreUnavailableError, RunFailedError):
            raise
        except GraphRecursionError as error:
            msg = "The workflow took more steps than its rounds allow."
            raise RunFailedError(msg) from error
        except Exception as error:
            _log.exception("The workflow failed.", extra=_log_fields(run, "workflow_failed"))
            msg = f"The workflow failed ({type(error).__name__}). The server's log has the details."
            raise RunFailedError(msg) from error
        return segment.final

    def _context(self, work: _Work, earlier: str) -> RunContext:
        return replace(
            context_of(work.run, self._folders),
            earlier=earlier,
            remembered=work.remembered,
            made_before=frozenset(work.seed.made),
        )

    async def _finish(self, run: Run, ending: Ending, log: SegmentLog) -> None:
        batch = log.take_batch()
        terminal = EventDraft(type=TERMINAL_TYPES[ending.status], data={})
        # Shielded: a cancelled process should still write an end it has reached.
        done = await asyncio.shield(
            self._store.finish(
                RunRef(run.tenant_id, run.id),
                attempt=run.attempt,
                ending=ending,
                drafts=[*batch.drafts, terminal],
                calls=batch.calls,
                now=self._clock.now(),
            )
        )
        if done is None:
            raise OwnershipLostError
        events = done.events
        self._hub.publish(run.id, [*batch.notices(events), Notice(events[-1], run=done.run)])
        for follower, told in done.followers:
            self._hub.publish(follower.id, [Notice(event, run=follower) for event in told])


def _config(run: Run) -> RunnableConfig:
    # Both ids: with `run_id` the same input resumes after a crash instead of starting over.
    return {
        "configurable": {
            "thread_id": run.id,
            "run_id": run.id,
            # An answer to a question that is not open is refused rather than taken for another's.
            "__pregel_strict_resume": True,
        },
        "recursion_limit": recursion_limit(run.budget.max_rounds),
    }


def _log_fields(run: Run, action: str) -> dict[str, Any]:
    return {"action": action, **_ids(run), "attempt": run.attempt}


def _ids(run: Run) -> dict[str, Any]:
    return {"run_id": run.id, "thread_id": run.thread_id, "trace_id": run.trace_id}
