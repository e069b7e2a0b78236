"""What LangSmith is told of runs: each is one tree, however many segments and processes it takes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from langchain_core.runnables import RunnableConfig
from langsmith.utils import LangSmithUserError

from domain.budget import Tried
from domain.errors import ConfigurationError
from domain.events import Event
from domain.feedback import Feedback
from domain.ports import RunRef, RunStore
from domain.run import Run
from domain.usage import ModelCall
from monitoring.langsmith import LangSmith, LangSmithAccess, Root
from service.settings import Settings, known_secrets

NOTE_SECONDS: Final = 1.0
"""How often runs that began before their trace's address was known are given it."""

REMEMBERED: Final = 10_000
"""Runs that began here, the latest; and runs without an address, so many."""

NAME: Final = "signalbox"

Value = TypeVar("Value")


class RunTrees:
    """Tells LangSmith of runs, where they are traced; looks on at what this process writes.

    `rate`: the share of runs that are traced · `agents`: the names of the team.
    """

    def __init__(
        self,
        store: RunStore,
        langsmith: LangSmith | None = None,
        *,
        rate: float = 1.0,
        agents: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._langsmith = langsmith
        self._rate = rate
        self._agents = agents
        self._begun: OrderedDict[str, None] = OrderedDict()
        self._without_url: OrderedDict[str, RunRef] = OrderedDict()

    def url(self, run_id: str) -> str | None:
        """Return where a run's trace is seen; `None` where it is not traced, or that is not known yet."""
        langsmith = self._tracing(run_id)
        return langsmith.url(Root.of(run_id)) if langsmith else None

    def config(self, run: Run, config: RunnableConfig) -> RunnableConfig:
        """Return the config of a pass over the graph with what tells of it, where the run is traced."""
        langsmith = self._tracing(run.id)
        if langsmith is None:
            return config
        if run.trace_url is None:
            _remember(self._without_url, run.id, RunRef(run.tenant_id, run.id))
        root = Root.of(run.id)
        if run.attempt == 1 and run.id not in self._begun:
            _remember(self._begun, run.id, None)
            langsmith.begin(root, **_known(run.model_dump(include=_TOLD), self._names(run)))
        metadata = {"run_id": run.id, "thread_id": run.thread_id, "attempt": run.attempt}
        callbacks = langsmith.callbacks(root, tags=[NAME, run.id], metadata=metadata)
        if callbacks is None:
            return config
        return {**config, "callbacks": callbacks, "run_name": f"segment {run.attempt}"}

    def stored(self, events: Sequence[Event]) -> None:
        """Tell of the ends among events that were just stored."""
        for event in events:
            langsmith = self._tracing(event.run_id) if event.terminal else None
            # A run that nobody has claimed has an answer that was there, or none: there is no trace of it.
            if langsmith and event.attempt:
                run = event.data["run"]
                worked = (run["result"] or {}).get("agents", {})
                langsmith.end(Root.of(event.run_id), **_known(run, worked), **_came_to(event))

    def called(self, calls: Sequence[ModelCall]) -> None:
        """Do nothing: the tracer tells of calls."""

    def tried(self, tried: Tried) -> None:
        """Do nothing, likewise."""

    def judged(self, run: Run, feedback: Feedback) -> None:
        """Tell what somebody thinks of a run, where that is traced."""
        langsmith = self._tracing(run.id)
        if langsmith and (run.trace_url or run.id in self._begun):
            langsmith.judge(
                Root.of(run.id),
                feedback_id=feedback.id.partition("_")[2],
                key=feedback.key,
                score=feedback.score,
                comment=feedback.comment,
            )

    async def note_urls(self) -> None:
        """Keep the addresses of traces with runs that began before they were known."""
        while self._without_url:
            run_id, ref = next(iter(self._without_url.items()))
            url = self.url(run_id)
            if url is None:
                break
            await self._store.note_trace(ref, url)
            self._without_url.pop(run_id, None)

    def _tracing(self, run_id: str) -> LangSmith | None:
        return self._langsmith if self._rate >= 1 or _share(run_id) < self._rate else None

    def _names(self, run: Run) -> Sequence[str]:
        return self._agents if run.agents is None else run.agents


@asynccontextmanager
async def open_trees(
    settings: Settings, agents: Sequence[str], store: RunStore
) -> AsyncIterator[RunTrees]:
    """Return what tells LangSmith of runs, or nobody where the settings say nothing of it.

    Leaving the context sends what waits, for a moment.
    """
    key = settings.langsmith_api_key
    if not settings.langsmith_tracing or key is None:
        yield RunTrees(store)
        return
    access = LangSmithAccess(
        key=key.get_secret_value(),
        endpoint=settings.langsmith_endpoint,
        project=settings.langsmith_project,
        workspace_id=settings.langsmith_workspace_id,
        hide_inputs=settings.langsmith_hide_inputs,
        hide_outputs=settings.langsmith_hide_outputs,
        secrets=await asyncio.to_thread(known_secrets, settings),
    )
    try:
        langsmith = LangSmith(access)
    except LangSmithUserError as error:
        msg = f"LangSmith cannot be used: {error}"
        raise ConfigurationError(msg) from None
    langsmith.start()
    try:
        rate = settings.langsmith_tracing_sampling_rate
        yield RunTrees(store, langsmith, rate=rate, agents=agents)
    finally:
        await langsmith.aclose()


_TOLD: Final = {"id", "thread_id", "task", "tags", "engine"}


def _known(run: dict[str, Any], agents: Iterable[str]) -> dict[str, Any]:
    """Return what is known of a run from its beginning; `agents`: those that may work on it, or have."""
    names = ("thread_id", "engine")
    metadata = {"run_id": run["id"], **{n: run[n] for n in names}, "agents": sorted(agents)}
    return {
        "name": NAME,
        "inputs": {"task": run["task"]},
        "tags": [NAME, run["id"], *run["tags"]],
        "extra": {"metadata": metadata},
    }


def _came_to(event: Event) -> dict[str, Any]:
    run = event.data["run"]
    problem, result = run["error"], run["result"] or {}
    error = f"{problem['code']}: {problem['detail']}" if problem else None
    return {
        "end_time": event.ts,
        "outputs": {
            "status": run["status"],
            "stop_reason": run["stop_reason"],
            "output": result.get("output"),
        },
        "error": "cancelled" if run["status"] == "cancelled" else error,
    }


def _share(run_id: str) -> float:
    """Return a number from 0 to 1 that belongs to a run, and is the same in every process."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8]) / 2**64


def _remember(known: OrderedDict[str, Value], run_id: str, value: Value) -> None:
    known[run_id] = value
    if len(known) > REMEMBERED:
        known.popitem(last=False)
