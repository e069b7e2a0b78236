"""The one table from stable error codes to HTTP status, title and whether trying again can help.

It lives below HTTP because a failed run keeps its problem, and events carry it.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, NotRequired

from typing_extensions import TypedDict

Code = Literal[
    "validation-error",
    "malformed-json",
    "invalid-parameter",
    "malformed-cursor",
    "not-found",
    "unauthenticated",
    "forbidden",
    "method-not-allowed",
    "not-acceptable",
    "unsupported-media-type",
    "payload-too-large",
    "thread-busy",
    "run-terminal",
    "run-not-terminal",
    "run-cancelled",
    "run-incompatible",
    "run-deleted",
    "approval-already-decided",
    "approval-args-changed",
    "approval-expired",
    "approval-cancelled",
    "action-not-in-doubt",
    "idempotency-key-reuse",
    "idempotency-in-progress",
    "rate-limited",
    "overloaded",
    "model-error",
    "agents-failed",
    "budget-exhausted",
    "sandbox-unavailable",
    "deadline-exceeded",
    "internal-error",
]


class ProblemKind(NamedTuple):
    """What a code means to an HTTP client."""

    status: int
    title: str
    retryable: bool = False


KINDS: Final[dict[Code, ProblemKind]] = {
    "validation-error": ProblemKind(422, "The request body is not valid"),
    "malformed-json": ProblemKind(400, "The request body is not JSON"),
    "invalid-parameter": ProblemKind(400, "A parameter or header is not valid"),
    "malformed-cursor": ProblemKind(400, "The cursor is not valid"),
    "not-found": ProblemKind(404, "There is no such resource"),
    "unauthenticated": ProblemKind(401, "The caller is not known"),
    "forbidden": ProblemKind(403, "This caller may not do that"),
    "method-not-allowed": ProblemKind(405, "This resource does not have that method"),
    "not-acceptable": ProblemKind(406, "None of the accepted media types can be given"),
    "unsupported-media-type": ProblemKind(415, "The body must be JSON"),
    "payload-too-large": ProblemKind(413, "The request body is too large"),
    "thread-busy": ProblemKind(409, "The thread has an unfinished run", retryable=True),
    "run-terminal": ProblemKind(409, "The run has ended"),
    "run-not-terminal": ProblemKind(409, "The run has not ended", retryable=True),
    "run-cancelled": ProblemKind(409, "The run was cancelled"),
    "run-incompatible": ProblemKind(409, "The run cannot be continued here"),
    "run-deleted": ProblemKind(410, "The run was deleted"),
    "approval-already-decided": ProblemKind(409, "Somebody has decided otherwise"),
    "approval-args-changed": ProblemKind(409, "The call is not the one you looked at"),
    "approval-expired": ProblemKind(410, "The time to decide is over"),
    "approval-cancelled": ProblemKind(410, "The run has ended, so nothing is asked any more"),
    "action-not-in-doubt": ProblemKind(409, "The action is not in doubt"),
    "idempotency-key-reuse": ProblemKind(422, "The idempotency key was used with another body"),
    "idempotency-in-progress": ProblemKind(
        409, "The same request is still in progress", retryable=True
    ),
    "rate-limited": ProblemKind(429, "Too many requests", retryable=True),
    "overloaded": ProblemKind(503, "The service is full", retryable=True),
    "model-error": ProblemKind(502, "The language model failed"),
    "agents-failed": ProblemKind(502, "Every agent failed"),
    "budget-exhausted": ProblemKind(402, "What may be spent is used up"),
    "sandbox-unavailable": ProblemKind(503, "Code cannot be run safely here"),
    "deadline-exceeded": ProblemKind(504, "The run took too long"),
    "internal-error": ProblemKind(500, "The service failed"),
}

TYPE_PREFIX: Final = "urn:signalbox:error:"
"""Prefix of a problem's `type`; `docs/errors.md` has one heading per code."""


class Pointer(TypedDict):
    """One fault in a body: where (a JSON pointer) and what."""

    pointer: str
    detail: str


class Problem(TypedDict):
    """An RFC 9457 problem. `instance` and `request_id` are there only on HTTP answers."""

    type: str
    title: str
    status: int
    detail: str
    code: Code
    retryable: bool
    instance: NotRequired[str]
    run_id: NotRequired[str]
    request_id: NotRequired[str]
    errors: NotRequired[list[Pointer]]


def make_problem(code: Code, detail: str) -> Problem:
    """Return the problem for a code, with a sentence that says what happened and what to do next."""
    kind = KINDS[code]
    return Problem(
        type=f"{TYPE_PREFIX}{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        retryable=kind.retryable,
    )
