"""The only place that knows LangGraph's stream shapes: parts in, events and deltas out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import RunControl

from domain.events import SUPERVISOR, Delta, EventDraft, GraphOpened, MessageOpened
from domain.run import RunContext
from domain.usage import ModelCall
from graph.projection import Workflow, update_drafts
from graph.state import Final as FinalAnswer
from graph.state import State

Item = EventDraft | Delta | ModelCall | MessageOpened
"""What a segment produces: events to store, deltas to pass on, calls to book, messages begun."""


class Segment:
    """One pass over the graph from its last checkpoint until it ends or pauses."""

    def __init__(self, graph: Workflow) -> None:
        self._graph = graph
        self._foreign: dict[str, GraphOpened] = {}
        self._open: dict[str, _Writing] = {}
        self._round = 0
        self.final: FinalAnswer | None = None
        """What the graph ended with; `None` until it has."""
        self.interrupted = False
        """Whether a node asked a person."""

    async def run(
        self,
        start: State | None,
        *,
        config: RunnableConfig,
        context: RunContext,
        control: RunControl,
        round_: int = 0,
    ) -> AsyncIterator[Item]:
        """Stream the graph; `start=None` continues from the checkpoint, which stands at `round_`.

        Raises `GraphDrained` at a superstep's end after `control.request_drain`.
        """
        self._round = round_
        async for part in self._graph.astream(
            start,
            config,
            context=context,
            stream_mode=["updates", "messages", "custom"],
            subgraphs=True,
            version="v2",
            control=control,
            # Without a saver "sync" crashes.
            durability="sync" if self._graph.checkpointer else None,
        ):
            for item in self._read(part):
                yield item

    def _read(self, part: Mapping[str, Any]) -> Iterator[Item]:
        kind, ns, data = part["type"], part["ns"], part["data"]
        if kind == "custom":
            yield from self._read_custom(ns, data)
        elif kind == "messages":
            yield from self._read_token(ns, data[0])
        elif kind == "updates" and not ns:
            yield from self._read_updates(data)

    def _read_custom(self, ns: tuple[str, ...], data: object) -> Iterator[Item]:
        if isinstance(data, MessageOpened):
            self._open[ns[0] if ns else SUPERVISOR] = _Writing(data.agent, data.message_id)
            yield data
        elif isinstance(data, GraphOpened):
            self._foreign[data.namespace] = data
        elif isinstance(data, (EventDraft, ModelCall)):
            yield data

    def _read_token(self, ns: tuple[str, ...], message: object) -> Iterator[Item]:
        if not isinstance(message, (AIMessageChunk, AIMessage)) or not message.text:
            return
        writing = self._writing(ns, message)
        if writing:
            yield writing.take(message.text)

    def _writing(self, ns: tuple[str, ...], message: AIMessage) -> _Writing | None:
        """Return the message a token belongs to."""
        key = ns[0] if ns else SUPERVISOR
        foreign = self._foreign.get(key)
        if foreign is None:
            writing = self._open.get(key)
            whole = not isinstance(message, AIMessageChunk)
            # A model that streams was heard already when its whole message comes.
            return None if writing and whole and writing.sent else writing
        message_id = f"{foreign.prefix}{message.id}"
        return self._open.setdefault(message_id, _Writing(foreign.agent, message_id))

    def _read_updates(self, data: dict[str, Any]) -> Iterator[Item]:
        for node, update in data.items():
            if node == "__interrupt__":
                self.interrupted = True
            elif isinstance(update, dict):
                self._round = update.get("round", self._round)
                yield from self._rest_of_answer(update)
                yield from update_drafts(cast("State", update), self._round)

    def _rest_of_answer(self, update: dict[str, Any]) -> Iterator[Item]:
        """Send what of the final answer was not streamed: all of it where one agent's result is the answer."""
        final: FinalAnswer | None = update.get("final")
        if final is None:
            return
        self.final = final
        writing = self._open.get(SUPERVISOR)
        if writing and len(final["output"]) > writing.sent:
            yield writing.take(final["output"][writing.sent :])


class _Writing:
    """A message that is being written: its id and how much of it was sent."""

    def __init__(self, agent: str, message_id: str) -> None:
        self.agent = agent
        self.message_id = message_id
        self.sent = 0

    def take(self, text: str) -> Delta:
        delta = Delta(agent=self.agent, message_id=self.message_id, offset=self.sent, text=text)
        self.sent += len(text)
        return delta
