"""The fake model server, in the words of two other providers: Anthropic's Messages and Ollama's chat.

Rules see every request as OpenAI would have got it, so one script serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.model_script import ModelRequest, Reply, TokenUsage
from tests.fakes.model_server import FakeModelServer

Body = dict[str, Any]

_STOPS: Final = {"tool_calls": "tool_use", "stop": "end_turn", "length": "max_tokens"}


class OtherProviders(FakeModelServer):
    """Answers `/anthropic/v1/messages` and `/ollama/api/chat` beside what it answers anyway.

    Of faults it knows HTTP errors, and answers that end early: the others are about OpenAI's protocol.
    """

    def __init__(self, *rules: Any) -> None:
        super().__init__(*rules)
        self.app.router.routes += [
            Route("/anthropic/v1/messages", self._anthropic, methods=["POST"]),
            Route("/ollama/api/chat", self._ollama, methods=["POST"]),
        ]

    def url(self, provider: str) -> str:
        """Return the address of a provider."""
        return f"{self.base_url.removesuffix('/v1')}/{provider}"

    async def _anthropic(self, http: Request) -> Response:
        body = await http.json()
        assert body["max_tokens"] > 0, "Anthropic insists on it"
        request = ModelRequest(_of_anthropic(body), dict(http.headers))
        reply, usage = self._decide(request)
        if reply.status != 200:
            error = {"type": "api_error", "message": reply.message or "scripted"}
            return _json({"type": "error", "error": error}, reply)
        if not request.streamed:
            return _json(_message(request, reply, usage), reply)
        return StreamingResponse(
            _message_events(request, reply, usage), media_type="text/event-stream"
        )

    async def _ollama(self, http: Request) -> Response:
        request = ModelRequest(_of_ollama(await http.json()), dict(http.headers))
        reply, usage = self._decide(request)
        if reply.status != 200:
            return _json({"error": reply.message or "scripted"}, reply)
        lines = list(_ollama_lines(request, reply, usage))
        if not request.streamed:
            whole = {**lines[-1], "message": _ollama_message(reply, reply.spoken())}
            return _json(whole, reply)
        return StreamingResponse(
            (orjson.dumps(line) + b"\n" for line in lines), media_type="application/x-ndjson"
        )

    def _decide(self, request: ModelRequest) -> tuple[Reply, TokenUsage]:
        choice = self.choose(request)
        assert choice.gate is None, "gates are for OpenAI's protocol"
        with self.counted(request):
            usage = choice.reply.count(request)
            if choice.reply.status == 200:
                self.bills.append((request, usage))
            return choice.reply, usage


def _json(body: Body, reply: Reply) -> Response:
    headers = {"retry-after": reply.retry_after} if reply.retry_after else {}
    return Response(orjson.dumps(body), reply.status, headers, "application/json")


# Anthropic: system apart, tool results in user messages, content in blocks.


def _of_anthropic(body: Body) -> Body:
    messages: list[Body] = [{"role": "system", "content": body.get("system") or ""}]
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [block for block in blocks if block["type"] == "tool_result"]
        messages += [{"role": "tool", "content": block["content"]} for block in results]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        if text or not results:
            messages.append({"role": message["role"], "content": text})
    form = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    return {
        "model": body["model"],
        "stream": body.get("stream"),
        "messages": messages,
        **_offered([(t["name"], t["input_schema"]) for t in body.get("tools") or ()]),
        **_demanded(form),
    }


def _offered(tools: list[tuple[str, Body]]) -> Body:
    functions = [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in tools
    ]
    return {"tools": functions} if functions else {}


def _demanded(schema: Body | None) -> Body:
    if not schema:
        return {}
    form = {"name": "answer", "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def _usage(usage: TokenUsage) -> Body:
    """Return Anthropic's count: what was cached is not part of the input tokens."""
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.output_tokens,
    }


def _message(request: ModelRequest, reply: Reply, usage: TokenUsage) -> Body:
    text = reply.spoken()
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [*([{"type": "text", "text": text}] if text else []), *_uses(reply)],
        "stop_reason": _STOPS[reply.finish_reason or "stop"],
        "stop_sequence": None,
        "usage": _usage(usage),
    }


def _uses(reply: Reply) -> list[Body]:
    return [
        {"type": "tool_use", "id": f"toolu_{number}", "name": call.name, "input": dict(call.args)}
        for number, call in enumerate(reply.tool_calls)
    ]


def _message_events(request: ModelRequest, reply: Reply, usage: TokenUsage) -> Iterator[bytes]:
    whole = _message(request, reply, usage)
    start = {**whole, "content": [], "stop_reason": None}
    start["usage"] = {**whole["usage"], "output_tokens": 1}
    yield _event("message_start", message=start)
    for index, block in enumerate(whole["content"]):
        empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        yield _event("content_block_start", index=index, content_block=empty)
        for delta in _deltas(block, reply):
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    if reply.fault == "truncate":
        return
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage=whole["usage"])
    yield _event("message_stop")


def _deltas(block: Body, reply: Reply) -> Iterator[Body]:
    if block["type"] == "text":
        yield from ({"type": "text_delta", "text": part} for part in reply.parts())
    else:
        yield {"type": "input_json_delta", "partial_json": orjson.dumps(block["input"]).decode()}


def _event(kind: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **data}))


# Ollama: lines of JSON, of which the last has the counts; arguments are objects.


def _of_ollama(body: Body) -> Body:
    tools = [(t["function"]["name"], t["function"]["parameters"]) for t in body.get("tools") or ()]
    schema = body.get("format")
    return {
        "model": body["model"],
        "stream": body.get("stream"),
        "messages": body["messages"],
        "options": body.get("options"),
        **_offered(tools),
        **_demanded(schema if isinstance(schema, dict) else None),
    }


def _ollama_message(reply: Reply, text: str) -> Body:
    calls = [{"function": {"name": c.name, "arguments": dict(c.args)}} for c in reply.tool_calls]
    return {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}


def _ollama_lines(request: ModelRequest, reply: Reply, usage: TokenUsage) -> Iterator[Body]:
    head = {"model": request.model, "created_at": "2026-01-01T00:00:00Z"}
    for part in reply.parts():
        message = {"role": "assistant", "content": part}
        yield {**head, "message": message, "done": False}
    if reply.tool_calls:
        yield {**head, "message": _ollama_message(reply, ""), "done": False}
    if reply.fault == "truncate":
        return
    yield {
        **head,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "length" if reply.fault == "length" else "stop",
        "prompt_eval_count": usage.input_tokens,
        "eval_count": usage.output_tokens,
    }


SetVariable = Callable[[str, str], None]


def point_at(models: OtherProviders, set_variable: SetVariable) -> None:
    """Set the variables by which the packages of these providers find their servers."""
    set_variable("ANTHROPIC_API_KEY", "sk-ant-test")
    set_variable("ANTHROPIC_BASE_URL", models.url("anthropic"))
    set_variable("OLLAMA_HOST", models.url("ollama"))
