"""The routes of the service of one agent: who may ask, what is read, and how answers are told as they come."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from agents._kit.remote_wire import (
    AGENT,
    ALIVE_SECONDS,
    BETWEEN,
    DEADLINE,
    ORDER_BYTES,
    RUN,
    Alive,
    Last,
    Line,
    Order,
    Refused,
    Token,
    write_line,
)
from domain.tracing import read_traceparent
from monitoring.metrics import MEDIA_TYPE
from service.agent_host import AgentHost, OrderRefusedError
from service.connections import CROWDED

MOST_AT_ONCE: Final = 64
"""Orders that are read or in work; more are refused, and go to another instance."""
MOST_SECONDS: Final = 3600.0
"""Longer than any order takes, whatever its caller waits."""

_log = logging.getLogger("signalbox.agent_host")


class Edge:
    """The application that serves an agent; with secrets it serves only who has one of them."""

    def __init__(self, host: AgentHost, secrets: tuple[str, ...]) -> None:
        self._host = host
        self._secrets = secrets
        self._in_work = 0
        self._outlets: set[_Outlet] = set()
        self._over = False
        self.app: Final = Starlette(
            routes=[
                Route("/health", self._health, methods=["GET"]),
                Route(AGENT, self._about, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
                Route(RUN, self._run, methods=["POST"]),
            ]
        )

    def give_up(self) -> None:
        """End all work: its answers break off, so that it is given to another instance."""
        self._over = True
        for outlet in self._outlets:
            outlet.close()

    async def _health(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok", "agent": self._host.spec.name})

    async def _about(self, request: Request) -> Response:
        about = Response(self._host.about().model_dump_json(), media_type="application/json")
        return self._refusal(request) or about

    async def _metrics(self, request: Request) -> Response:
        refused = self._refusal(request)
        if refused:
            return refused
        # What the process itself uses is read from files of the system.
        text = await asyncio.to_thread(self._host.metrics.render)
        return Response(text, media_type=MEDIA_TYPE)

    async def _run(self, request: Request) -> Response:
        refused = self._refusal(request)
        if refused:
            return refused
        # From here on: what is being read takes memory, too.
        if self._in_work >= MOST_AT_ONCE or request.scope.get("state", {}).get(CROWDED):
            return self._refuse(503, "as much is in work as there may be.")
        self._enter()
        try:
            order = await _read_order(request)
            self._host.check(order)
        except OrderRefusedError as error:
            self._leave()
            return self._refuse(error.status, error.detail)
        except ClientDisconnect:
            self._leave()
            return self._refuse(400, "the order broke off.")
        except BaseException:
            self._leave()
            raise
        return _Answer(self._answers(order, request), self._leave)

    async def _answers(self, order: Order, request: Request) -> AsyncGenerator[bytes]:
        """Yield the lines of an answer; the work ends when nobody reads them any more, or their time is over."""
        host, outlet = self._host, _Outlet()
        outlet.closed = self._over
        self._outlets.add(outlet)
        trace = read_traceparent(request.headers.get("traceparent"))
        with bound_contextvars(
            agent=host.spec.name,
            run_id=order.run_id,
            **({"trace_id": trace.trace_id} if trace else {}),
        ):
            work = asyncio.create_task(
                _work(host, order, outlet, _seconds(request)), name=f"{order.do} for a node"
            )
        try:
            while not outlet.closed:
                for line in await outlet.take():
                    yield write_line(line)
                    if not isinstance(line, BETWEEN):
                        return
        finally:
            self._outlets.discard(outlet)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    def _refusal(self, request: Request) -> Response | None:
        """Return what is answered to whoever has not the secret."""
        given = request.headers.get("authorization", "").encode()
        # Each is compared: how long that takes says nothing of which it was.
        matches = [hmac.compare_digest(given, f"Bearer {each}".encode()) for each in self._secrets]
        if not self._secrets or any(matches):
            return None
        self._host.metrics.refused("secret")
        return PlainTextResponse("The secret is not the right one.", 401)

    def _refuse(self, status: int, detail: str) -> Response:
        self._host.metrics.refused(str(status))
        return PlainTextResponse(detail, status)

    def _enter(self) -> None:
        self._in_work += 1
        self._host.metrics.in_work.inc()

    def _leave(self) -> None:
        self._in_work -= 1
        self._host.metrics.in_work.dec()


class _Answer(StreamingResponse):
    """An answer, and what is done when it has ended, read or not."""

    def __init__(self, answers: AsyncGenerator[bytes], leave: Callable[[], None]) -> None:
        super().__init__(answers, media_type="application/x-ndjson")
        self._answers = answers
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._answers):
                await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _read_order(request: Request) -> Order:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > ORDER_BYTES:
            raise OrderRefusedError(413, f"an order has at most {ORDER_BYTES} bytes.")
    try:
        return Order.model_validate_json(bytes(body))
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)[:5]
        )
        raise OrderRefusedError(422, f"the order cannot be read: {where}") from None


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
        self.closed = False
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

    def close(self) -> None:
        """Say no more."""
        self.closed = True
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
