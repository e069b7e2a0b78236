"""A client of Signalbox: `Signalbox` waits for what it asks for, `AsyncSignalbox` awaits it.

from signalbox import Signalbox

with Signalbox() as client:
print(client.run("What is 17% of 80?").output)
"""

from __future__ import annotations

from signalbox.client import AsyncSignalbox, Signalbox
from signalbox.errors import (
    ApprovalConflictError,
    BudgetExhaustedError,
    ConfigurationError,
    ForbiddenError,
    IdempotencyError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ProblemError,
    RateLimitedError,
    RunCancelledError,
    RunConflictError,
    RunEndedError,
    RunFailedError,
    ServerFailedError,
    ServerUnreachableError,
    SignalboxError,
    StreamBrokenError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
    WaitExceededError,
)
from signalbox.models import (
    Agent,
    Approval,
    Artifact,
    Event,
    Problem,
    Receipt,
    Run,
    RunResult,
    Tool,
    Usage,
)
from signalbox.options import AgentBudget, Budget, Decision, RunOptions
from signalbox.sending import Retries
from signalbox.streams import AsyncEventStream, EventStream

__all__ = [
    "Agent",
    "AgentBudget",
    "Approval",
    "ApprovalConflictError",
    "Artifact",
    "AsyncEventStream",
    "AsyncSignalbox",
    "Budget",
    "BudgetExhaustedError",
    "ConfigurationError",
    "Decision",
    "Event",
    "EventStream",
    "ForbiddenError",
    "IdempotencyError",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadedError",
    "Problem",
    "ProblemError",
    "RateLimitedError",
    "Receipt",
    "Retries",
    "Run",
    "RunCancelledError",
    "RunConflictError",
    "RunEndedError",
    "RunFailedError",
    "RunOptions",
    "RunResult",
    "ServerFailedError",
    "ServerUnreachableError",
    "Signalbox",
    "SignalboxError",
    "StreamBrokenError",
    "Tool",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "Usage",
    "WaitExceededError",
]
