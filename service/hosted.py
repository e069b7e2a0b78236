"""Runs that LangGraph's own server executes: each has a row here, so that budgets and the ledger hold for it too."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from domain.caller import HOSTED_TENANT
from domain.errors import RunFailedError
from domain.events import TERMINAL_TYPES, EventDraft
from domain.limits import NO_LIMITS, NOTHING_SPENT, Limits, budget_of
from domain.ports import Clock, RunRef
from domain.run import ApprovalMode, Ending, Run, RunContext
from domain.usage import ModelCall
from domain.validation import Validation
from graph.state import Workflow
from graph.workflow import build_workflow, graph_version
from service.budgets import BudgetGuard
from service.checkpoints import MemoryCheckpoints
from service.days import DayBudget
from service.fitness import check_engine
from service.ids import SystemClock
from service.ledger import SqlActionLedger
from service.limits import check_agents, check_limits, check_rounds
from service.parts import Parts, open_parts, sandbox_wishes
from service.settings import Settings
from service.store import Database, SqlRunStore, is_postgres, open_store
from service.store.ownership import Ownership
from service.workspaces import RunFolders, context_of
from tools.gates import Gates, Ruling
from tools.registry import Tool
from tools.sandbox.choice import open_sandbox

NO_LEDGER: Final = (
    "There is no database that remembers what was done, so tools that act on the world are refused: set "
    "SIGNALBOX_DATABASE_URL to sqlite:/// or postgresql://."
)

_FORGOTTEN: Final = (
    "The database knows nothing of the run {}, which was begun with another: what it may spend and what it has "
    "done is not known. Send the task again."
)

_log = logging.getLogger("signalbox.hosted")


class HostedContext(BaseModel):
    """What a client of LangGraph's server may say of a run. Who it is and where its files lie is not among it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agents: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=50)
    """The agents that the run may use; `None` means every routable one."""
    max_rounds: int | None = Field(default=None, ge=1)
    approval_mode: ApprovalMode = "policy"
    validation: Validation | None = None
    budget: Limits = NO_LIMITS
    """A limit that is reached ends the run with what there is; nobody is asked to raise it."""


Emit = Callable[[EventDraft], Awaitable[None]]


