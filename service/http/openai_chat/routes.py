"""The routes of the chat completions: each turn of a conversation is a run, or decides for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from domain.caller import CallerIdentity
from domain.errors import CallerError
from domain.problems import Problem, make_problem
from service.http.caller import Caller, Parts, needs
from service.http.errors import openai_error, problem_response
from service.http.json_body import JsonRoute
from service.http.openai_chat.answering import (
    TEAM,
    Turn,
    agents_of,
    begin,
    headers_of,
    marked,
    model_names,
    outcome,
    refuse,
)
from service.http.openai_chat.conversation import question_in, task_in
from service.http.openai_chat.schemas import ChatIn, ChatOut, ModelsOut
from service.http.openai_chat.turn import Asks, Ended, Progress, Said, describe, usage_of
from service.http.openapi import event_schema, problems
from service.http.runs import json_response
from service.http.sse import event_stream
from service.services import Services

# Not in our description: what it takes and gives is described by OpenAI.
router: Final = APIRouter(
    prefix="/openai/v1", tags=["openai"], route_class=JsonRoute, include_in_schema=False
)

THREAD: Final = "x-signalbox-thread"

_CHUNKS: Final = event_schema(
    {
        "type": "object",
        "properties": {
            "object": {"const": "chat.completion.chunk"},
            "choices": {"type": "array", "items": {"type": "object"}},
        },
    },
    {
        "data": '{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"13.6"}}]}'
    },
)


@router.get(
    "/models",
    operation_id="list_chat_models",
    summary="List what chat clients may name as a model",
    dependencies=[needs("runs:read", "runs:write")],
    response_model=ModelsOut,
    responses=problems(500),
)
async def list_chat_models(parts: Parts) -> Response:
    """Return the team, and each of its agents alone."""
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": TEAM}
        for name in model_names(parts.team)
    ]
    return json_response({"object": "list", "data": data})


@router.post(
    "/chat/completions",
    operation_id="create_chat_completion",
    summary="Have a turn of a conversation answered",
    dependencies=[needs("runs:write")],
    response_model=ChatOut,
    responses={
        200: {"content": {**_CHUNKS}},
        **problems(400, 402, 403, 404, 409, 410, 413, 415, 422, 500, 502, 503, 504),
    },
)
async def create_chat_completion(
    body: ChatIn,
    request: Request,
    parts: Parts,
    caller: Caller,
    x_signalbox_thread: Annotated[
        str | None,
        Header(
            max_length=200, description="The thread to follow up on: it has what was said before."
        ),
    ] = None,
) -> Response:
    """Create a run for what was said last, or decide what the turn before has asked. A client that leaves
    does not stop it."""
    agents = agents_of(body.model, parts.team)
    _check(body)
    question = question_in(body.messages)
    if question:
        turn = await marked(question, body.messages[-1].text, parts, caller)
    else:
        turn = await _begin(body, agents, x_signalbox_thread, request, parts, caller)
    headers = headers_of(turn, body.ignored)
    answer = _Answer(turn, body)
    if body.stream:
        return event_stream(_chunks(answer, request), headers=headers)
    return await _whole(answer, request, headers)


class _Answer:
    """What a turn is answered with."""

    def __init__(self, turn: Turn, body: ChatIn) -> None:
        self.turn = turn
        self.body = body

    def head(self, kind: str) -> dict[str, Any]:
        """Return what every piece of the answer begins with."""
        run = self.turn.run
        return {
            "id": f"chatcmpl-{run.id}",
            "object": kind,
            "created": int(run.created_at.timestamp()),
            "model": self.body.model,
        }

    def said(self, step: Said) -> str:
        """Return a piece as it is put behind those before it; of a document nothing is said before it is there."""
        if self.turn.structured:
            return ""
        return f"\n\n---\n\n{step.text}" if step.anew else step.text

    def outcome(self, step: Ended | Asks, request: Request) -> tuple[Problem | None, str]:
        """Return what went wrong, or what ends the text."""
        problem, text = outcome(self.turn, step, request)
        if isinstance(step, Asks) and not self.turn.unanswered:
            text = f"\n\n{text}"
        return problem, text


def _check(body: ChatIn) -> None:
    refuse(body)
    wanted = body.response_format
    if wanted and (wanted.type == "json_schema") != (wanted.json_schema is not None):
        detail = "/response_format: json_schema goes with the type 'json_schema', and only with it."
        raise CallerError("validation-error", detail)


async def _begin(
    body: ChatIn,
    agents: list[str] | None,
    thread: str | None,
    request: Request,
    parts: Services,
    caller: CallerIdentity,
) -> Turn:
    form = body.response_format
    wish: dict[str, Any] = {
        "task": task_in(body.messages, alone=thread is not None),
        "agents": agents,
        "metadata": body.metadata or {},
    }
    if thread is not None:
        wish["thread_id"] = thread
    if form and form.json_schema:
        wish["output_schema"] = form.json_schema.own
    return await begin(wish, request, parts, caller)


async def _chunks(answer: _Answer, request: Request) -> AsyncIterator[bytes]:
    """Yield the turn as server-sent chunks; one that went wrong ends with an error in their place."""
    yield _chunk(answer, {"role": "assistant", "content": ""})
    async for step in answer.turn.steps():
        if isinstance(step, Progress):
            yield _chunk(answer, {"reasoning_content": step.text})
        elif isinstance(step, Said):
            if text := answer.said(step):
                yield _chunk(answer, {"content": text})
        else:
            problem, text = answer.outcome(step, request)
            if problem:
                yield b"data: " + orjson.dumps({"error": openai_error(problem)}) + b"\n\n"
                return
            if text:
                yield _chunk(answer, {"content": text})
            approvals = step.approvals if isinstance(step, Asks) else None
            own = describe(step.run, approvals)
            yield _chunk(answer, {}, finish_reason="stop", signalbox=own)
            options = answer.body.stream_options
            if options and options.include_usage:
                body = {**answer.head("chat.completion.chunk"), "choices": []}
                yield b"data: " + orjson.dumps({**body, "usage": usage_of(step.run)}) + b"\n\n"
            yield b"data: [DONE]\n\n"
            return
    problem = _cut(answer.turn)
    yield b"data: " + orjson.dumps({"error": openai_error(problem)}) + b"\n\n"


def _chunk(
    answer: _Answer, delta: dict[str, Any], *, finish_reason: str | None = None, **more: Any
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = {**answer.head("chat.completion.chunk"), "choices": [choice], **more}
    return b"data: " + orjson.dumps(body) + b"\n\n"


async def _whole(answer: _Answer, request: Request, headers: dict[str, str]) -> Response:
    """Answer when the turn has ended, or say where the run is followed that takes longer."""
    said: list[str] = []
    last: Ended | Asks | None = None
    try:
        async with asyncio.timeout(answer.turn.parts.settings.max_wait):
            async for step in answer.turn.steps():
                if isinstance(step, (Ended, Asks)):
                    last = step
                elif isinstance(step, Said) and not answer.turn.structured:
                    if step.anew:
                        said.clear()
                    said.append(step.text)
    except TimeoutError:
        last = None
    problem, text = (_cut(answer.turn), "") if last is None else answer.outcome(last, request)
    if problem or last is None:
        stop = {"x-should-retry": "false"}
        return problem_response(
            request,
            problem or _cut(answer.turn),
            headers={**headers, **stop},
            run=last.run if last else None,
        )
    approvals = last.approvals if isinstance(last, Asks) else None
    message = {"role": "assistant", "content": "".join([*said, text])}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    response = json_response(
        {
            **answer.head("chat.completion"),
            "choices": [choice],
            "usage": usage_of(last.run),
            "signalbox": describe(last.run, approvals),
        }
    )
    response.headers.update(headers)
    return response


def _cut(turn: Turn) -> Problem:
    detail = (
        f"The run {turn.run.id} goes on. Follow it at /v1/runs/{turn.run.id}, or send stream: true, "
        "which has no such limit."
    )
    return make_problem("deadline-exceeded", detail)
