"""The graph as `langgraph.json` exports it: without a saver, and without anything open until a run begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.channels import EphemeralValue
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from domain.errors import CallerError, RunFailedError
from domain.events import EventDraft
from domain.run import Ending, Run, RunStatus
from graph.state import FinalAnswer, State
from graph.workflow import recursion_limit
from service.endings import ending_of, failed_ending
from service.hosted import Hosted, HostedContext, Scratch, open_hosted, run_id_of
from service.http.fields import Said
from service.settings import read_settings


class Task(TypedDict):
    """What a run begins with."""

    task: str


class Answer(TypedDict, total=False):
    """What it comes to. It goes with the next task: else that one would seem to have ended so, while it asks or
    where it is refused."""

    run_id: Annotated[str, EphemeralValue]
    """Under which its budget and its actions are kept."""
    status: Annotated[RunStatus, EphemeralValue]
    output: Annotated[str, EphemeralValue]
    result: Annotated[dict[str, Any] | None, EphemeralValue]
    error: Annotated[dict[str, Any] | None, EphemeralValue]


class TaskAndAnswer(Task, Answer):
    """The state of a thread: a next task takes the place of both."""


class _Shared:
    """What is open while any run is under way: the first opens it, the last closes it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._hosted: Hosted | None = None
        self._users = 0
        self._scratch = Scratch()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Hosted]:
        """Yield it open."""
        async with self._lock:
            if self._hosted is None:
                settings = await asyncio.to_thread(read_settings)
                self._hosted = await self._stack.enter_async_context(
                    open_hosted(settings, self._scratch)
                )
            hosted = self._hosted
            self._users += 1
        try:
            yield hosted
        finally:
            # Before anything is waited for: whoever is cancelled while it waits is counted out all the same.
            self._users -= 1
            async with self._lock:
                if not self._users and self._hosted is not None:
                    self._hosted = None
                    await self._stack.aclose()


_shared = _Shared()

RUN: Final = "signalbox_run"
"""Where the checkpoints of a workflow say whose they are."""

_TASK: Final[TypeAdapter[str]] = TypeAdapter(Said)


async def run_team(state: Task, config: RunnableConfig, runtime: Runtime[HostedContext]) -> Answer:
    """Bring a task to its end, or to its next question.

    It is called from its first line again when a question is answered, and after a crash; the workflow
    below it goes on from its own checkpoints.
    """
    places = config["configurable"]
    asked: HostedContext | None = runtime.context
    task = _read_task(state)
    begun = await _begun(places)
    run_id = begun or _new_run_id(places, task)
    async with _shared.used() as hosted:
        try:
            run = await hosted.claim(run_id, task, asked or HostedContext(), begun=bool(begun))
        except (CallerError, RunFailedError) as error:
            # Of other exceptions the server may show no more than their names.
            raise ValueError(error.detail) from None
        if run.terminal:
            return _answer(run_id, _as_ended(run))
        ending = await _execute(hosted, run, config, runtime)
        await hosted.finish(run, ending)
    return _answer(run_id, ending)


async def _begun(places: Mapping[str, Any]) -> str | None:
    """Return the run of which there are checkpoints to go on from. What has no thread has no saver."""
    saver: BaseCheckpointSaver[Any] | None = places.get(CONFIG_KEY_CHECKPOINTER)
    if saver is None:
        return None
    where = {name: places[name] for name in ("thread_id", "checkpoint_ns")}
    found = await saver.aget_tuple({"configurable": where})
    if found is None:
        return None
    told: dict[str, Any] = {**found.metadata}
    return str(told.get(RUN) or run_id_of(*where.values()))


def _new_run_id(places: Mapping[str, Any], task: str) -> str:
    """Return the id of a run that has no checkpoints: where the server has lost them and begins the same
    request again, it is the run that it was, whose actions and spending are known."""
    request, place = places.get("run_id"), places["checkpoint_ns"]
    # Within another graph one request may set several tasks, also the same one twice.
    again = request and "|" not in place
    return run_id_of(places["thread_id"], *((str(request), task) if again else (place,)))


def _read_task(state: Task) -> str:
    """Return the task, as bounded as one of a request; raises `ValueError`."""
    try:
        return _TASK.validate_python(state.get("task"))
    except ValidationError as error:
        msg = f"/task: {error.errors(include_url=False)[0]['msg']}."
        raise ValueError(msg) from None


async def _execute(
    hosted: Hosted, run: Run, outer: RunnableConfig, runtime: Runtime[HostedContext]
) -> Ending:
    async def emit(draft: EventDraft) -> None:
        runtime.stream_writer(draft)

    state: State = {"task": run.task}
    config: RunnableConfig = {
        "recursion_limit": recursion_limit(run.budget.max_rounds),
        "metadata": {**outer.get("metadata", {}), RUN: run.id},
    }
    async with hosted.segment(run, emit) as context:
        try:
            end = await hosted.workflow.ainvoke(state, config, context=context)
        except RunFailedError as error:
            return failed_ending(error)
    final: FinalAnswer | None = end.get("final")
    if final is None:
        return failed_ending(RunFailedError("The workflow ended without an answer."))
    return ending_of(final)


def _as_ended(run: Run) -> Ending:
    return Ending(
        status=run.status,
        stop_reason=run.stop_reason or "done",
        result=run.result,
        error=run.error,
        degraded=tuple(run.degraded),
    )


def _answer(run_id: str, ending: Ending) -> Answer:
    result, error = ending.result, ending.error
    return Answer(
        run_id=run_id,
        status=ending.status,
        output=result.output if result else "",
        result=result.model_dump(mode="json") if result else None,
        error=dict(error) if error else None,
    )


def build_exported() -> CompiledStateGraph[Any, HostedContext, Any, Any]:
    """Return the graph of one node in which the workflow runs; the server gives it its saver."""
    graph: StateGraph[TaskAndAnswer, HostedContext, Task, Answer] = StateGraph(
        TaskAndAnswer, context_schema=HostedContext, input_schema=Task, output_schema=Answer
    )
    graph.add_node("team", cast("Any", run_team))
    graph.add_edge(START, "team")
    graph.add_edge("team", END)
    return graph.compile(name="signalbox")


graph = build_exported()
