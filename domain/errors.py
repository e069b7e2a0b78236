"""Every error the product raises on purpose.

SignalboxError
├── ConfigurationError      start-up stops: one line, which setting, what it was, what it may be
│   └── DatabaseInUseError  another process has the database for itself
├── CallerError             the caller's mistake; `code` decides the HTTP status (domain/problems.py)
├── RunFailedError          a run, or one agent of it, cannot go on
│   ├── ModelCallError      a model call failed for good
│   ├── ModelAnswerError    a model answered with something unusable (a cut stream, nothing at all)
│   ├── BudgetReachedError  the next model call would not fit what the run may spend
│   ├── TurnLimitError      an agent used up its model calls
│   ├── ToolFailedError     a tool refused or failed; the model reads the sentence and adapts
│   └── EffectUnknownError  a call was sent, and nobody knows whether it took effect
├── OwnershipLostError      control flow, not a failure: a newer claim or an ending took the run away
└── StoreUnavailableError   likewise: what the run has done cannot be saved now, a later claim goes on
"""

from __future__ import annotations

from domain.problems import Code, Pointer


class SignalboxError(Exception):
    """The base of every error raised on purpose."""


class ConfigurationError(SignalboxError):
    """The service cannot start as it is configured; the message is one line and says the remedy."""


class DatabaseInUseError(ConfigurationError):
    """Another process has the database for itself: a file, or a Postgres without the queue.

    `url` is where its API is, if it serves one.
    """

    def __init__(self, message: str, *, url: str | None = None) -> None:
        super().__init__(message)
        self.url = url


class CallerError(SignalboxError):
    """The caller's mistake. `detail` says what happened, with the value, and what to do next."""

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        errors: list[Pointer] | None = None,
        run_id: str | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.run_id = run_id
        self.headers = headers or {}
        self.extra = extra or {}
        """More members of the problem: what the caller has to know, such as who won."""


class SchemaRefusedError(SignalboxError):
    """A JSON schema that no document is checked by: where, as a pointer into it, and why."""

    def __init__(self, pointer: str, why: str) -> None:
        super().__init__(why)
        self.pointer = pointer
        self.why = why


class RunFailedError(SignalboxError):
    """A run, or one agent of it, cannot go on. `detail` is safe to show: no prompt, no key."""

    code: Code = "internal-error"

    def __init__(self, detail: str, *, code: Code | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code


class ModelCallError(RunFailedError):
    """A model call failed for good: refused, or still failing after the last retry."""

    code = "model-error"


class ModelAnswerError(RunFailedError):
    """A model answered with something unusable: a stream without an end, or nothing at all."""

    code = "model-error"


class BudgetReachedError(RunFailedError):
    """The next model call would not fit what the run may spend: somebody is asked, nothing is lost."""

    code = "budget-exhausted"

    def __init__(
        self, detail: str, *, scope: str, limits: dict[str, object], asks: bool, raised: int = 0
    ) -> None:
        super().__init__(detail)
        self.scope = scope
        """`run`, or the agent whose own limit it is."""
        self.limits = limits
        """Those that were reached and can be raised, as they stand."""
        self.asks = asks
        """Whether a person may let it go on."""
        self.raised = raised
        """How often somebody has raised the same limits before, and they were lowered to this again."""


class TurnLimitError(RunFailedError):
    """An agent used all the model calls one assignment may have without answering."""

    code = "agents-failed"


class ToolFailedError(RunFailedError):
    """A tool refused or failed. The sentence is written for the model, which may try otherwise."""


class EffectUnknownError(RunFailedError):
    """A tool has acted, or may have: it is not known whether the call took effect.

    Never a reason to make the call again: its action is in doubt until a person settles it.
    """


class OwnershipLostError(SignalboxError):
    """The segment no longer owns the run: nothing it does may be written."""


class StoreUnavailableError(SignalboxError):
    """The database cannot be reached: the segment ends without an end, and a later claim goes on."""
