"""What can go wrong, as exceptions.

SignalboxError
├── ConfigurationError          the address or key cannot be one
├── ServerUnreachableError      nobody answers there
├── UnexpectedAnswerError       what answers is no Signalbox, or of another kind
├── StreamBrokenError           a stream of events ended again and again without anything new
├── WaitExceededError           the time that you gave is over; the run goes on
├── RunEndedError               the run has ended, and not well: `run` is the run
│   ├── RunFailedError
│   └── RunCancelledError
└── ProblemError                the server refuses: `status`, `code`, `detail`, `errors`, `request_id`
├── InvalidRequestError         400, 405, 406, 413, 415, 422
├── UnauthenticatedError        401
├── ForbiddenError              403
├── BudgetExhaustedError        402
├── NotFoundError               404, and 410 of a deleted run
├── RunConflictError            409: the run or its thread does not stand so
├── ApprovalConflictError       409, 410: decided otherwise, expired, changed; `approval` is how it stands
├── IdempotencyError            409, 422: the key is in use, or was used for something else
├── UnavailableError            429, 503: `retry_after` says when to come back
│   ├── RateLimitedError
│   └── OverloadedError
└── ServerFailedError           500, 502, 504
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from signalbox.models import Approval, Pointer, Problem, Run


class SignalboxError(Exception):
    """Whatever this package raises. It comes whole out of a pool of processes, with what it carries."""

    def __reduce__(self) -> tuple[object, ...]:
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[SignalboxError], args: tuple[object, ...]) -> SignalboxError:
    return kind.__new__(kind, *args)


class ConfigurationError(SignalboxError):
    """An address, a key or another argument cannot be what it is meant to be."""


class ServerUnreachableError(SignalboxError):
    """Nobody answers, after as many attempts as were allowed."""


class UnexpectedAnswerError(SignalboxError):
    """An answer is not what the API says: another program answers, or a version that is too far away."""


class StreamBrokenError(SignalboxError):
    """A stream of events broke off again and again without anything new. The run may go on."""

    def __init__(self, message: str, *, last_seq: int) -> None:
        super().__init__(message)
        self.last_seq = last_seq
        """The number of the last stored event that was given: `after=` it goes on."""


class WaitExceededError(SignalboxError):
    """The time that was given is over. The run goes on."""

    def __init__(self, message: str, *, run_id: str, run: Run | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.run = run
        """As it was seen last, where it was."""


class RunEndedError(SignalboxError):
    """A run has ended, and has not come to what it was made for."""

    def __init__(self, message: str, *, run: Run) -> None:
        super().__init__(message)
        self.run = run


class RunFailedError(RunEndedError):
    """A run has failed; `run.error` says why."""


class RunCancelledError(RunEndedError):
    """A run was cancelled; what it had produced is in `run.result`."""


class ProblemError(SignalboxError):
    """The server refuses, and says why."""

    def __init__(
        self,
        problem: Problem,
        *,
        retry_after: float | None = None,
        run: Run | None = None,
        approval: Approval | None = None,
    ) -> None:
        super().__init__(_sentence(problem))
        self.problem = problem
        self.retry_after = retry_after
        """Seconds after which the server wants to be asked again."""
        self.run = run
        """The run that the answer is about, where it has one."""
        self.approval = approval
        """The approval as it stands, with the decision that won."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """Return the stable code, such as `not-found`."""
        return self.problem.code

    @property
    def detail(self) -> str:
        """Return what happened and what to do next."""
        return self.problem.detail

    @property
    def errors(self) -> list[Pointer]:
        """Return the faults of the body, each with where it is."""
        return self.problem.errors or []

    @property
    def request_id(self) -> str | None:
        """Return what the server's log knows the request by."""
        return self.problem.request_id


class InvalidRequestError(ProblemError):
    """The request is not one that this server takes."""


class UnauthenticatedError(ProblemError):
    """The key is missing, or not known there."""


class ForbiddenError(ProblemError):
    """The key may not do that."""


class BudgetExhaustedError(ProblemError):
    """What may be spent is used up."""


class NotFoundError(ProblemError):
    """There is no such thing, or it is somebody else's."""


class RunConflictError(ProblemError):
    """The run, or its thread, does not stand so that this can be done."""


class ApprovalConflictError(ProblemError):
    """The question does not stand so that this can be decided; `approval` is how it stands."""


class IdempotencyError(ProblemError):
    """The idempotency key was used for another body, or its first request is still in progress."""


class UnavailableError(ProblemError):
    """The server cannot now; `retry_after` says when to come back."""


class RateLimitedError(UnavailableError):
    """The key has made as many requests as it may."""


class OverloadedError(UnavailableError):
    """The server is full, or its database is away."""


class ServerFailedError(ProblemError):
    """The server, or a model that it asked, has failed."""


BY_CODE: Final[Mapping[str, type[ProblemError]]] = {
    "validation-error": InvalidRequestError,
    "malformed-json": InvalidRequestError,
    "invalid-parameter": InvalidRequestError,
    "malformed-cursor": InvalidRequestError,
    "method-not-allowed": InvalidRequestError,
    "not-acceptable": InvalidRequestError,
    "unsupported-media-type": InvalidRequestError,
    "payload-too-large": InvalidRequestError,
    "unauthenticated": UnauthenticatedError,
    "forbidden": ForbiddenError,
    "budget-exhausted": BudgetExhaustedError,
    "not-found": NotFoundError,
    "run-deleted": NotFoundError,
    "thread-busy": RunConflictError,
    "run-terminal": RunConflictError,
    "run-not-terminal": RunConflictError,
    "run-cancelled": RunConflictError,
    "run-incompatible": RunConflictError,
    "approval-already-decided": ApprovalConflictError,
    "approval-args-changed": ApprovalConflictError,
    "approval-expired": ApprovalConflictError,
    "approval-cancelled": ApprovalConflictError,
    "action-not-in-doubt": ApprovalConflictError,
    "idempotency-key-reuse": IdempotencyError,
    "idempotency-in-progress": IdempotencyError,
    "rate-limited": RateLimitedError,
    "overloaded": OverloadedError,
    "sandbox-unavailable": ServerFailedError,
    "model-error": ServerFailedError,
    "agents-failed": ServerFailedError,
    "deadline-exceeded": ServerFailedError,
    "internal-error": ServerFailedError,
}
"""The exception of each code."""

_BY_STATUS: Final[Mapping[int, type[ProblemError]]] = {
    401: UnauthenticatedError,
    402: BudgetExhaustedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: RunConflictError,
    410: NotFoundError,
    429: RateLimitedError,
    503: OverloadedError,
}
"""The exception of a code that a newer server has."""


def kind_of(problem: Problem) -> type[ProblemError]:
    """Return the exception of a problem."""
    known = BY_CODE.get(problem.code) or _BY_STATUS.get(problem.status)
    if known:
        return known
    return ServerFailedError if problem.status >= 500 else InvalidRequestError  # noqa: PLR2004 - HTTP's own border


def run_error(run: Run) -> RunEndedError | None:
    """Return what a run that has ended badly is raised as."""
    if run.status == "failed":
        why = f"{run.error.title}: {run.error.detail}" if run.error else "It does not say why."
        return RunFailedError(f"{run.id} has failed. {why}", run=run)
    if run.status == "cancelled":
        return RunCancelledError(f"{run.id} was cancelled.", run=run)
    return None


def _sentence(problem: Problem) -> str:
    where = f" ({problem.code}, request {problem.request_id})" if problem.request_id else ""
    return f"{problem.title}: {problem.detail}{where or f' ({problem.code})'}"
