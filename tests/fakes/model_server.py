"""An OpenAI-compatible server over real HTTP that says what a test scripted, or something sensible.

    async with FakeModelServer(Rule(when=When(user="mean"), reply=Reply(text="145"))) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="fake-1")

Alone, for demonstrations and measurements: `python -m tests.fakes.model_server --port 8001`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from tests.fakes.model_script import (
    Fault,
    ModelRequest,
    Reply,
    Rule,
    TokenUsage,
    ToolCall,
    When,
    answer_by_default,
)

__all__ = [
    "FakeModelServer",
    "Fault",
    "ModelRequest",
    "Reply",
    "Rule",
    "TokenUsage",
    "ToolCall",
    "When",
]

ALL: Final = "*"
"""The name under which every request is counted, beside its rule's."""

GATE_SECONDS: Final = 10.0
"""A gate that nobody opens fails its test by name, long before the test's own time-out."""

CLOSE_SECONDS: Final = 5.0

MODELS: Final = ("fake-1", "fake-2")

_CREATED: Final = 1_700_000_000
_FINGERPRINT: Final = "fp_a1b2c3d4e5"
_JSON: Final = b"application/json"
_BROKEN_FRAME: Final = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choi\n\n'
_HTML: Final = b"<!doctype html><title>Welcome</title><p>Please sign in to the network."
_DONE: Final = b"data: [DONE]\n\n"
_ARGUMENT_CHARS: Final = 12
"""How finely a tool call's arguments are cut in a stream."""


