"""The only place that knows LangGraph's stream shapes: parts in, events and model calls out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import RunControl
from langgraph.types import Command

from domain.approval import AskRaised
from domain.events import EventDraft
from domain.run import RunContext
from domain.usage import ModelCall
from graph.projection import update_drafts
from graph.state import FinalAnswer, State, Workflow

Item = EventDraft | ModelCall | AskRaised
"""What a segment produces for the store: events, model calls to book, and questions to people."""


class Segment:
    """One pass over the graph from its last checkpoint until it ends or pauses."""

    def __init__(self, graph: Workflow) -> None:
        self._graph = graph
        self._round = 0
        self.final: FinalAnswer | None = None
        """What the graph ended with; `None` until it has."""

    async def run(
        self,
        start: State | Command[Any] | None,
        *,
        config: RunnableConfig,
        context: RunContext,
        control: RunControl,
        round_: int = 0,
    ) -> AsyncGenerator[Item]:
        """Stream the graph; `None` continues from the checkpoint, which stands at `round_`, a `Command`
        answers what it asked.

        Raises `GraphDrained` at a superstep's end after `control.request_drain`.
        """
        self._round = round_
        async for part in self._graph.astream(
            start,
            config,
            context=context,
            stream_mode=["updates", "custom"],
            version="v2",
            control=control,
            # The next step need not wait for the last one's checkpoint: the event log does.
            durability="async" if self._graph.checkpointer else None,
        ):
            for item in self._read(part):
                yield item

    def _read(self, part: Mapping[str, Any]) -> Iterator[Item]:
        kind, data = part["type"], part["data"]
        if kind == "custom":
            if isinstance(data, (EventDraft, ModelCall)):
                yield data
        elif kind == "updates":
            yield from self._read_updates(data)

    def _read_updates(self, data: dict[str, Any]) -> Iterator[Item]:
        # A question, under `__interrupt__`, is no dict: what is asked is read from the checkpoint.
        for update in data.values():
            if isinstance(update, dict):
                self._round = update.get("round", self._round)
                self.final = update.get("final", self.final)
                yield from update_drafts(cast("State", update), self._round)
