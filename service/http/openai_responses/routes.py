"""The routes of the responses: each tells of a run, or of what became of it since a person was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from domain.caller import CallerIdentity
from domain.errors import CallerError
from domain.problems import Problem, make_problem
from service.http.caller import Caller, Parts, Tenant, needs
from service.http.errors import problem_response
from service.http.json_body import JsonRoute
from service.http.negotiation import idempotency_of, wait_seconds
from service.http.openai_chat.answering import Turn, agents_of, begin, headers_of, marked, refuse
from service.http.openai_chat.conversation import question_in, task_in
from service.http.openai_chat.turn import Asks, Ended, Progress, Said, Step
from service.http.openai_responses.answer import Answer, Shape
from service.http.openai_responses.following import answered, find, stands, told_again
from service.http.openai_responses.schemas import DeletedOut, ResponseIn, ResponseOut
from service.http.openai_responses.stream import MAX_SEEN, ResponseEvents
from service.http.openapi import event_schema, problems
from service.http.runs import json_response
from service.http.schemas import CancelIn
from service.http.sse import event_stream
from service.services import Services

# Not in our description: what it takes and gives is described by OpenAI.
router: Final = APIRouter(
    prefix="/openai/v1/responses", tags=["openai"], route_class=JsonRoute, include_in_schema=False
)

ResponseIdIn = Annotated[str, Path(max_length=100)]

_EVENTS: Final = event_schema(
    {
        "type": "object",
        "properties": {"type": {"type": "string"}, "sequence_number": {"type": "integer"}},
        "required": ["type", "sequence_number"],
    },
    {
        "event": "response.output_text.delta",
        "data": '{"type":"response.output_text.delta","sequence_number":1000003,"delta":"13.6"}',
    },
)


@router.post(
    "",
    operation_id="create_response",
    summary="Have a turn answered as a response",
    dependencies=[needs("runs:write")],
    response_model=ResponseOut,
    responses={
        200: {"content": {**_EVENTS}},
        **problems(400, 402, 403, 404, 409, 410, 413, 415, 422, 500, 502, 503, 504),
    },
)
async def create_response(
    body: ResponseIn, request: Request, parts: Parts, caller: Caller
) -> Response:
    """Create a run for what was said last, or decide what the turn before has asked. A client that leaves
    does not stop it."""
    agents = agents_of(body.model, parts.team)
    _check(body)
    turn = await _turn(body, agents, request, parts, caller)
    ignored = body.ignored if turn.begun else sorted([*body.ignored, *body.wishes])
    headers = headers_of(turn, ignored)
    answer = Answer(turn, Shape.of(body), request)
    if body.stream:
        return event_stream(_frames(answer, turn.steps()), headers=headers)
    if body.background:
        return await _as_it_stands(answer, headers)
    return await _whole(answer, headers)


@router.get(
    "/{response_id}",
    operation_id="get_response",
    summary="Get a response, or follow it",
    dependencies=[needs("runs:read")],
    response_model=ResponseOut,
    responses={200: {"content": {**_EVENTS}}, **problems(400, 404, 500)},
)
async def get_response(
    response_id: ResponseIdIn,
    request: Request,
    parts: Parts,
    tenant: Tenant,
    *,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, le=MAX_SEEN)] = None,
) -> Response:
    """Return the response as its run stands now, always 200, with `Prefer: wait=N` as soon as it has ended; or
    its events, after those that were seen."""
    if starting_after is not None and not stream:
        detail = "starting_after: this goes with stream=true, and only with it."
        raise CallerError("invalid-parameter", detail)
    turn = await find(response_id, parts, tenant)
    answer = Answer(turn, Shape.kept(turn.run), request)
    headers = headers_of(turn, [])
    if stream:
        frames = _frames(answer, told_again(turn), seen=starting_after)
        return event_stream(frames, headers=headers)
    seconds = wait_seconds(request, None, parts.settings.max_wait)
    if seconds:
        await parts.runs.wait(turn.run, seconds)
    return await _as_it_stands(answer, headers)


@router.post(
    "/{response_id}/cancel",
    operation_id="cancel_response",
    summary="Cancel a response",
    dependencies=[needs("runs:write")],
    response_model=ResponseOut,
    responses=problems(400, 404, 409, 500),
)
async def cancel_response(
    response_id: ResponseIdIn, request: Request, parts: Parts, tenant: Tenant
) -> Response:
    """Stop the run behind a response, begun in the background or not."""
    turn = await find(response_id, parts, tenant)
    done = await parts.runs.cancel(
        tenant, turn.run.id, None, idempotency=idempotency_of(request, CancelIn())
    )
    turn.replayed = done.replayed
    return await _as_it_stands(Answer(turn, Shape.kept(turn.run), request), headers_of(turn, []))


@router.delete(
    "/{response_id}",
    operation_id="delete_response",
    summary="Delete a response",
    dependencies=[needs("runs:write")],
    response_model=DeletedOut,
    responses=problems(404, 409, 500),
)
async def delete_response(response_id: ResponseIdIn, parts: Parts, tenant: Tenant) -> Response:
    """Delete the run behind a response, which has to have ended, with every trace of it."""
    turn = await find(response_id, parts, tenant)
    await parts.erasure.erase_run(turn.run)
    return json_response({"id": response_id, "object": "response", "deleted": True})


def _check(body: ResponseIn) -> None:
    refuse(body)
    wanted = body.text.format if body.text else None
    if wanted and (wanted.type == "json_schema") != (wanted.own is not None):
        detail = "/text/format: schema goes with the type 'json_schema', and only with it."
        raise CallerError("validation-error", detail)
    if body.thread is not None and body.previous_response_id is not None:
        detail = "/conversation: name the thread or the response to follow up on, not both."
        raise CallerError("validation-error", detail)


async def _turn(
    body: ResponseIn,
    agents: list[str] | None,
    request: Request,
    parts: Services,
    caller: CallerIdentity,
) -> Turn:
    """Return what answers the body: the run that it decides for, or one that it makes."""
    said = body.said
    # Raises where nobody asks anything: also of an answer to a question.
    task = task_in(said, alone=False)
    wish: dict[str, Any] = {"task": task, "agents": agents, "metadata": body.metadata or {}}
    if body.schema_wanted is not None:
        wish["output_schema"] = body.schema_wanted
    if body.thread is not None:
        wish["thread_id"] = body.thread
    if body.previous_response_id is None:
        question = question_in(said)
        if question:
            return await marked(question, said[-1].text, parts, caller)
        return await begin(wish, request, parts, caller)
    before = await find(body.previous_response_id, parts, caller.tenant_id)
    turn = await answered(before, said[-1].text, parts, caller)
    return turn or await begin({**wish, "thread_id": before.run.thread_id}, request, parts, caller)


async def _frames(
    answer: Answer, steps: AsyncIterator[Step], *, seen: int | None = None
) -> AsyncIterator[bytes]:
    """Yield the turn as typed events; the last one says how it went."""
    turn = answer.turn
    events = ResponseEvents(answer, seen=seen)
    yield events.begin(turn.run)
    async for step in steps:
        if isinstance(step, Progress):
            frames = events.progress(step)
        elif isinstance(step, Said):
            # Of a document nothing is said before it is there.
            frames = events.said(step) if turn.unanswered or not turn.structured else b""
        else:
            yield events.end(step)
            return
        if frames:
            yield frames
    yield events.cut(_cut(answer))


async def _as_it_stands(answer: Answer, headers: dict[str, str]) -> Response:
    last = await stands(answer.turn)
    if last is None:
        run = await answer.turn.parts.runs.get(answer.turn.run.tenant_id, answer.turn.run.id)
        body = answer.going(run)
    else:
        body = answer.ended(last)
    return _response(body, headers)


async def _whole(answer: Answer, headers: dict[str, str]) -> Response:
    """Answer when the turn has ended, or say where the run is followed that takes longer."""
    last: Ended | Asks | None = None
    try:
        async with asyncio.timeout(answer.turn.parts.settings.max_wait):
            async for step in answer.turn.steps():
                if isinstance(step, (Ended, Asks)):
                    last = step
    except TimeoutError:
        last = None
    problem = _cut(answer) if last is None else answer.outcome(last)[0]
    if problem or last is None:
        # A failure is never a 200, and no gateway or SDK should pay for it again.
        return problem_response(
            answer.request,
            problem or _cut(answer),
            headers={**headers, "x-should-retry": "false"},
            run=last.run if last else None,
        )
    return _response(answer.ended(last), headers)


def _response(body: dict[str, Any], headers: dict[str, str]) -> Response:
    response = json_response(body)
    response.headers.update(headers)
    return response


def _cut(answer: Answer) -> Problem:
    detail = (
        f"The run {answer.turn.run.id} goes on. Look at /openai/v1/responses/{answer.id} again, "
        "or send background: true or stream: true, which have no such limit."
    )
    return make_problem("deadline-exceeded", detail)
