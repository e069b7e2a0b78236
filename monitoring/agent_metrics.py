"""What the service of one agent counts, as Prometheus reads it: `signalbox_agent_service_…`."""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class AgentMetrics:
    """The counters of one process."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._registry = CollectorRegistry()
        self._orders = Counter(
            "signalbox_agent_service_orders",
            "Orders that have ended.",
            ("agent", "do", "status"),
            registry=self._registry,
        )
        self._refused = Counter(
            "signalbox_agent_service_refusals",
            "Requests that were refused.",
            ("agent", "why"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "signalbox_agent_service_seconds",
            "How long orders took.",
            ("agent", "do"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        in_work = Gauge(
            "signalbox_agent_service_in_work",
            "Orders that are worked on.",
            ("agent",),
            registry=self._registry,
        )
        self.in_work: Final = in_work.labels(agent)
        for why in ("secret", "409", "413", "422", "503"):
            self._refused.labels(agent, why)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def ended(self, do: str, status: str, seconds: float) -> None:
        """Count an order."""
        self._orders.labels(self._agent, do, status).inc()
        self._seconds.labels(self._agent, do).observe(seconds)

    def refused(self, why: str) -> None:
        """Count a request that was refused: for its secret, or with which HTTP status."""
        self._refused.labels(self._agent, why).inc()

    def render(self) -> bytes:
        """Return everything as text."""
        return generate_latest(self._registry)
