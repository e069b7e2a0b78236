"""Turns every error into problem+json; the HTTP status of a code is decided in `domain/problems.py`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from domain.errors import CallerError
from domain.problems import Code, Pointer, Problem, make_problem
from domain.run import Run

PROBLEM_TYPE: Final = "application/problem+json"

OPENAI: Final = "/openai/"
"""Where problems have a member more, which is what clients of OpenAI's look for."""

DATABASE_AGAIN_SECONDS: Final = 2
"""When a client may try again that found the database away."""

_log = logging.getLogger("signalbox.http")

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_BY_STATUS: Final[dict[int, Code]] = {
    400: "malformed-json",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "payload-too-large",
    415: "unsupported-media-type",
}


def problem_response(
    request: Request,
    problem: Problem,
    *,
    headers: Mapping[str, str] | None = None,
    run: Run | None = None,
    extra: Mapping[str, object] | None = None,
) -> Response:
    """Return a problem as a response, with what belongs to this request filled in."""
    body: dict[str, Any] = {
        **problem,
        "instance": request.url.path,
        "request_id": request.scope.get("request_id", ""),
        **(extra or {}),
    }
    if request.url.path.startswith(OPENAI):
        body["error"] = openai_error(problem)
    if run is not None:
        body["run_id"] = run.id
        body["run"] = run.model_dump(mode="json")
    return Response(
        orjson.dumps(body),
        status_code=problem["status"],
        media_type=PROBLEM_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def openai_error(problem: Problem) -> dict[str, Any]:
    """Return a problem as OpenAI's clients read it."""
    errors = problem.get("errors")
    return {
        "message": problem["detail"],
        "type": problem["code"],
        "code": problem["code"],
        "param": errors[0]["pointer"].lstrip("/") if errors else None,
    }


def add_error_handlers(app: FastAPI) -> None:
    """Register a handler for everything that can go wrong."""
    app.add_exception_handler(CallerError, _on_caller_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(DBAPIError, _on_database_error)
    app.add_exception_handler(PoolTimeoutError, _on_database_error)
    app.add_exception_handler(Exception, _on_failure)


async def answer_error(request: Request, error: Exception) -> Response | None:
    """Return the answer to an error outside of the routes; `None` where it is a failure of ours."""
    if isinstance(error, CallerError):
        return await _on_caller_error(request, error)
    if isinstance(error, (DBAPIError, PoolTimeoutError)):
        return await _on_database_error(request, error)
    return None


async def _on_caller_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, CallerError):
        raise error
    problem = make_problem(error.code, error.detail)
    if error.errors:
        problem["errors"] = error.errors
    if error.run_id:
        problem["run_id"] = error.run_id
    return problem_response(request, problem, headers=error.headers, extra=error.extra)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        detail = "The body could not be read as JSON. Send one JSON object, UTF-8."
        return problem_response(request, make_problem("malformed-json", detail))
    pointers = [_pointer(fault, error.body) for fault in faults[:20]]
    first = pointers[0]
    if all(fault["loc"][:1] == ("body",) for fault in faults):
        detail = f"{first['pointer'] or 'The body'}: {first['detail']}."
        problem = make_problem("validation-error", detail)
    else:
        detail = f"{first['pointer'].lstrip('/')}: {first['detail']}."
        problem = make_problem("invalid-parameter", detail)
    problem["errors"] = pointers
    return problem_response(request, problem)


def _pointer(fault: Mapping[str, Any], body: object) -> Pointer:
    """Return where a fault lies, without the input: that may be long, or a secret."""
    where = fault["loc"][1:]
    if fault["loc"][0] == "body":
        where = _steps(where, body, missing=fault["type"] == "missing")
    message = str(fault["msg"]).removeprefix("Value error, ")
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in where)
    return Pointer(pointer=_clean(pointer)[:200], detail=_clean(message))


def _steps(where: Sequence[str | int], body: object, *, missing: bool) -> list[str | int]:
    """Return the way to a fault as far as the body has it.

    Pydantic names the alternatives of a union as steps too (`cache/CacheIn/max_age`), and a key that is
    wrong itself (`metadata/[key]`). Only a field that is missing is not there and belongs to the way.
    """
    steps: list[str | int] = []
    for number, part in enumerate(where, 1):
        members = dict(enumerate(body)) if isinstance(body, list) else body
        if isinstance(members, dict) and part in members:
            body = members[part]
        elif not (missing and number == len(where)):
            continue
        steps.append(part)
    return steps


def _clean(text: str) -> str:
    # A lone surrogate from the body can stand in a field's name, and cannot be sent back.
    return text.encode("utf-8", "replace").decode()[:500]


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, CallerError):
        # FastAPI wraps whatever goes wrong while it reads a body.
        return await _on_caller_error(request, error.__cause__)
    code = _BY_STATUS.get(error.status_code, "internal-error")
    headers = dict(error.headers or {})
    if code == "method-not-allowed":
        headers = {"allow": _allowed(request)}
    details = {
        "not-found": f"There is nothing at {request.url.path[:200]!r}. The routes are listed at /docs.",
        "method-not-allowed": f"{request.method} is not possible here; use {headers.get('allow')}.",
        "malformed-json": "The body could not be read as JSON. Send one JSON object, UTF-8.",
    }
    detail = details.get(code, f"{error.detail}.")
    return problem_response(request, make_problem(code, detail), headers=headers)


def _allowed(request: Request) -> str:
    """Return every method of a path: the router names only those of the first route it found."""

    def has(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(method for method in _METHODS if has(method))


async def _on_database_error(request: Request, error: Exception) -> Response:
    """Tell a database that is away or full from a fault of ours."""
    if isinstance(error, (IntegrityError, DataError, ProgrammingError)):
        raise error
    _log.warning(
        "The database could not be used (%s).",
        type(getattr(error, "orig", None) or error).__name__,
        extra={"action": "database_away", "request_id": request.scope.get("request_id")},
    )
    detail = "The database cannot be used at the moment. Try again soon, with the same key."
    headers = {"retry-after": str(DATABASE_AGAIN_SECONDS)}
    return problem_response(request, make_problem("overloaded", detail), headers=headers)


async def _on_failure(request: Request, error: Exception) -> Response:
    _log.error(
        "The request failed.",
        exc_info=error,
        extra={"action": "request_failed", "request_id": request.scope.get("request_id")},
    )
    detail = "The service failed. Try again; if it stays, tell its operator the request_id."
    # This answer is made outside the edge, which gives the header to all others.
    headers = {"x-request-id": str(request.scope.get("request_id", ""))}
    return problem_response(request, make_problem("internal-error", detail), headers=headers)
