"""The service of one agent: calls its models and runs its tools for nodes elsewhere, and keeps nothing."""

from __future__ import annotations

import asyncio
import hmac
import logging
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
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
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from structlog.contextvars import bound_contextvars

from agents._kit.candidates import OpenCandidate
from agents._kit.cleaning import clean_message, clean_text
from agents._kit.emulation import InWords
from agents._kit.models import ModelGateway
from agents._kit.offering import possible_tools
from agents._kit.outcomes import AssignmentContext
from agents._kit.recorder import fault_of
from agents._kit.remote_graph import run_graph
from agents._kit.remote_wire import (
    AGENT,
    ALIVE_SECONDS,
    DEADLINE,
    MAX_TEXTS,
    ORDER_BYTES,
    RUN,
    About,
    Alive,
    Answered,
    Failed,
    Last,
    Line,
    Model,
    Order,
    Refused,
    Result,
    Token,
    agent_version,
    dump_messages,
    kept_in,
    write_line,
)
from agents._kit.stream import StreamOwner, owned
from domain.agent import TIERS, AgentSpec, Assignment
from domain.errors import ToolFailedError
from domain.recording import Fault
from domain.secrets import Scrubber
from domain.tracing import read_traceparent
from monitoring.agent_metrics import AgentMetrics
from monitoring.metrics import MEDIA_TYPE
from tools.openable import note_urls
from tools.registry import Toolbox

MOST_AT_ONCE: Final = 64
"""Orders in work; more are refused, and go to another instance."""
MOST_SECONDS: Final = 3600.0
"""Longer than any order takes, whatever its caller waits."""

_log = logging.getLogger("signalbox.agent_host")


class _RefusedError(Exception):
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
            raise _RefusedError(409, detail)
        if order.version != self.version:
            detail = (
                f"this is version {self.version} of the agent {self.spec.name}, the work is for "
                f"{order.version[:40]!r}. Bring both to the same release."
            )
            raise _RefusedError(409, detail)
        if order.do == "answer" and self._candidate(order) is None:
            detail = (
                f"there is no model {order.model[:80]!r} of the tier {order.tier} here any more."
            )
            raise _RefusedError(409, detail)
        names = {str(form.get("function", {}).get("name")) for form in order.tools}
        names |= {order.call.name} if order.call else set()
        if names - self._tools:
            unknown = ", ".join(sorted(names - self._tools))[:200]
            detail = f"the agent {self.spec.name} has no such tools: {unknown}."
            raise _RefusedError(422, detail)
        if order.do == "tool" and not (order.call and self._toolbox.get(order.call.name).anywhere):
            raise _RefusedError(422, "this tool works for its run only, so the node has to run it.")
        if (order.do == "graph") != (self.spec.graph is not None):
            raise _RefusedError(
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
        config: Any = owned({"callbacks": [self._gateway.relay]} if own else {}, owner)

        def on_piece(agent: str, message_id: str, offset: int, text: str) -> None:
            del agent, offset
            say(Token(text=text, message_id=message_id))

        with self._gateway.relay.listening(place, on_piece):
            return await work(config)

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


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    """Yield a folder that is there for one tool call."""
    place = await asyncio.to_thread(tempfile.mkdtemp, prefix="signalbox-agent-")
    try:
        yield Path(place)
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


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


class _Edge:
    """The routes of a service; with a secret it serves only who has it."""

    def __init__(self, host: AgentHost, secret: str | None) -> None:
        self._host = host
        self._secret = secret
        self._in_work = 0

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health, methods=["GET"]),
            Route(AGENT, self.about, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route(RUN, self.run, methods=["POST"]),
        ]

    async def health(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok", "agent": self._host.spec.name})

    async def about(self, request: Request) -> Response:
        about = Response(self._host.about().model_dump_json(), media_type="application/json")
        return self._refusal(request) or about

    async def metrics(self, request: Request) -> Response:
        refused = self._refusal(request)
        if refused:
            return refused
        # What the process itself uses is read from files of the system.
        text = await asyncio.to_thread(self._host.metrics.render)
        return Response(text, media_type=MEDIA_TYPE)

    async def run(self, request: Request) -> Response:
        refused = self._refusal(request)
        if refused:
            return refused
        try:
            order = await self._accept(request)
        except _RefusedError as error:
            self._host.metrics.refused(str(error.status))
            return PlainTextResponse(error.detail, error.status)
        return StreamingResponse(self._lines(order, request), media_type="application/x-ndjson")

    def _refusal(self, request: Request) -> Response | None:
        """Return what is answered to whoever has not the secret."""
        given = request.headers.get("authorization", "").encode()
        wanted = f"Bearer {self._secret}".encode()
        if self._secret is None or hmac.compare_digest(given, wanted):
            return None
        self._host.metrics.refused("secret")
        return PlainTextResponse("The secret is not the right one.", 401)

    async def _accept(self, request: Request) -> Order:
        if self._in_work >= MOST_AT_ONCE:
            raise _RefusedError(503, "as much is in work as there may be.")
        order = await _read_order(request)
        self._host.check(order)
        return order

    async def _lines(self, order: Order, request: Request) -> AsyncIterator[bytes]:
        self._in_work += 1
        self._host.metrics.in_work.inc()
        try:
            async with aclosing(_answers(self._host, order, request)) as answers:
                async for line in answers:
                    yield line
        finally:
            self._in_work -= 1
            self._host.metrics.in_work.dec()


def make_app(host: AgentHost, secret: str | None) -> Starlette:
    """Return the application that serves an agent."""
    return Starlette(routes=_Edge(host, secret).routes())


async def _read_order(request: Request) -> Order:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > ORDER_BYTES:
            raise _RefusedError(413, f"an order has at most {ORDER_BYTES} bytes.")
    try:
        return Order.model_validate_json(bytes(body))
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)[:5]
        )
        raise _RefusedError(422, f"the order cannot be read: {where}") from None