class _BookedCheckpoints(MemoryCheckpoints):
    """The platform keeps the checkpoints; what calls came to is booked before the next one is made."""

    def __init__(self, store: SqlRunStore, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self._store = store
        self._wall = clock
        self._calls: defaultdict[str, list[ModelCall]] = defaultdict(list)

    def book(self, run_id: str, call: ModelCall) -> None:
        """Take down what a call came to."""
        self._calls[run_id].append(call)

    async def open(self, run_id: str, call: ModelCall | None) -> None:
        """Book the calls before, then note that another is being made."""
        await self.flush(run_id)
        await super().open(run_id, call)

    async def flush(self, run_id: str) -> None:
        """Book what was taken down; raises `OwnershipLostError` where a newer attempt exists."""
        run = self._segments.get(run_id)
        if run is None or not self._calls[run_id]:
            return
        calls, self._calls[run_id] = self._calls[run_id], []
        await self._store.append(
            RunRef(run.tenant_id, run.id),
            attempt=run.attempt,
            drafts=[],
            calls=calls,
            now=self._wall.now(),
        )

    def forget(self, run_id: str) -> None:
        """Let go of a run whose segment is over."""
        self._calls.pop(run_id, None)


class Hosted(NamedTuple):
    """What the runs of one process share."""

    settings: Settings
    store: SqlRunStore
    checkpoints: _BookedCheckpoints
    guard: BudgetGuard
    parts: Parts
    workflow: Workflow
    clock: Clock
    folders: RunFolders

    async def claim(self, run_id: str, task: str, asked: HostedContext, *, begun: bool) -> Run:
        """Return the run under a new attempt, made where there is none; one that has ended as it is.

        `begun`: there are checkpoints of it. Raises `CallerError` for what this server does not allow,
        `RunFailedError` where it has another engine, or nothing is known any more of what was begun.
        """
        ref = RunRef(HOSTED_TENANT, run_id)
        known = await self.store.get(ref)
        if known is None:
            if begun:
                raise RunFailedError(_FORGOTTEN.format(run_id))
            draft = EventDraft(type="run.created", data={"task": task})
            await self.store.create(self._new(run_id, task, asked), draft)
        elif known.terminal:
            return known
        claimed = await self.store.claim(ref, now=self.clock.now())
        if claimed is None:
            msg = f"The run {run_id} cannot be claimed."
            raise RunFailedError(msg)
        check_engine(claimed.run, self.parts.gateway.engine)
        return claimed.run

    @asynccontextmanager
    async def segment(self, run: Run, emit: Emit) -> AsyncIterator[RunContext]:
        """Keep a claimed run's account until it ends or asks; yields what its nodes read."""
        # Nobody can raise a limit here: a question about one would be asked for ever.
        unasked = run.model_copy(update={"approval_mode": "never"})
        try:
            async with self.checkpoints.segment(run):
                with self.guard.account(unasked, emit):
                    try:
                        yield context_of(run, self.folders)
                    finally:
                        await self.checkpoints.flush(run.id)
        finally:
            self.checkpoints.forget(run.id)

    async def finish(self, run: Run, ending: Ending) -> None:
        """Write down how a run ended."""
        ref = RunRef(run.tenant_id, run.id)
        terminal = EventDraft(type=TERMINAL_TYPES[ending.status], data={})
        await self.store.finish(
            ref, attempt=run.attempt, ending=ending, drafts=[terminal], now=self.clock.now()
        )

    def _new(self, run_id: str, task: str, asked: HostedContext) -> Run:
        settings, team = self.settings, self.parts.team
        check_agents(asked.agents or (), [spec.name for spec in team.routable])
        check_rounds(asked.max_rounds, settings.max_rounds)
        limits = settings.budgets.limits_of(asked.budget)
        check_limits(limits, settings.budgets, [spec.name for spec in team.specs])
        return Run(
            id=run_id,
            thread_id=run_id.replace("run_", "thr_", 1),
            status="queued",
            task=task,
            budget=budget_of(
                limits,
                max_rounds=asked.max_rounds or settings.max_rounds,
                rounds=0,
                spent=NOTHING_SPENT,
            ),
            graph_version=graph_version(team, self.parts.toolbox),
            engine=self.parts.gateway.engine,
            created_at=self.clock.now(),
            tenant_id=HOSTED_TENANT,
            agents=tuple(dict.fromkeys(asked.agents)) if asked.agents else None,
            approval_mode=asked.approval_mode,
            validation=asked.validation or settings.validation,
        )


def run_id_of(thread_id: str, *place: str) -> str:
    """Return the id of the run that a thread's task is: the same each time it is taken up again."""
    return "run_" + hashlib.sha256("\n".join((thread_id, *place)).encode()).hexdigest()[:32]


class Scratch:
    """The place of a database for budgets that goes with the process: a run that asks is over for the server
    until it is answered, and its limits have to be there then. One in memory would hold up the server's loop."""

    def __init__(self) -> None:
        self._folder = ""

    def url(self) -> str:
        """Return where the database is; the first call makes its folder."""
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="signalbox-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return f"sqlite:///{self._folder}/runs.db"


@asynccontextmanager
async def open_hosted(settings: Settings, scratch: Scratch) -> AsyncIterator[Hosted]:
    """Open what runs need; leaving the context closes it. Raises `ConfigurationError`."""
    async with AsyncExitStack() as stack:
        wishes = await asyncio.to_thread(sandbox_wishes, settings)
        sandbox = await stack.enter_async_context(open_sandbox(wishes))
        # It reads files: the agents, the prices.
        parts = await asyncio.to_thread(open_parts, settings, sandbox, stack)
        url = settings.database_url
        if "database_url" not in settings.model_fields_set or url.startswith("memory://"):
            _log.warning("%s", NO_LEDGER, extra={"action": "no_ledger"})
            parts = parts._replace(gates=_WithoutEffects(parts.gates.rules))
            url = await asyncio.to_thread(scratch.url)
        store = await stack.enter_async_context(_open_store(settings, url))
        folders = await asyncio.to_thread(RunFolders.below, settings.data_dir)
        yield _assemble(settings, store, parts, folders)


def _open_store(settings: Settings, url: str) -> AbstractAsyncContextManager[SqlRunStore]:
    owner: Ownership = "shared" if is_postgres(url) else "alone"
    return open_store(url, pool_size=settings.database_pool, owner=owner)


def _assemble(settings: Settings, store: SqlRunStore, parts: Parts, folders: RunFolders) -> Hosted:
    clock = SystemClock()
    checkpoints = _BookedCheckpoints(store, store.database, clock)
    day = DayBudget(store, clock, settings.budgets.per_day)
    guard = BudgetGuard(
        store=store, checkpoints=checkpoints, cost=parts.gateway.cost, shares={}, day=day
    )
    parts.gateway.guard, parts.gateway.on_booked = guard, checkpoints.book
    workflow = build_workflow(
        team=parts.team,
        gateway=parts.gateway,
        toolbox=parts.toolbox,
        gates=parts.gates,
        ledger=SqlActionLedger(store.database, clock, checkpoints),
        checkpointer=None,
    )
    return Hosted(settings, store, checkpoints, guard, parts, workflow, clock, folders)


class _WithoutEffects(Gates):
    """Gates that let nothing act on the world: without a ledger it could happen twice."""

    def judge(self, tool: Tool, args: Mapping[str, Any], **kwargs: Any) -> Ruling:
        """Deny what acts; judge the rest as ever."""
        if tool.effect == "external" and not tool.reads(args):
            return Ruling("deny", mandatory=True, why=NO_LEDGER)
        return super().judge(tool, args, **kwargs)