def _dump(value: object) -> bytes:
    """Return JSON; what orjson refuses (half a surrogate pair, say) as the standard library has it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


class _ClientGoneError(Exception):
    """The client left, or the server closes, while an answer was held back."""


class _GateStuckError(Exception):
    """A gate was not opened in time."""


class _Choice(NamedTuple):
    """The answer to one request, and what it waits for."""

    reply: Reply
    gate: str | None = None
    gate_after: int = 0


class FakeModelServer:
    """Answer chat completions by rules, first match first, and remember what was asked."""

    def __init__(
        self,
        *rules: Rule,
        defaults: bool = True,
        record: bool = True,
        words: int = 0,
        patience: float = GATE_SECONDS,
    ) -> None:
        self.rules: list[Rule] = []
        self.requests: list[ModelRequest] = []
        self.bills: list[tuple[ModelRequest, TokenUsage]] = []
        """What a provider would bill: every answer that was begun, whether or not its end was told."""
        self.counts: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event | asyncio.Barrier] = {}
        self.release = asyncio.Event()
        """Lets every answer go that hangs."""
        self.complaints: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", _Endpoint(self), methods=["POST"]),
                Route("/v1/models", _list_models, methods=["GET"]),
            ]
        )
        self._defaults = defaults
        self._record = record
        self._words = words
        self._patience = patience
        self._numbers = itertools.count(1)
        self._closing = asyncio.Event()
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._state = ServerState()
        self.add(*rules)

    def add(self, *rules: Rule) -> None:
        """Add rules behind those there are."""
        for rule in rules:
            self.rules.append(rule)
            rule.name = rule.name or f"rule-{len(self.rules)}"

    def event(self, name: str) -> asyncio.Event:
        """Make a gate that opens when the event is set."""
        event = asyncio.Event()
        self.gates[name] = event
        return event

    def barrier(self, name: str, parties: int) -> asyncio.Barrier:
        """Make a gate that opens when so many answers wait at it: proof that they overlap."""
        barrier = asyncio.Barrier(parties)
        self.gates[name] = barrier
        return barrier

    def assert_all_used(self) -> None:
        """Fail unless every rule answered as often as it was to, and no gate got stuck."""
        complaints = [*self.complaints, *filter(None, (rule.complaint() for rule in self.rules))]
        assert not complaints, "; ".join(complaints)

    @property
    def base_url(self) -> str:
        """Return what a client takes as its base URL."""
        assert self._socket is not None, "the server is started by `async with`"
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        # uvicorn's protocol without its Server: that one installs signal handlers and sleeps 0.1 s
        # at every stop, which adds up over a suite.
        config = uvicorn.Config(
            self.app, log_config=None, access_log=False, lifespan="off", ws="none"
        )
        config.load()
        # Named TCP, or Nagle's algorithm holds every chunk back for 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(512)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(  # type: ignore[call-arg]  # declared as a bare asyncio.Protocol
                config=config, server_state=self._state, app_state={}
            ),
            sock=self._socket,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._closing.set()
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        async with asyncio.timeout(CLOSE_SECONDS):
            await asyncio.gather(*self._state.tasks, return_exceptions=True)
            await self._server.wait_closed()

    def choose(self, request: ModelRequest) -> _Choice:
        """Pick the answer to a request and book the request under the rule's name."""
        for rule in self.rules:
            if rule.takes(request):
                rule.used += 1
                request.rule = rule.name
                return _Choice(rule.answer(request), rule.gate, rule.gate_after)
        if self._defaults:
            request.rule, reply = answer_by_default(request, words=self._words)
            return _Choice(reply)
        request.rule = "unexpected"
        self.complaints.append(f"no rule answers {request.user[:200]!r}")
        return _Choice(Reply.error(400, message="no rule of the fake model server matches"))

    @contextmanager
    def counted(self, request: ModelRequest) -> Iterator[None]:
        """Count a request while it is being answered."""
        if self._record:
            self.requests.append(request)
        names = (request.rule, ALL)
        for name in names:
            self.counts[name] += 1
            self.in_flight[name] += 1
            self.most_in_flight[name] = max(self.most_in_flight[name], self.in_flight[name])
        try:
            yield
        finally:
            self.in_flight.subtract(names)

    def new_id(self, prefix: str, length: int) -> str:
        """Return an id that looks random and is the same in every run of a test."""
        number = next(self._numbers).to_bytes(8)
        return prefix + hashlib.blake2b(number).hexdigest()[:length]

    async def hold(self, gate: str, receive: Receive) -> None:
        """Wait for a gate while the client does."""
        opened = self.gates[gate]
        try:
            async with asyncio.timeout(self._patience):
                await self._while_connected(opened.wait(), receive)
        except TimeoutError as error:
            self.complaints.append(f"gate {gate} was not opened in {self._patience:g} s")
            raise _GateStuckError(self.complaints[-1]) from error

    async def hang(self, receive: Receive) -> None:
        """Say nothing until `release` is set, without a bound: the client's patience is tested."""
        await self._while_connected(self.release.wait(), receive)

    async def _while_connected(self, waited: Coroutine[Any, Any, object], receive: Receive) -> None:
        waiting = asyncio.create_task(waited, name="fake-model-gate")
        ends = [
            asyncio.create_task(_disconnected(receive), name="fake-model-client"),
            asyncio.create_task(self._closing.wait(), name="fake-model-closing"),
        ]
        try:
            await asyncio.wait([waiting, *ends], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise _ClientGoneError
        finally:
            for task in (waiting, *ends):
                task.cancel()
            await asyncio.gather(waiting, *ends, return_exceptions=True)


class _Endpoint:
    """The chat completions route as a bare ASGI app: response objects would cost throughput."""

    def __init__(self, server: FakeModelServer) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = Request(scope, receive)
        try:
            raw = await http.body()
        except ClientDisconnect:
            return
        try:
            body = orjson.loads(raw)
            request = ModelRequest(body, dict(http.headers))
        except (orjson.JSONDecodeError, AttributeError) as error:
            refusal = Reply.error(400, message=f"the body is no chat completion request: {error}")
            await _send_whole(send, 400, refusal.error_body())
            return
        choice = self._server.choose(request)
        with self._server.counted(request):
            try:
                await _Answer(self._server, request, choice, receive, send).give()
            except _ClientGoneError:
                request.cancelled = True
            except _GateStuckError as error:
                stuck = Reply.error(500, message=str(error))
                await _send_whole(send, 500, stuck.error_body())


class _Answer:
    """One answer on its way to one client."""

    def __init__(
        self,
        server: FakeModelServer,
        request: ModelRequest,
        choice: _Choice,
        receive: Receive,
        send: Send,
    ) -> None:
        self._server = server
        self._request = request
        self._reply = choice.reply
        self._gate = choice.gate
        self._gate_after = choice.gate_after if request.streamed else 0
        self._receive = receive
        self._send = send
        self._id = server.new_id("chatcmpl-", 29)

    async def give(self) -> None:
        """Send the answer, with its fault if it has one."""
        reply = self._reply
        if self._gate is not None and self._gate_after == 0:
            await self._server.hold(self._gate, self._receive)
        if reply.fault == "hang":
            await self._server.hang(self._receive)
        if reply.status == 200:
            self._server.bills.append((self._request, reply.count(self._request)))
        if reply.status != 200:
            headers = (
                [] if reply.retry_after is None else [(b"retry-after", reply.retry_after.encode())]
            )
            await _send_whole(self._send, reply.status, reply.error_body(), headers=headers)
        elif reply.fault == "not_json":
            await _send_whole(self._send, 200, _HTML, media_type=b"text/html; charset=utf-8")
        elif self._request.streamed:
            await self._stream()
        else:
            await self._whole()

    async def _whole(self) -> None:
        body = _dump(
            {
                **self._head("chat.completion"),
                "choices": [
                    {
                        "index": 0,
                        "message": self._message(),
                        "logprobs": None,
                        "finish_reason": self._reply.finish_reason,
                    }
                ],
                **(
                    {"usage": _usage(self._reply.count(self._request))}
                    if self._reply.metered
                    else {}
                ),
            }
        )
        if self._reply.fault == "malformed":
            await _send_whole(self._send, 200, body[: len(body) // 2])
        elif self._reply.fault == "disconnect":
            await _start(self._send, 200, _JSON, [(b"content-length", b"%d" % len(body))])
            await self._send(
                {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
            )
        else:
            await _send_whole(self._send, 200, body)

    def _message(self) -> dict[str, Any]:
        calls = [
            {
                "id": self._server.new_id("call_", 24),
                "type": "function",
                "function": {"name": call.name, "arguments": _dump(call.args).decode()},
            }
            for call in self._reply.tool_calls
        ]
        text = self._reply.spoken()
        message = {
            "role": "assistant",
            "content": text if text or not calls else None,
            "refusal": None,
        }
        return {**message, "tool_calls": calls} if calls else message

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": _CREATED,
            "model": self._request.model,
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }

    async def _stream(self) -> None:
        await _start(self._send, 200, b"text/event-stream; charset=utf-8", [])
        fault = self._reply.fault
        sent = 0
        async for frame in self._frames():
            if self._gate is not None and sent == self._gate_after > 0:
                try:
                    await self._server.hold(self._gate, self._receive)
                except _GateStuckError:
                    return
            await self._send({"type": "http.response.body", "body": frame, "more_body": True})
            sent += 1
            if fault == "disconnect" and sent > 1:
                return  # an answer without its end makes the server close the connection
            if fault == "malformed" and sent > 1:
                await self._send(
                    {"type": "http.response.body", "body": _BROKEN_FRAME, "more_body": True}
                )
                break
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _frames(self) -> AsyncIterator[bytes]:
        """Yield the parts of a stream: role, text, tool calls, finish reason, usage, end."""
        wants_usage = bool((self._request.body.get("stream_options") or {}).get("include_usage"))
        # Encoded once: a part differs from the next only in its delta.
        head = b"data: " + _dump(self._head("chat.completion.chunk"))[:-1]
        start = head + b',"choices":[{"index":0,"delta":'
        no_usage = b',"usage":null}\n\n' if wants_usage else b"}\n\n"
        if self._reply.recounted:
            no_usage = b',"usage":' + _dump(_usage(self._reply.count(self._request))) + b"}\n\n"
        end = b',"logprobs":null,"finish_reason":null}]' + no_usage
        yield start + b'{"role":"assistant","content":"","refusal":null}' + end
        for part in self._reply.parts():
            yield start + b'{"content":' + _dump(part) + b"}" + end
        for delta in self._call_deltas():
            yield start + _dump({"tool_calls": [delta]}) + end
        reason = self._reply.finish_reason
        if reason is None:
            return
        yield start + b'{},"logprobs":null,"finish_reason":"' + reason.encode() + b'"}]' + no_usage
        if wants_usage and self._reply.metered:
            usage = _dump(_usage(self._reply.count(self._request)))
            yield head + b',"choices":[],"usage":' + usage + b"}\n\n"
        yield _DONE

    def _call_deltas(self) -> Iterator[dict[str, Any]]:
        for index, call in enumerate(self._reply.tool_calls):
            arguments = json.dumps(call.args)  # NaN and all
            if self._reply.fault == "truncate":
                arguments = arguments[: len(arguments) // 2]
            yield {
                "index": index,
                "id": self._server.new_id("call_", 24),
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            for at in range(0, len(arguments), _ARGUMENT_CHARS):
                piece = arguments[at : at + _ARGUMENT_CHARS]
                yield {"index": index, "function": {"arguments": piece}}


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
        },
    }


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(
    send: Send, status: int, media_type: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", media_type), *headers],
        }
    )


async def _send_whole(
    send: Send,
    status: int,
    body: bytes,
    *,
    media_type: bytes = _JSON,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    length = (b"content-length", b"%d" % len(body))
    await _start(send, status, media_type, [length, *(headers or [])])
    await send({"type": "http.response.body", "body": body})


async def _list_models(_request: Request) -> Response:
    models = [
        {"id": name, "object": "model", "created": _CREATED, "owned_by": "tests"} for name in MODELS
    ]
    return Response(_dump({"object": "list", "data": models}), media_type="application/json")


def main() -> None:
    """Serve alone, without a script, until interrupted."""
    parser = argparse.ArgumentParser(description="A fake OpenAI-compatible model server.")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--words", type=int, default=0, help="fill texts up to so many words")
    args = parser.parse_args()
    sys.stdout.write(f"OPENAI_BASE_URL=http://127.0.0.1:{args.port}/v1\n")
    sys.stdout.flush()
    server = FakeModelServer(record=False, words=args.words)
    uvicorn.run(server.app, host="127.0.0.1", port=args.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