async def _answers(host: AgentHost, order: Order, request: Request) -> AsyncGenerator[bytes]:
    """Yield the lines of an answer; the work ends when nobody reads them any more, or their time is over."""
    outlet = _Outlet()
    trace = read_traceparent(request.headers.get("traceparent"))
    with bound_contextvars(
        agent=host.spec.name, run_id=order.run_id, **({"trace_id": trace.trace_id} if trace else {})
    ):
        work = asyncio.create_task(
            _work(host, order, outlet, _seconds(request)), name=f"{order.do} for a node"
        )
    try:
        while True:
            for line in await outlet.take():
                yield write_line(line)
                if not isinstance(line, (Alive, Token)):
                    return
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def _seconds(request: Request) -> float:
    try:
        wanted = float(request.headers.get(DEADLINE, MOST_SECONDS))
    except ValueError:
        wanted = MOST_SECONDS
    return min(max(wanted, 0.0), MOST_SECONDS) if wanted == wanted else MOST_SECONDS  # noqa: PLR0124 - not a number


async def _work(host: AgentHost, order: Order, outlet: _Outlet, seconds: float) -> None:
    began = time.perf_counter()
    status = "cancelled"
    try:
        async with asyncio.timeout(seconds):
            last: Last = await host.do(order, outlet.say)
        status = "refused" if isinstance(last, Refused) else "completed"
    except Exception as error:  # noqa: BLE001 - whatever it is, the node is told
        last = host.explain(error)
        status = "failed"
        if not last.fault.provider:
            _log.exception("An order failed.", extra={"action": "order_failed", "at": order.at})
    finally:
        took = time.perf_counter() - began
        host.metrics.ended(order.do, status, took)
        fields = {
            "action": "order_ended",
            "what": order.do,
            "at": order.at,
            "status": status,
            "seconds": round(took, 3),
        }
        _log.info("An order has ended.", extra=fields)
    outlet.say(last)


class _Outlet:
    """What is to be said: tokens that come faster than they are read are said together."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._some = asyncio.Event()

    def say(self, line: Line) -> None:
        last = self._lines[-1] if self._lines else None
        if (
            isinstance(line, Token)
            and isinstance(last, Token)
            and last.message_id == line.message_id
        ):
            self._lines[-1] = Token(text=last.text + line.text, message_id=line.message_id)
        else:
            self._lines.append(line)
        self._some.set()

    async def take(self) -> list[Line]:
        """Return what there is to say, as soon as there is something, or that the service is still there."""
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await self._some.wait()
        except TimeoutError:
            return [Alive()]
        self._some.clear()
        lines, self._lines = self._lines, []
        return lines
