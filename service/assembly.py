"""Puts services together from what the composition root has opened."""

from __future__ import annotations

from contextlib import AsyncExitStack
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from domain.dispatch import Dispatcher
from domain.ports import Clock
from domain.sandbox import Sandbox
from graph.workflow import build_workflow, graph_version
from monitoring.metrics import Metrics
from service.approvals import ApprovalService
from service.artifacts import ArtifactService
from service.asking import People
from service.budgets import BudgetGuard
from service.cache import StoredWork
from service.checkpoints import Checkpoints, MemoryCheckpoints
from service.configuration import configuration_of
from service.crowding import QueueBound
from service.days import DayBudget
from service.endpoints import Endpoints
from service.erasure import ErasureService
from service.executor import Executor
from service.export import RunExport
from service.feedback import FeedbackService
from service.forks import ForkService
from service.health import Health
from service.health_checks import Dispatching, own_checks
from service.history import RunHistory
from service.housekeeper import Chore, Forgetting, Housekeeper, Retention
from service.hub import EventHub
from service.ids import UuidIds
from service.ledger import SqlActionLedger
from service.notes import GuardedNotes, NoteService
from service.parts import Parts
from service.receipts import ReceiptService
from service.retries import RetryService
from service.run_trees import RunTrees
from service.runs import RunRules, RunService
from service.settings import Settings, telemetry_variables
from service.store import SqlRunStore
from service.store.cache import SqlPieceStore
from service.store.erasing import SqlRunEraser
from service.store.feedback import SqlFeedbackStore
from service.store.housekeeping import SqlRunKeeper
from service.store.usage import SqlCallLog
from service.store.webhooks import SqlWebhookStore
from service.tracing import Traces, open_traces
from service.workspaces import RunFolders


class Opened(NamedTuple):
    """What services share."""

    store: SqlRunStore
    hub: EventHub
    clock: Clock
    checkpoints: Checkpoints
    parts: Parts


class Asked(NamedTuple):
    """Whom the creation of a run asks."""

    dispatcher: Dispatcher
    day: DayBudget
    endpoints: Endpoints


class RunServices(NamedTuple):
    """What is about whole runs, by the names that `service.services.Services` has for them."""

    runs: RunService
    retries: RetryService
    history: RunHistory
    forks: ForkService


def make_runs(
    settings: Settings, opened: Opened, asked: Asked, executor: Executor, work_version: str
) -> RunServices:
    """Return what creates and looks after runs, and has them go on; `work_version`: of all that answers
    depend on."""
    rules = _make_rules(settings, opened, executor.graph_version, work_version)
    parts, ids = opened.parts, UuidIds()
    runs = RunService(
        store=opened.store,
        hub=opened.hub,
        dispatcher=asked.dispatcher,
        clock=opened.clock,
        ids=ids,
        team=parts.team,
        rules=rules,
        day=asked.day,
        endpoints=asked.endpoints,
    )
    retries = RetryService(
        store=opened.store,
        runs=runs,
        dispatcher=asked.dispatcher,
        clock=opened.clock,
        team=parts.team,
        rules=rules,
    )
    history = RunHistory(executor.workflow)
    forks = ForkService(
        store=opened.store,
        runs=runs,
        history=history,
        dispatcher=asked.dispatcher,
        clock=opened.clock,
        ids=ids,
        team=parts.team,
        toolbox=parts.toolbox,
        folders=RunFolders.below(settings.data_dir),
        rules=rules,
    )
    return RunServices(runs, retries, history, forks)


def _make_rules(settings: Settings, opened: Opened, version: str, work_version: str) -> RunRules:
    return RunRules(
        engine=opened.parts.gateway.engine,
        queue=QueueBound(opened.store, settings.max_queued),
        graph_version=version,
        max_rounds=settings.max_rounds,
        budgets=settings.budgets,
        validation=settings.validation,
        workspaces=RunFolders.below(settings.data_dir).workspaces,
        cache_seconds=settings.cache_seconds,
        work_version=work_version,
    )


def make_approvals(
    settings: Settings, opened: Opened, *, dispatcher: Dispatcher
) -> ApprovalService:
    """Return what asks people."""
    store, hub, clock, _, parts = opened
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


def make_notes(opened: Opened, *, dispatcher: Dispatcher) -> NoteService:
    """Return what takes notes."""
    return NoteService(
        notes=opened.store.notes,
        hub=opened.hub,
        dispatcher=dispatcher,
        clock=opened.clock,
        ids=UuidIds(),
    )


def make_metrics(parts: Parts) -> Metrics:
    """Return what this process counts."""
    return Metrics(agents=[spec.name for spec in parts.team.specs], tools=parts.toolbox.names)


def make_guard(opened: Opened, day: DayBudget) -> BudgetGuard:
    """Return what keeps runs within their limits."""
    store, _, _, checkpoints, parts = opened
    return BudgetGuard(
        store=store,
        checkpoints=checkpoints,
        cost=parts.gateway.cost,
        shares={spec.name: Decimal(str(spec.budget)) for spec in parts.team.routable},
        day=day,
    )


