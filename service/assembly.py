"""Puts services together from what the composition root has opened."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from domain.dispatch import Dispatcher
from domain.ports import Clock
from graph.workflow import build_workflow, graph_version
from monitoring.metrics import Metrics
from service.approvals import ApprovalService
from service.artifacts import ArtifactService
from service.asking import People
from service.budgets import BudgetGuard
from service.cache import StoredWork
from service.checkpoints import Checkpoints, MemoryCheckpoints
from service.crowding import QueueBound
from service.days import DayBudget
from service.endpoints import Endpoints
from service.erasure import ErasureService
from service.executor import Executor
from service.export import RunExport
from service.forks import ForkService
from service.history import RunHistory
from service.hub import EventHub
from service.ids import UuidIds
from service.ledger import SqlActionLedger
from service.parts import Parts
from service.retries import RetryService
from service.runs import RunRules, RunService
from service.settings import Settings
from service.store import SqlRunStore
from service.store.erasing import SqlRunEraser
from service.store.usage import SqlCallLog
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
        day=asked.day,
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
        day=asked.day,
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
    settings: Settings, opened: Opened, *, guard: BudgetGuard, cache: StoredWork
) -> Executor:
    """Return what executes runs."""
    store, hub, clock, checkpoints, parts = opened
    workflow = build_workflow(
        team=parts.team,
        gateway=parts.gateway,
        toolbox=parts.toolbox,
        gates=parts.gates,
        ledger=SqlActionLedger(store.database, clock, checkpoints),
        checkpointer=checkpoints.saver,
        cache=cache,
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
    )


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


def make_export(settings: Settings, opened: Opened, approvals: ApprovalService) -> RunExport:
    """Return what reads a run as one document."""
    folders = RunFolders.below(settings.data_dir)
    return RunExport(
        store=opened.store,
        calls=SqlCallLog(opened.store.database),
        approvals=approvals,
        artifacts=ArtifactService(opened.store.artifacts, folders.shelves),
        sources=folders.sources,
        clock=opened.clock,
    )
