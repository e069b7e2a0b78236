"""What every answer that is not a success has to look like."""

from __future__ import annotations

from typing import Any, Final

import httpx

from domain.problems import KINDS, TYPE_PREFIX, Code
from service.http.errors import PROBLEM_TYPE

FIELDS: Final = frozenset(
    {"type", "title", "status", "detail", "code", "instance", "retryable", "request_id"}
)

EXTRA: Final = frozenset({"errors", "run_id", "run", "approval"})


def assert_problem(response: httpx.Response, code: Code) -> dict[str, Any]:
    """Check a problem in full and return it."""
    assert response.headers["content-type"] == PROBLEM_TYPE, response.text[:500]
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem.get("code")) == (KINDS[code].status, code), problem
    assert problem.keys() >= FIELDS, problem
    assert not problem.keys() - FIELDS - EXTRA, problem
    assert problem["type"] == f"{TYPE_PREFIX}{code}"
    assert problem["title"] == KINDS[code].title
    assert problem["status"] == response.status_code
    assert problem["retryable"] is KINDS[code].retryable
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["detail"].strip()
    assert problem["instance"].startswith("/")
    assert "Traceback" not in response.text
    assert 'File "' not in response.text
    return problem


def pointers(problem: dict[str, Any]) -> list[str]:
    """Return where a problem's faults lie."""
    return [fault["pointer"] for fault in problem.get("errors", [])]