def make_executor(
    settings: Settings, opened: Opened, *, guard: BudgetGuard, cache: StoredWork, trees: RunTrees
) -> Executor:
    """Return what executes runs."""
    store, hub, clock, checkpoints, parts = opened
    cache.store = SqlPieceStore(store.database)
    workflow = build_workflow(
        team=parts.team,
        gateway=parts.gateway,
        toolbox=parts.toolbox,
        gates=parts.gates,
        ledger=SqlActionLedger(store.database, clock, checkpoints),
        checkpointer=checkpoints.saver,
        cache=cache,
        notes=GuardedNotes(store.notes),
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
        folders=RunFolders.below(settings.data_dir),
        gateway=parts.gateway,
        checkpoints=checkpoints,
        guard=guard,
        trees=trees,
    )


def open_guard(
    opened: Opened, day: DayBudget, product: str, stack: AsyncExitStack
) -> tuple[BudgetGuard, Traces | None]:
    """Return what every model call passes, and what sends traces, where the environment names a collector."""
    guard, gateway = make_guard(opened, day), opened.parts.gateway
    gateway.guard, gateway.on_booked = guard, opened.checkpoints.book
    gateway.on_tried = opened.hub.tried
    tools, about = opened.parts.toolbox.names, telemetry_variables()
    traces = open_traces(opened.store, about, product, guard.run_of, tools)
    if traces:
        traces.start()
        stack.push_async_callback(traces.aclose)
        opened.hub.show(traces)
        opened.hub.on_ended = traces.ended
    for remote in gateway.remotes.values():
        remote.seconds_left = guard.seconds_left
        remote.trace = partial(_trace_of, guard, traces)
    return guard, traces


def _trace_of(guard: BudgetGuard, traces: Traces | None, run_id: str) -> str | None:
    """Return the `traceparent` of what is asked elsewhere for a run; without traces that of its caller."""
    run = guard.run_of(run_id)
    if run is None:
        return None
    return traces.of_run(run) if traces else run.traceparent


def start_housekeeper(
    settings: Settings, opened: Opened, chores: list[Chore], stack: AsyncExitStack
) -> Housekeeper:
    """Start what does the chores, forgetting among them; return it."""
    checkpoints = opened.checkpoints
    forgetting = Forgetting(
        SqlRunKeeper(opened.store.database),
        opened.clock,
        Retention.of_days(
            runs=settings.keep_runs_days,
            events=settings.keep_events_days,
            checkpoints=settings.keep_checkpoints_days,
        ),
        folders=RunFolders.below(settings.data_dir),
        memory=checkpoints if isinstance(checkpoints, MemoryCheckpoints) else None,
    )
    housekeeper = Housekeeper([*chores, *forgetting.chores()])
    housekeeper.start()
    stack.push_async_callback(housekeeper.stop)
    return housekeeper


async def record_configuration(settings: Settings, opened: Opened, product: str) -> None:
    """Write down what this process executes runs with, before it claims any."""
    configuration = configuration_of(opened.parts, settings, product)
    await opened.store.receipts.keep(configuration.digest, configuration.content)
    opened.store.configuration = configuration.digest


def make_erasure(settings: Settings, opened: Opened, *, dispatcher: Dispatcher) -> ErasureService:
    """Return what deletes runs for good."""
    store, _, clock, checkpoints, _ = opened
    return ErasureService(
        eraser=SqlRunEraser(store.database),
        dispatcher=dispatcher,
        clock=clock,
        folders=RunFolders.below(settings.data_dir),
        memory=checkpoints if isinstance(checkpoints, MemoryCheckpoints) else None,
    )


def make_health(
    settings: Settings,
    opened: Opened,
    sandbox: Sandbox,
    dispatcher: Dispatching,
    housekeeper: Housekeeper,
) -> Health:
    """Return what looks at the things that this process depends on."""
    store = opened.store
    checks = own_checks(
        store=store,
        dispatcher=dispatcher,
        gateway=opened.parts.gateway,
        sandbox=lambda: sandbox.state,
        sandbox_wanted=settings.sandbox != "off",
        sandbox_socket=settings.sandbox_socket,
        folder=settings.data_dir.resolve(),
        housekeeper=housekeeper,
        deliveries=SqlWebhookStore(store.database),
        clock=opened.clock,
    )
    return Health(checks)


def make_receipts(opened: Opened) -> ReceiptService:
    """Return what writes receipts."""
    store = opened.store
    return ReceiptService(
        approvals=store.approvals, artifacts=store.artifacts, records=store.receipts
    )


def make_export(settings: Settings, opened: Opened) -> RunExport:
    """Return what reads a run as one document."""
    folders = RunFolders.below(settings.data_dir)
    return RunExport(
        store=opened.store,
        notes=opened.store.notes,
        calls=SqlCallLog(opened.store.database),
        receipts=make_receipts(opened),
        artifacts=ArtifactService(opened.store.artifacts, folders.shelves),
        sources=folders.sources,
        clock=opened.clock,
        feedback=SqlFeedbackStore(opened.store.database),
    )


def make_feedback(opened: Opened, trees: RunTrees) -> FeedbackService:
    """Return what takes feedback."""
    store = SqlFeedbackStore(opened.store.database)
    return FeedbackService(store=store, trees=trees, clock=opened.clock, ids=UuidIds())
