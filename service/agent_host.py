"""The service of one agent: calls its models and runs its tools for nodes elsewhere, and keeps nothing."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AnyMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
)
from langgraph.prebuilt import ToolRuntime
from pydantic import ValidationError

from agents._kit.candidates import OpenCandidate
from agents._kit.cleaning import clean_message, clean_text
from agents._kit.emulation import InWords
from agents._kit.metering import OutsideCall
from agents._kit.models import ModelGateway
from agents._kit.offering import possible_tools
from agents._kit.outcomes import AssignmentContext
from agents._kit.outside import OutsideHandler
from agents._kit.recorder import fault_of
from agents._kit.remote_graph import run_graph
from agents._kit.remote_wire import (
    MAX_TEXTS,
    NAME_CHARS,
    About,
    Answered,
    Called,
    Calling,
    Failed,
    Last,
    Line,
    Model,
    Order,
    Refused,
    Result,
    Token,
    Used,
    agent_version,
    dump_messages,
    kept_in,
)
from agents._kit.stream import StreamOwner, owned
from domain.agent import TIERS, AgentSpec, Assignment
from domain.errors import ToolFailedError
from domain.recording import Fault
from domain.secrets import Scrubber
from monitoring.agent_metrics import AgentMetrics
from tools.openable import note_urls
from tools.registry import Toolbox


class OrderRefusedError(Exception):
    """An order that is not taken."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class AgentHost:
    """One agent, as it is served."""

    def __init__(
        self, spec: AgentSpec, toolbox: Toolbox, gateway: ModelGateway, scrubber: Scrubber
    ) -> None:
        self.spec: Final = spec
        self.version: Final = agent_version(spec)
        self.metrics: Final = AgentMetrics(spec.name)
        self._toolbox = toolbox
        self._tools = frozenset(possible_tools(spec.tools, toolbox.names))
        self._gateway = gateway
        self._scrubber = scrubber
        self._numbers = 0

    @property
    def offline(self) -> bool:
        """Return whether no model is configured."""
        return self._gateway.engine == "offline"

    def about(self) -> About:
        """Return what nodes have to know of it: which models it has, to reserve what a call may cost."""
        return About(
            agent=self.spec.name,
            version=self.version,
            chains={
                tier: [_told(each) for each in self._gateway.chain(tier).candidates]
                for tier in TIERS
            },
        )

    def check(self, order: Order) -> None:
        """Raise where an order is for another agent, another version of it, or for what it does not have."""
        if order.agent != self.spec.name:
            detail = f"this is the agent {self.spec.name}, not {order.agent[:40]!r}."
            raise OrderRefusedError(409, detail)
        if order.version != self.version:
            detail = (
                f"this is version {self.version} of the agent {self.spec.name}, the work is for "
                f"{order.version[:40]!r}. Bring both to the same release."
            )
            raise OrderRefusedError(409, detail)
        if order.do == "answer" and self._candidate(order) is None:
            detail = (
                f"there is no model {order.model[:80]!r} of the tier {order.tier} here any more."
            )
            raise OrderRefusedError(409, detail)
        names = {_name_in(form) for form in order.tools}
        names |= {order.call.name} if order.call else set()
        if names - self._tools:
            unknown = ", ".join(sorted(names - self._tools))[:200]
            detail = f"the agent {self.spec.name} has no such tools: {unknown}."
            raise OrderRefusedError(422, detail)
        if order.do == "tool" and not (order.call and self._toolbox.get(order.call.name).anywhere):
            raise OrderRefusedError(
                422, "this tool works for its run only, so the node has to run it."
            )
        if (order.do == "graph") != (self.spec.graph is not None):
            raise OrderRefusedError(
                422, "an agent with a graph of its own is asked for `graph`, no other is."
            )

    def _candidate(self, order: Order) -> OpenCandidate | None:
        chain = self._gateway.chain(order.tier).candidates
        return next((each for each in chain if each.name == order.model), None)

    async def do(self, order: Order, say: Callable[[Line], None]) -> Last:
        """Do what an order asks for; raises as it fails."""
        match order.do:
            case "answer":
                return await self._answer(order, say)
            case "tool":
                return await self._tool(order)
            case "graph":
                return await self._graph(order, say)

    async def _answer(self, order: Order, say: Callable[[Line], None]) -> Last:
        candidate = self._candidate(order)
        assert candidate is not None, "checked before"  # noqa: S101 - says so to the type checker
        streamed = order.streamed and not order.words
        model: BaseChatModel = candidate.model(streamed=streamed, max_tokens=order.max_tokens)
        if order.words:
            model = InWords(inner=model)
        bound: Any = model.bind_tools(order.tools) if order.tools else model
        sent = [SystemMessage(self.spec.prompt), *_read_messages(order)]
        async with self._gateway.limiter.slot(candidate.provider):
            message = await self._listened(order, say, lambda config: bound.ainvoke(sent, config))
        return Answered(message=dump_messages([clean_message(message)])[0])

    async def _listened(
        self,
        order: Order,
        say: Callable[[Line], None],
        work: Callable[[Any], Awaitable[Any]],
        *,
        own: bool = False,
    ) -> Any:  # noqa: ANN401 - what the work returns
        """Do work under a config with which its tokens are said."""
        self._numbers += 1
        place = f"{order.run_id}#{self._numbers}"
        owner = StreamOwner(
            run_id=place, agent=self.spec.name, prefix="", numbering="own" if own else "none"
        )
        hearing = _Hearing(say)
        hears = [self._gateway.relay, OutsideHandler(hearing)] if own else []
        config: Any = owned({"callbacks": hears} if own else {}, owner)

        def on_piece(agent: str, message_id: str, offset: int, text: str) -> None:
            del agent, offset
            say(Token(text=text, message_id=message_id))

        with self._gateway.relay.listening(place, on_piece):
            try:
                return await work(config)
            except BaseException:
                hearing.stopped = True
                raise

    async def _tool(self, order: Order) -> Last:
        assert order.call is not None, "checked before"  # noqa: S101 - says so to the type checker
        call = {"name": order.call.name, "args": order.call.args, "id": "call", "type": "tool_call"}
        tool = self._toolbox.get(order.call.name)
        async with _folder() as folder:
            await asyncio.to_thread(note_urls, folder / "sources", order.links)
            context = AssignmentContext(
                run_id=order.run_id,
                task=order.task,
                workspace=folder / "workspace",
                shelf=folder / "artifacts",
                sources=folder / "sources",
                assignment=Assignment(agent=self.spec.name, task="", path=self.spec.name, round=1),
            )
            runtime: Any = ToolRuntime(
                state={"messages": []},
                context=context,
                config={},
                stream_writer=lambda _: None,
                tool_call_id="call",
                store=None,
            )
            given = {**call, "args": {**order.call.args, "runtime": runtime}}
            try:
                async with asyncio.timeout(tool.timeout_seconds):
                    answer = await tool.tool.ainvoke(given)
            except ToolFailedError as error:
                return Refused(detail=error.detail[:20_000])
            except ValidationError:
                return Refused(detail=f"The arguments do not fit the tool {tool.name}.")
            texts, links = await kept_in(folder / "sources")
        return _result(cast("ToolMessage", answer), texts, links)

    async def _graph(self, order: Order, say: Callable[[Line], None]) -> Last:
        limit = 2 * self.spec.max_turns + 5
        async with asyncio.timeout(self.spec.timeout_seconds):
            paused: Last = await self._listened(
                order,
                say,
                lambda config: run_graph(
                    self.spec.graph, order, {**config, "recursion_limit": limit}
                ),
                own=True,
            )
        return paused

    def explain(self, error: Exception) -> Failed:
        """Return how work has failed, without what the service keeps to itself."""
        fault = fault_of(error)
        return Failed(fault=Fault.model_validate(self._scrubber.scrub_value(fault.model_dump())))


