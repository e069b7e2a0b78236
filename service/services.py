"""What the HTTP edge and the command line find ready: built in `bootstrap`, closed there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from agents._kit.models import ModelGateway
from agents._kit.registry import Team
from domain.dispatch import Dispatcher
from domain.ports import RunStore
from domain.sandbox import Sandbox
from monitoring.metrics import Metrics
from service.approvals import ApprovalService
from service.artifacts import ArtifactService
from service.callers import Callers
from service.deliveries import DeliveryService
from service.erasure import ErasureService
from service.export import RunExport
from service.feedback import FeedbackService
from service.forks import ForkService
from service.health import Health
from service.history import RunHistory
from service.hub import EventHub
from service.links import LinkService
from service.notes import NoteService
from service.rates import CallerRates
from service.receipts import ReceiptService
from service.retries import RetryService
from service.runs import RunService
from service.settings import Settings
from service.sources import SourceService
from service.spending import SpendingService
from service.tracing import Traces
from tools.gates import Gates
from tools.registry import Toolbox


class RunningDispatcher(Dispatcher, Protocol):
    """A dispatcher that tells whether it works."""

    @property
    def alive(self) -> bool:
        """Return whether runs are still being claimed, as far as this process is to."""
        ...

    async def trouble(self) -> str | None:
        """Return why runs may wait in vain; `None` where they do not."""
        ...


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts of a running service."""

    settings: Settings
    store: RunStore
    announce: Callable[[str], Awaitable[None]]
    """Leaves word of the address this process serves at, for a second process on its database."""
    metrics: Metrics
    traces: Traces | None
    """Where traces are sent."""
    callers: Callers
    rates: CallerRates
    hub: EventHub
    runs: RunService
    retries: RetryService
    history: RunHistory
    forks: ForkService
    approvals: ApprovalService
    notes: NoteService
    deliveries: DeliveryService
    links: LinkService
    artifacts: ArtifactService
    erasure: ErasureService
    export: RunExport
    receipts: ReceiptService
    health: Health
    feedback: FeedbackService
    sources: SourceService
    spending: SpendingService
    toolbox: Toolbox
    sandbox: Sandbox
    gates: Gates
    dispatcher: RunningDispatcher
    team: Team
    gateway: ModelGateway
    graph_version: str
    version: str
