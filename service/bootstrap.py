"""The composition root: picks every implementation, opens it, and closes it in the opposite order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

import httpx

from domain.errors import ConfigurationError
from domain.ports import Clock
from domain.run import Engine
from domain.sandbox import Sandbox
from monitoring.journal import Journal
from monitoring.metrics import Metrics
from service.approvals import EXPIRE_SECONDS, ApprovalService
from service.artifacts import ArtifactService
from service.assembly import (
    Asked,
    Opened,
    make_approvals,
    make_erasure,
    make_executor,
    make_export,
    make_feedback,
    make_health,
    make_metrics,
    make_notes,
    make_receipts,
    make_runs,
    open_guard,
    record_configuration,
    start_housekeeper,
)
from service.cache import EXPIRE_SECONDS as EXPIRE_PIECES
from service.cache import StoredWork
from service.callers import EXPIRE_SECONDS as EXPIRE_SIGN_INS
from service.callers import NOTE_SECONDS, Callers
from service.checkpoints import Checkpoints, MemoryCheckpoints, open_sqlite_checkpoints
from service.days import DayBudget
from service.deliveries import SEND_SECONDS, DeliveryService, Sender, passed_on
from service.dispatch.local import LocalDispatcher
from service.endpoints import Endpoints, Reach
from service.erasure import SCRUB_SECONDS, ErasureService
from service.executor import Executor
from service.housekeeper import Chore
from service.hub import EventHub
from service.ids import SystemClock
from service.links import LinkService
from service.oidc import Tokens
from service.parts import OpensParts, Parts, open_parts, sandbox_wishes
from service.rates import CallerRates
from service.reuse import work_version
from service.run_trees import NOTE_SECONDS as NOTE_TRACES
from service.run_trees import RunTrees, open_trees
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
from service.store.api_keys import SqlKeyStore
from service.store.links import SqlLinkStore
from service.store.sign_ins import SqlSignInStore
from service.store.spending import SqlSpendingLedger
from service.store.watch import SqlRunWatch
from service.store.webhooks import SqlWebhookStore
from service.workspaces import RunFolders, share_kept
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
    settings: Settings,
    *,
    executes: bool = True,
    warm: bool = False,
    opens: OpensParts = open_parts,
) -> AsyncIterator[Services]:
    """Open everything a service needs; leaving the context stops runs at a step's end and closes all.

    `executes`: this process executes runs too, where others could. `warm`: it stays for a while, so what
    programs may want is loaded ahead. `opens`: returns what runs are made of.
    """
    refuse_inspection()
    _check_somebody_executes(settings, executes=executes)
    async with AsyncExitStack() as stack:
        sandbox = await _open_sandbox(settings, stack, warm=warm and executes)
        clock = SystemClock()
        cache = StoredWork(clock)
        parts = opens(settings, sandbox, stack, cache)
        queue = _make_queue(settings, parts.gateway.engine) if uses_queue(settings) else None
        store = await stack.enter_async_context(_open_store(settings, queue))
        callers = await _open_callers(settings, store.database, clock, stack)
        metrics, trees, hub = await _open_hub(settings, parts, store, stack)
        cache.version = work_version(parts, settings, product_version())
        checkpoints = await _open_checkpoints(settings, store.database, clock, stack)
        day = DayBudget(store, clock, settings.budgets.per_day)
        opened = Opened(store, hub, clock, checkpoints, parts)
        await record_configuration(settings, opened, product_version())
        guard, traces = open_guard(opened, day, product_version(), stack)
        executor = make_executor(settings, opened, guard=guard, cache=cache, trees=trees)
        dispatcher, chores = await _open_dispatcher(
            settings, queue, opened, executor, stack, executes=executes
        )
        webhooks = await _open_webhooks(settings, opened, metrics, stack, alone=queue is None)
        webhooks.sender.traceparent = traces.outgoing if traces else passed_on
        asked = Asked(dispatcher, day, webhooks.endpoints)
        about_runs = make_runs(settings, opened, asked, executor, cache.version)
        approvals = make_approvals(settings, opened, dispatcher=dispatcher)
        erasure = make_erasure(settings, opened, dispatcher=dispatcher)
        chores += _own_chores(approvals, cache, webhooks.sender, erasure, callers, trees)
        housekeeper = start_housekeeper(settings, opened, chores, stack)
        yield Services(
            settings=settings,
            store=store,
            announce=store.announce,
            metrics=metrics,
            traces=traces,
            callers=callers,
            rates=CallerRates(settings.requests_per_minute),
            hub=hub,
            **about_runs._asdict(),
            approvals=approvals,
            notes=make_notes(opened, dispatcher=dispatcher),
            deliveries=webhooks.deliveries,
            links=LinkService(SqlLinkStore(store.database), approvals, clock),
            erasure=erasure,
            export=make_export(settings, opened),
            feedback=make_feedback(opened, trees),
            receipts=make_receipts(opened),
            health=make_health(settings, opened, sandbox, dispatcher, housekeeper),
            artifacts=ArtifactService(store.artifacts, _folders(settings).shelves),
            sources=SourceService(_folders(settings).sources),
            spending=SpendingService(SqlSpendingLedger(store.database), clock),
            **parts._asdict(),
            sandbox=sandbox,
            dispatcher=dispatcher,
            graph_version=executor.graph_version,
            version=product_version(),
        )


def _check_somebody_executes(settings: Settings, *, executes: bool) -> None:
    if not uses_queue(settings) and not executes:
        raise ConfigurationError(NO_QUEUE)


async def _open_callers(
    settings: Settings, database: Database, clock: Clock, stack: AsyncExitStack
) -> Callers:
    tokens = None
    if settings.oidc:
        # No proxies from the environment: the issuer is named by whoever runs this.
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        tokens = Tokens(settings.oidc, client, clock)
    production = settings.env == "production"
    keys, sign_ins = SqlKeyStore(database), SqlSignInStore(database)
    callers = Callers(keys, sign_ins, clock, production=production, tokens=tokens)
    stack.push_async_callback(callers.note_use)
    return callers


async def _open_hub(
    settings: Settings, parts: Parts, store: SqlRunStore, stack: AsyncExitStack
) -> tuple[Metrics, RunTrees, EventHub]:
    """Return what passes on what happens in runs, and who looks on."""
    metrics = make_metrics(parts)
    names = [spec.name for spec in parts.team.routable]
    trees = await stack.enter_async_context(open_trees(settings, names, store))
    return metrics, trees, EventHub(metrics, Journal(), trees)


def _folders(settings: Settings) -> RunFolders:
    return RunFolders.below(settings.data_dir)


async def _open_sandbox(settings: Settings, stack: AsyncExitStack, *, warm: bool) -> Sandbox:
    sandbox = await stack.enter_async_context(open_sandbox(sandbox_wishes(settings)))
    if warm:
        loading = asyncio.create_task(sandbox.load(), name="load the sandbox")
        stack.push_async_callback(_give_up, loading)
    return sandbox


async def _give_up(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _own_chores(
    approvals: ApprovalService,
    cache: StoredWork,
    sender: Sender,
    erasure: ErasureService,
    callers: Callers,
    trees: RunTrees,
) -> list[Chore]:
    return [
        Chore(name="scrub deleted runs", seconds=SCRUB_SECONDS, do=erasure.scrub),
        Chore(name="expire approvals", seconds=EXPIRE_SECONDS, do=approvals.expire),
        Chore(name="expire pieces", seconds=EXPIRE_PIECES, do=cache.expire),
        Chore(name="send webhooks", seconds=SEND_SECONDS, do=sender.send_due),
        Chore(name="note the use of keys", seconds=NOTE_SECONDS, do=callers.note_use),
        Chore(name="end sign-ins", seconds=EXPIRE_SIGN_INS, do=callers.expire_sign_ins),
        Chore(name="note the addresses of traces", seconds=NOTE_TRACES, do=trees.note_urls),
    ]


class _Webhooks(NamedTuple):
    endpoints: Endpoints
    sender: Sender
    deliveries: DeliveryService


async def _open_webhooks(
    settings: Settings, opened: Opened, metrics: Metrics, stack: AsyncExitStack, *, alone: bool
) -> _Webhooks:
    """Return what is about webhooks; `alone`: no other process has sent any."""
    store = SqlWebhookStore(opened.store.database, public_url=settings.public_url)
    clock = opened.clock
    reach = Reach(vouched=settings.http_allow, development=settings.env == "development")
    sender = Sender(store, clock, reach)
    sender.on_settled = metrics.delivered
    if alone:
        await sender.take_over()
    opened.hub.on_reported = sender.wake
    stack.push_async_callback(sender.stop)
    return _Webhooks(Endpoints(store, clock, reach), sender, DeliveryService(store, clock, sender))


def _open_store(
    settings: Settings, queue: SegmentQueue | None
) -> AbstractAsyncContextManager[SqlRunStore]:
    return open_store(
        settings.database_url,
        pool_size=settings.database_pool,
        owner="shared" if queue else "alone",
        enqueue=queue.put if queue else None,
        max_per_caller=settings.max_concurrent_per_key,
        share=partial(share_kept, _folders(settings)),
    )


async def _open_dispatcher(
    settings: Settings,
    queue: SegmentQueue | None,
    opened: Opened,
    executor: Executor,
    stack: AsyncExitStack,
    *,
    executes: bool,
) -> tuple[RunningDispatcher, list[Chore]]:
    """Return what has runs executed, here or elsewhere, and its chores."""
    store, hub = opened.store, opened.hub
    if queue:
        return await _open_queue(settings, queue, store, hub, executor, stack, executes=executes)
    return await _open_local(settings, store, executor, stack)


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
