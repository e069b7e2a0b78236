"""A run's values, also where the graph is called without any."""

from __future__ import annotations

from langgraph.runtime import Runtime

from domain.run import RunContext


def run_context(runtime: Runtime[RunContext]) -> RunContext:
    """Return the run's values; a graph called by hand, without a context, gets the defaults."""
    context: RunContext | None = runtime.context
    return context or RunContext()
