"""Ends a run whose time is over with the best there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from langgraph.runtime import Runtime
from langgraph.types import Command

from agents._kit.outcomes import failed_outcome
from domain.agent import AgentSpec
from domain.errors import RunFailedError
from domain.run import RunContext
from graph.context import run_context
from graph.state import State

TOO_LATE = "It was not finished when the run's time was over."


class Deadline:
    """Says how much time runs have left, to the nodes that work and to the one that ends them."""

    def __init__(self, seconds_left: Callable[[str], float | None]) -> None:
        self._seconds_left = seconds_left

    def over(self, state: State, runtime: Runtime[RunContext]) -> Command[Any] | None:
        """Return the way to the answer where the run's time is over; what waits is given up."""
        if self._seconds_left(run_context(runtime).run_id) != 0:
            return None
        paused = [work for _, work in sorted(state.get("paused", {}).items()) if work]
        update: State = {
            "stop_reason": "deadline",
            "paused": {work["assignment"]["path"]: None for work in paused},
            "decisions": dict.fromkeys(state.get("decisions", {})),
        }
        if paused:
            update["outcomes"] = [
                failed_outcome(
                    work["assignment"],
                    AgentSpec(name=work["assignment"]["agent"], description=""),
                    model="",
                    code="deadline-exceeded",
                    detail=TOO_LATE,
                )
                for work in paused
            ]
        return Command(goto="answer", update=update)

    @asynccontextmanager
    async def bounded(self, run_id: str) -> AsyncIterator[None]:
        """Stop what is done within, where the run's time is over; raises `RunFailedError` then."""
        bound = asyncio.timeout(self._seconds_left(run_id))
        try:
            async with bound:
                yield
        except TimeoutError:
            if bound.expired():
                raise RunFailedError(TOO_LATE, code="deadline-exceeded") from None
            raise
