"""The routes of the chat completions: each turn of a conversation is a run, or decides for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Request
from pydantic import ValidationError
from starlette.responses import Response

from domain.approval import Approval
from domain.caller import CallerIdentity
from domain.deciding import Verdict
from domain.errors import CallerError
from domain.ports import RunRef
from domain.problems import Pointer, Problem, make_problem
from domain.run import Run
from service.approvals import Decider
from service.http.caller import Caller, Parts, needs, require
from service.http.errors import openai_error, problem_response
from service.http.json_body import JsonRoute
from service.http.openai_chat.conversation import (
    Question,
    decision_in,
    question_in,
    task_in,
    tell_question,
)
from service.http.openai_chat.schemas import ChatIn, ChatOut, ModelsOut
from service.http.openai_chat.turn import Asks, Ended, Progress, Said, describe, take_turn, usage_of
from service.http.openapi import event_schema, problems
from service.http.runs import accept, json_response
from service.http.schemas import RunCreate
from service.http.sse import event_stream
from service.services import Services

# Not in our description: what it takes and gives is described by OpenAI.
router: Final = APIRouter(
    prefix="/openai/v1", tags=["openai"], route_class=JsonRoute, include_in_schema=False
)

TEAM: Final = "signalbox"
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
    names = [TEAM, *(f"{TEAM}/{spec.name}" for spec in parts.team.routable)]
    data = [{"id": n, "object": "model", "created": 0, "owned_by": TEAM} for n in names]
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
    agents = _agents(body, parts)
    _check(body)
    question = question_in(body.messages)
    if question:
        turn = await _decide(question, body, parts, caller)
    else:
        turn = await _begin(body, agents, x_signalbox_thread, request, parts, caller)
    headers = {"Signalbox-Run": turn.run.id}
    if turn.replayed:
        headers["Idempotency-Replayed"] = "true"
    if body.ignored:
        headers["Signalbox-Ignored"] = ", ".join(body.ignored)
    if body.stream:
        return event_stream(_chunks(turn, request), headers=headers)
    return await _whole(turn, request, headers)


class _Turn:
    """A run that is answered from an event on."""

    def __init__(self, parts: Services, body: ChatIn, run: Run, after: int) -> None:
        self.parts = parts
        self.body = body
        self.run = run
        self.after = after
        self.replayed = False
        self.unanswered: list[Approval] = []
        """What the words were no answer to: it is asked again."""

    @property
    def structured(self) -> bool:
        """Return whether the answer is a document."""
        return self.run.output_schema is not None

    def head(self, kind: str) -> dict[str, Any]:
        """Return what every piece of the answer begins with."""
        created = int(self.run.created_at.timestamp())
        return {
            "id": f"chatcmpl-{self.run.id}",
            "object": kind,
            "created": created,
            "model": self.body.model,
        }


def _agents(body: ChatIn, parts: Services) -> list[str] | None:
    team, _, agent = body.model.partition("/")
    if team == TEAM and not agent and "/" not in body.model:
        return None
    if team == TEAM and any(spec.name == agent for spec in parts.team.routable):
        return [agent]
    detail = f"There is no model {body.model!r}. GET /openai/v1/models lists what there is."
    raise CallerError("not-found", detail)


def _check(body: ChatIn) -> None:
    if body.refused:
        names = ", ".join(body.refused)[:300]
        detail = (
            f"{names}: this cannot be honoured here, and is not ignored silently. Leave it out."
        )
        pointers = [
            Pointer(pointer=f"/{name}"[:200], detail="cannot be honoured")
            for name in body.refused[:20]
        ]
        raise CallerError("validation-error", detail, errors=pointers)
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
) -> _Turn:
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
    try:
        new = RunCreate(**wish)
    except ValidationError as error:
        first = error.errors()[0]
        detail = f"{'/'.join(map(str, first['loc']))}: {first['msg']}."
        raise CallerError("validation-error", detail) from error
    created = await accept(new, request, parts, caller)
    turn = _Turn(parts, body, created.run, after=0)
    turn.replayed = created.replayed
    return turn


async def _decide(
    question: Question, body: ChatIn, parts: Services, caller: CallerIdentity
) -> _Turn:
    """Decide as the words say, where they do; in any case the run is followed from here."""
    require(caller, "approvals:decide")
    run = await parts.runs.get(caller.tenant_id, question.run_id)
    turn = _Turn(parts, body, run, after=run.last_seq)
    found = [await parts.approvals.get(caller.tenant_id, each) for each in question.approval_ids]
    waiting = [each for each in found if each.run_id == run.id and each.status == "pending"]
    if not waiting:
        # Somebody else has decided, or nobody in time: the turn tells how it all went.
        turn.after = 0
        return turn
    words = body.messages[-1].text
    decisions = [(each, decision_in(words, each)) for each in waiting]
    unclear = len(waiting) > 1 and any(each.type == "input" for each in waiting)
    if unclear or any(decision is None for _, decision in decisions):
        turn.unanswered = waiting
        return turn
    verdicts = [
        Verdict(approval_id=each.id, decision=decision, args_digest=each.args_digest)
        for each, decision in decisions
        if decision is not None
    ]
    decider = Decider(tenant_id=caller.tenant_id, caller_id=caller.id)
    await parts.approvals.decide(decider, verdicts, run_id=run.id)
    return turn


async def _steps(turn: _Turn) -> AsyncIterator[Progress | Said | Ended | Asks]:
    if turn.unanswered:
        yield Said("That decides nothing.\n\n")
        yield Asks(turn.run, turn.unanswered)
        return
    ref = RunRef(turn.run.tenant_id, turn.run.id)
    async for step in take_turn(turn.parts, ref, after=turn.after):
        yield step


async def _chunks(turn: _Turn, request: Request) -> AsyncIterator[bytes]:
    """Yield the turn as server-sent chunks; one that went wrong ends with an error in their place."""
    yield _chunk(turn, {"role": "assistant", "content": ""})
    async for step in _steps(turn):
        if isinstance(step, Progress):
            yield _chunk(turn, {"reasoning_content": step.text})
        elif isinstance(step, Said):
            if not turn.structured:
                yield _chunk(turn, {"content": step.text})
        else:
            problem, text = _outcome(turn, step, request)
            if problem:
                yield b"data: " + orjson.dumps({"error": openai_error(problem)}) + b"\n\n"
                return
            if text:
                yield _chunk(turn, {"content": text})
            approvals = step.approvals if isinstance(step, Asks) else None
            own = describe(step.run, approvals)
            yield _chunk(turn, {}, finish_reason="stop", signalbox=own)
            options = turn.body.stream_options
            if options and options.include_usage:
                body = {**turn.head("chat.completion.chunk"), "choices": []}
                yield b"data: " + orjson.dumps({**body, "usage": usage_of(step.run)}) + b"\n\n"
            yield b"data: [DONE]\n\n"
            return
    problem = _cut(turn)
    yield b"data: " + orjson.dumps({"error": openai_error(problem)}) + b"\n\n"


def _chunk(
    turn: _Turn, delta: dict[str, Any], *, finish_reason: str | None = None, **more: Any
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = {**turn.head("chat.completion.chunk"), "choices": [choice], **more}
    return b"data: " + orjson.dumps(body) + b"\n\n"


async def _whole(turn: _Turn, request: Request, headers: dict[str, str]) -> Response:
    """Answer when the turn has ended, or say where the run is followed that takes longer."""
    said: list[str] = []
    last: Ended | Asks | None = None
    try:
        async with asyncio.timeout(turn.parts.settings.max_wait):
            async for step in _steps(turn):
                if isinstance(step, (Ended, Asks)):
                    last = step
                elif isinstance(step, Said) and not turn.structured:
                    said.append(step.text)
    except TimeoutError:
        last = None
    problem, text = (_cut(turn), "") if last is None else _outcome(turn, last, request)
    if problem or last is None:
        stop = {"x-should-retry": "false"}
        return problem_response(
            request,
            problem or _cut(turn),
            headers={**headers, **stop},
            run=last.run if last else None,
        )
    approvals = last.approvals if isinstance(last, Asks) else None
    message = {"role": "assistant", "content": "".join([*said, text])}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = json_response(
        {
            **turn.head("chat.completion"),
            "choices": [choice],
            "usage": usage_of(last.run),
            "signalbox": describe(last.run, approvals),
        }
    )
    answer.headers.update(headers)
    return answer


def _outcome(turn: _Turn, step: Ended | Asks, request: Request) -> tuple[Problem | None, str]:
    """Return what went wrong, or what ends the text."""
    run = step.run
    if isinstance(step, Asks):
        base = turn.parts.settings.public_url or str(request.base_url).rstrip("/")
        text = tell_question(run.id, step.approvals, base)
        return None, text if turn.unanswered else f"\n\n{text}"
    if run.status == "failed":
        return run.error or make_problem("internal-error", "The run failed."), ""
    if run.status == "cancelled":
        return make_problem("run-cancelled", "The run was cancelled while you waited."), ""
    if not turn.structured:
        return None, ""
    if run.result is None or run.result.structured is None:
        reasons = "; ".join(part.reason for part in run.degraded) or "there is no document"
        return make_problem(
            "model-error", f"The answer is not to be had by the schema: {reasons}"
        ), ""
    return None, orjson.dumps(run.result.structured).decode()


def _cut(turn: _Turn) -> Problem:
    detail = (
        f"The run {turn.run.id} goes on. Follow it at /v1/runs/{turn.run.id}, or send stream: true, "
        "which has no such limit."
    )
    return make_problem("deadline-exceeded", detail)
