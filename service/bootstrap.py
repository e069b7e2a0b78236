"""The composition root: picks every implementation, opens it, and closes it in the opposite order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from agents._kit.models import ModelGateway
from domain.errors import ConfigurationError
from domain.ports import Clock, Dispatcher
from domain.run import Engine
from domain.usage import ModelCall
from graph.workflow import build_workflow, graph_version
from service.approvals import EXPIRE_SECONDS, ApprovalService
from service.artifacts import ArtifactService
from service.asking import People
from service.budgets import BudgetGuard, Cost
from service.checkpoints import Checkpoints, MemoryCheckpoints, open_sqlite_checkpoints
from service.days import DayBudget
from service.dispatch.local import LocalDispatcher
from service.executor import Executor
from service.housekeeper import Chore, Forgetting, Housekeeper, Retention
from service.hub import EventHub
from service.ids import SystemClock, UuidIds
from service.ledger import SqlActionLedger
from service.parts import Parts, open_parts, sandbox_wishes
from service.runs import RunRules, RunService
from service.services import RunningDispatcher, Services
from service.settings import Settings
from service.sources import SourceService
from service.spending import SpendingService
from service.store import (
    Database,
    SqliteDatabase,
    SqlRunStore,
    is_postgres,
    open_store,
    sqlite_path,
)
from service.store.housekeeping import SqlRunKeeper
from service.store.spending import SqlSpendingLedger
from service.store.watch import SqlRunWatch
from service.workspaces import RunFolders
from tools.sandbox.choice import open_sandbox
from tools.sandbox.hardening import refuse_inspection

if TYPE_CHECKING:
    from service.dispatch.segments import SegmentQueue

NO_QUEUE = (
    "Without a queue this process has to execute its runs itself: leave --no-worker out, or set "
    "SIGNALBOX_DATABASE_URL to a postgresql:// URL and SIGNALBOX_DISPATCH to auto or queue."
)


def product_version() -> str:
    """Return the version of the installed product."""
    try:
        return version("signalbox")
    except PackageNotFoundError:
        return "0.1.0+source"


def uses_queue(settings: Settings) -> bool:
    """Return whether runs are shared with other processes through a queue."""
    if settings.dispatch == "queue" and not is_postgres(settings.database_url):
        msg = (
            "SIGNALBOX_DISPATCH='queue' needs Postgres: set SIGNALBOX_DATABASE_URL to a "
            "postgresql:// URL, or SIGNALBOX_DISPATCH to auto."
        )
        raise ConfigurationError(msg)
    return settings.dispatch != "local" and is_postgres(settings.database_url)


@asynccontextmanager
async def open_services(
    settings: Settings, *, executes: bool = True, warm: bool = False
) -> AsyncIterator[Services]:
    """Open everything a service needs; leaving the context stops runs at a step's end and closes all.

    `executes`: this process executes runs too, where others could. `warm`: it stays for a while, so what
    programs may want is loaded ahead.
    """
    refuse_inspection()
    if not uses_queue(settings) and not executes:
        raise ConfigurationError(NO_QUEUE)
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(open_sandbox(sandbox_wishes(settings)))
        if warm and executes:
            loading = asyncio.create_task(sandbox.load(), name="load the sandbox")
            stack.push_async_callback(_give_up, loading)
        parts = open_parts(settings, sandbox, stack)
        toolbox, gates, team, gateway = parts
        queue = _make_queue(settings, gateway.engine) if uses_queue(settings) else None
        store = await stack.enter_async_context(_open_store(settings, queue))
        hub, clock = EventHub(), SystemClock()
        checkpoints = await _open_checkpoints(settings, store.database, clock, stack)
        day = DayBudget(store, clock, settings.budgets.per_day)
        guard = _make_guard(store, checkpoints, parts, day)
        gateway.guard, gateway.on_booked = guard, checkpoints.book
        executor = _make_executor(
            settings, store, hub=hub, clock=clock, checkpoints=checkpoints, parts=parts, guard=guard
        )
        dispatcher, chores = (
            await _open_queue(settings, queue, store, hub, executor, stack, executes=executes)
            if queue
            else await _open_local(settings, store, executor, stack)
        )
        runs = RunService(
            store=store,
            hub=hub,
            dispatcher=dispatcher,
            clock=clock,
            ids=UuidIds(),
            team=team,
            rules=_make_rules(settings, gateway.engine, executor.graph_version),
            day=day,
        )
        approvals = _make_approvals(
            settings, store, hub=hub, dispatcher=dispatcher, clock=clock, parts=parts
        )
        chores.append(Chore(name="expire approvals", seconds=EXPIRE_SECONDS, do=approvals.expire))
        chores += _make_forgetting(settings, store, checkpoints, clock).chores()
        _start_housekeeper(chores, stack)
        yield Services(
            settings=settings,
            store=store,
            announce=store.announce,
            hub=hub,
            runs=runs,
            approvals=approvals,
            artifacts=ArtifactService(store.artifacts, _folders(settings).shelves),
            sources=SourceService(_folders(settings).sources),
            spending=SpendingService(SqlSpendingLedger(store.database), clock),
            toolbox=toolbox,
            sandbox=sandbox,
            gates=gates,
            dispatcher=dispatcher,
            team=team,
            gateway=gateway,
            graph_version=executor.graph_version,
            version=product_version(),
        )


def _make_rules(settings: Settings, engine: Engine, version: str) -> RunRules:
    return RunRules(
        engine=engine,
        graph_version=version,
        max_rounds=settings.max_rounds,
        budgets=settings.budgets,
        validation=settings.validation,
        workspaces=_folders(settings).workspaces,
    )


def _folders(settings: Settings) -> RunFolders:
    return RunFolders.below(settings.data_dir)


def _make_approvals(
    settings: Settings,
    store: SqlRunStore,
    *,
    hub: EventHub,
    dispatcher: Dispatcher,
    clock: Clock,
    parts: Parts,
) -> ApprovalService:
    return ApprovalService(
        store=store.approvals,
        hub=hub,
        dispatcher=dispatcher,
        clock=clock,
        toolbox=parts.toolbox,
        gates=parts.gates,
        team=parts.team,
        budgets=settings.budgets,
    )


def _make_guard(
    store: SqlRunStore, checkpoints: Checkpoints, parts: Parts, day: DayBudget
) -> BudgetGuard:
    return BudgetGuard(
        store=store,
        checkpoints=checkpoints,
        cost=_cost_with(parts.gateway),
        shares={spec.name: Decimal(str(spec.budget)) for spec in parts.team.routable},
        day=day,
    )


def _cost_with(gateway: ModelGateway) -> Cost:
    def cost(model: str, input_tokens: int, output_tokens: int) -> Decimal | None:
        return gateway.price(
            ModelCall(
                key="",
                agent="",
                model=model,
                tier="standard",
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cached_tokens=0,
                cost_usd=None,
            )
        )

    return cost


async def _give_up(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _make_executor(
    settings: Settings,
    store: SqlRunStore,
    *,
    hub: EventHub,
    clock: Clock,
    checkpoints: Checkpoints,
    parts: Parts,
    guard: BudgetGuard,
) -> Executor:
    workflow = build_workflow(
        team=parts.team,
        gateway=parts.gateway,
        toolbox=parts.toolbox,
        gates=parts.gates,
        ledger=SqlActionLedger(store.database, clock, checkpoints),
        checkpointer=checkpoints.saver,
    )
    people = People(
        approvals=store.approvals,
        hub=hub,
        clock=clock,
        checkpoints=checkpoints,
        seconds=settings.approval_seconds or None,
        on_expiry=settings.approval_on_expiry,
    )
    return Executor(
        store=store,
        people=people,
        hub=hub,
        clock=clock,
        workflow=workflow,
        graph_version=graph_version(parts.team, parts.toolbox),
        folders=_folders(settings),
        gateway=parts.gateway,
        checkpoints=checkpoints,
        guard=guard,
    )


def _open_store(
    settings: Settings, queue: SegmentQueue | None
) -> AbstractAsyncContextManager[SqlRunStore]:
    return open_store(
        settings.database_url,
        pool_size=settings.database_pool,
        owner="shared" if queue else "alone",
        enqueue=queue.put if queue else None,
        max_per_caller=settings.max_concurrent_per_key,
    )


def _make_forgetting(
    settings: Settings, store: SqlRunStore, checkpoints: Checkpoints, clock: Clock
) -> Forgetting:
    return Forgetting(
        SqlRunKeeper(store.database),
        clock,
        Retention.of_days(
            runs=settings.keep_runs_days,
            events=settings.keep_events_days,
            checkpoints=settings.keep_checkpoints_days,
        ),
        folders=_folders(settings),
        memory=checkpoints if isinstance(checkpoints, MemoryCheckpoints) else None,
    )


def _start_housekeeper(chores: list[Chore], stack: AsyncExitStack) -> None:
    housekeeper = Housekeeper(chores)
    housekeeper.start()
    stack.push_async_callback(housekeeper.stop)


async def _open_local(
    settings: Settings, store: SqlRunStore, executor: Executor, stack: AsyncExitStack
) -> tuple[RunningDispatcher, list[Chore]]:
    """Return the dispatcher of a process that executes its runs alone, and its chores: none."""
    dispatcher = LocalDispatcher(
        store,
        executor.execute,
        max_concurrent=settings.max_concurrent_runs,
        limited=settings.max_concurrent_per_key is not None,
    )
    await dispatcher.start()
    stack.push_async_callback(dispatcher.stop)
    return dispatcher, []


# What only Postgres needs is imported where it is used: it takes as long to load as all the rest.


def _make_queue(settings: Settings, engine: Engine) -> SegmentQueue:
    from service.dispatch.segments import SegmentQueue  # noqa: PLC0415 - see above
    from service.store.postgres import conninfo  # noqa: PLC0415 - see above

    return SegmentQueue(
        conninfo(settings.database_url),
        engine=engine,
        pool_size=settings.database_pool,
        takeover_seconds=settings.takeover_seconds,
    )


async def _open_queue(
    settings: Settings,
    queue: SegmentQueue,
    store: SqlRunStore,
    hub: EventHub,
    executor: Executor,
    stack: AsyncExitStack,
    *,
    executes: bool,
) -> tuple[RunningDispatcher, list[Chore]]:
    """Return the dispatcher of a process that shares its runs with others, and its chores."""
    from service.dispatch.queue import SWEEP_SECONDS, QueueDispatcher  # noqa: PLC0415 - see above
    from service.store.postgres import conninfo  # noqa: PLC0415 - see above
    from service.wire import PostgresWire  # noqa: PLC0415 - see above

    watch = SqlRunWatch(
        store.database, engine=queue.engine, max_per_caller=settings.max_concurrent_per_key
    )
    wire = PostgresWire(conninfo(settings.database_url), hub, store, watch)
    await stack.enter_async_context(queue.opened())
    await stack.enter_async_context(wire.running())
    dispatcher = QueueDispatcher(
        queue,
        watch,
        executor.execute,
        max_concurrent=settings.max_concurrent_runs,
        tell_cancelled=wire.cancel,
    )
    wire.on_cancel = dispatcher.cancel_here
    if executes:
        dispatcher.start()
    stack.push_async_callback(dispatcher.stop)
    sweep = Chore(
        name="sweep the queue",
        seconds=SWEEP_SECONDS,
        do=dispatcher.sweep,
        longest_pause=SWEEP_SECONDS,
    )
    return dispatcher, [sweep]


async def _open_checkpoints(
    settings: Settings, database: Database, clock: Clock, stack: AsyncExitStack
) -> Checkpoints:
    if is_postgres(settings.database_url):
        from service.checkpoints.postgres import open_postgres_checkpoints  # noqa: PLC0415 - see above
        from service.store.postgres import conninfo  # noqa: PLC0415 - see above

        info = conninfo(settings.database_url)
        return await stack.enter_async_context(
            open_postgres_checkpoints(info, clock, pool_size=settings.database_pool)
        )
    path = sqlite_path(settings.database_url)
    if path is None or not isinstance(database, SqliteDatabase):
        return MemoryCheckpoints(database, clock)
    return await stack.enter_async_context(open_sqlite_checkpoints(path, database, clock))