class _Hearing:
    """Says what a graph calls."""

    def __init__(self, say: Callable[[Line], None]) -> None:
        self._say = say
        self.stopped = False

    def begin(self, place: str, model: str) -> None:
        self._say(Calling(place=place, model=model))

    def end(self, place: str, call: OutsideCall | None) -> None:
        used = None
        if call:
            cause = re.sub(r"\W", "_", call.cause, flags=re.ASCII)[:60] if call.cause else None
            told = {**asdict(call), "own_id": call.own_id[:NAME_CHARS], "cause": cause}
            used = Used.model_validate(told)
        self._say(Called(place=place, used=used))


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    """Yield a folder that is there for one tool call."""
    place = await asyncio.to_thread(tempfile.mkdtemp, prefix="signalbox-agent-")
    try:
        yield Path(place)
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def _name_in(form: Mapping[str, Any]) -> str:
    about = form.get("function")
    return str(about.get("name")) if isinstance(about, dict) else "(one without a name)"


def _told(each: OpenCandidate) -> Model:
    return Model(
        model=each.name,
        max_tokens=each.max_tokens,
        context=each.window.tokens if each.window.known else None,
        json_schema=each.can_schema,
        tools=each.can_tools,
    )


def _read_messages(order: Order) -> list[AnyMessage]:
    return cast("list[AnyMessage]", messages_from_dict(order.messages))


def _result(answer: ToolMessage, texts: dict[str, str], links: list[str]) -> Last:
    if answer.status == "error":
        return Refused(detail=clean_text(answer.text)[:20_000])
    left = answer.artifact if isinstance(answer.artifact, dict) else {}
    return Result(
        text=clean_text(answer.text),
        citations=left.get("citations", []),
        texts=dict(list(texts.items())[:MAX_TEXTS]),
        links=links,
    )
