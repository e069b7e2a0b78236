"""What can go wrong with a model call: whether to try again, and what to say about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final

import httpx
import httpx2
import openai
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelConnectionError,
    ModelError,
    ModelTimeoutError,
)
from langchain_core.messages import AIMessage

from domain.errors import ModelAnswerError, ModelCallError, RunFailedError
from domain.recording import Fault

FILTERED: Final = "The model provider's content filter withheld the answer. Rephrase the task."
CUT_OFF: Final = "The model's answer was cut off. Raise SIGNALBOX_MODEL_MAX_OUTPUT."

LENGTH: Final = frozenset({"length", "max_tokens", "MAX_TOKENS"})
"""How providers say that an answer has reached its limit."""

_FILTER: Final = frozenset(
    {"content_filter", "refusal", "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST"}
)
"""How they say that it was withheld."""

_BROKEN_CONNECTION: Final = (
    ConnectionError,
    TimeoutError,
    httpx.TransportError,
    httpx2.TransportError,
    openai.APIConnectionError,
)

_NOT_SENT: Final = (
    ConnectionRefusedError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
)
"""What is raised before a provider has been asked."""

_PASSING: Final = frozenset({408, 409, 425, 429})
_LEAST_ERROR: Final = 400
_SERVER_FAULT: Final = 500

_TOO_LONG_STATUS: Final = frozenset({400, 413, 422})
_TOO_LONG: Final = re.compile(
    r"context.?(?:length|window|size)|maximum context|(?:prompt|input) is too long|too many input tokens"
    r"|input tokens exceed|token count.{0,40}exceed",
    re.IGNORECASE,
)
"""How servers say that a prompt is too long whose packages have no error of their own for it."""

_WINDOW: Final = re.compile(
    r"(?:maximum context length is|context size \(|context window of|configured limit of|tokens allowed \(|>)"
    r"\s*(\d{4,8})\b",
    re.IGNORECASE,
)
"""Where they say how long it may be: OpenAI and vLLM, llama.cpp, Google, Anthropic (`210000 tokens > 200000`)."""

_PACKAGES: Final = frozenset(
    {"openai", "anthropic", "google", "langchain_google_genai", "ollama", "httpx", "httpx2"}
)

_WITHHELD: Final = (openai.ContentFilterFinishReasonError, openai.LengthFinishReasonError)

_MALFORMED: Final = (ValueError, KeyError, IndexError, AttributeError, TypeError)
"""What the clients raise when an answer is not of the form they expect: a page of HTML surfaces as a
`ValueError`, a broken chunk as a bare `JSONDecodeError`, which is one too."""


_CREDENTIALS: Final = "The model provider refused the credentials (HTTP {}). Check the API key."

_BY_STATUS: Final = {
    401: _CREDENTIALS.format(401),
    403: _CREDENTIALS.format(403),
    404: "The model provider knows no such model or path (HTTP 404). "
    "Check the model's name (SIGNALBOX_MODEL_FAST, …_STANDARD, …_DEEP) and the base URL.",
    429: "The model provider's rate limit or quota is used up (HTTP 429). Try again later.",
}

_LATE: Final = (
    TimeoutError,
    ModelTimeoutError,
    openai.APITimeoutError,
    httpx.TimeoutException,
    httpx2.TimeoutException,
)

_BY_KIND: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...]] = (
    (
        _LATE,
        "The model provider did not answer in time. Try again, or raise SIGNALBOX_MODEL_TIMEOUT.",
    ),
    (openai.ContentFilterFinishReasonError, FILTERED),
    (openai.LengthFinishReasonError, CUT_OFF),
    (
        (ModelConnectionError, *_BROKEN_CONNECTION),
        "The model provider could not be reached, or broke the connection. Check the base URL.",
    ),
    (_MALFORMED, "The model provider sent a malformed answer."),
)


class RecordedError(ModelError):
    """A provider's error that was recorded, raised again."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault: Final = fault
        self.is_retryable = fault.transient
        told = fault.retry_after
        self.response: Final = SimpleNamespace(
            headers={} if told is None else {"retry-after": f"{told:g}"}
        )
        if fault.status is not None:
            self.status_code = fault.status


class _RecordedOverflowError(RecordedError, ContextOverflowError):
    """A refusal of a prompt for its length."""


def made_again(fault: Fault) -> Exception:
    """Return an error that is to its caller what the recorded one was."""
    if not fault.provider:
        # Nobody handles it: its name is all that is told.
        unhandled: Exception = type(fault.name, (Exception,), {})(fault.text)
        return unhandled
    error = (_RecordedOverflowError if fault.overflow else RecordedError)(fault)
    if not fault.billed:
        error.__cause__ = ConnectionRefusedError()
    return error


def is_transient(error: BaseException) -> bool:
    """Return whether the same call may succeed when made again."""
    if isinstance(error, ModelError):
        return error.is_retryable
    status = status_of(error)
    if status is not None:
        return status in _PASSING or status >= _SERVER_FAULT
    if isinstance(error, _WITHHELD):
        return False
    # An error that a stream told of midway has no status.
    passing = (openai.APIError, ModelAnswerError, *_MALFORMED, *_BROKEN_CONNECTION)
    return isinstance(error, passing)


def is_final(error: Exception) -> bool:
    """Return whether no model is to be called again: neither this one nor another."""
    if isinstance(error, ModelAnswerError):
        return False
    return isinstance(error, (RunFailedError, *_WITHHELD)) or not is_provider_error(error)


def is_provider_error(error: Exception) -> bool:
    if isinstance(error, (ModelError, *_MALFORMED, *_BROKEN_CONNECTION)):
        return True
    # By name: most providers' packages are not installed.
    return any(kind.__module__.partition(".")[0] in _PACKAGES for kind in type(error).__mro__)


def may_be_billed(error: BaseException) -> bool:
    """Return whether a call that failed like this may have been paid: not where it was refused with an HTTP
    error, nor where it never reached its provider."""
    if status_of(error) is not None or is_overflow(error):
        return False
    return not any(isinstance(cause, _NOT_SENT) for cause in causes(error))


def is_overflow(error: BaseException) -> bool:
    """Return whether a provider refused a prompt because it is longer than the model's window."""
    if isinstance(error, ContextOverflowError):
        return True
    return status_of(error) in _TOO_LONG_STATUS and _TOO_LONG.search(str(error)) is not None


def told_window(error: BaseException) -> int | None:
    """Return how large the window is, where a refusal says so."""
    found = _WINDOW.search(str(error))
    return int(found[1]) if found else None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a provider refused a call with, if it did."""
    for cause in causes(error):
        for name in ("status_code", "code"):
            status = getattr(cause, name, None)
            if isinstance(status, int) and status >= _LEAST_ERROR:
                return status
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was made of: providers' packages wrap them, or hide them."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__


def explain(error: BaseException) -> str:
    """Return one sentence on a failed model call: what happened and what to do, without prompt or key."""
    if isinstance(error, RunFailedError):
        return error.detail
    if isinstance(error, RecordedError):
        return error.fault.said
    status = status_of(error)
    if status is not None:
        return _BY_STATUS.get(status, f"The model provider answered HTTP {status}.")
    for kinds, sentence in _BY_KIND:
        if isinstance(error, kinds):
            return sentence
    return f"The model call failed ({type(error).__name__})."


def cause_of(error: BaseException) -> str:
    """Return what a call failed of, in one word: the HTTP status, or the kind of error."""
    status = status_of(error)
    if status is not None:
        return str(status)
    if isinstance(error, _LATE):
        return "timeout"
    return type(error).__name__


def finish_reason(message: AIMessage) -> str | None:
    """Return why the model stopped, in whichever field its provider puts it."""
    meta = message.response_metadata
    for name in ("finish_reason", "stop_reason", "done_reason"):
        if meta.get(name):
            return str(meta[name])
    return None


def check_answer(message: AIMessage, *, structured: bool = False) -> None:
    """Raise `ModelAnswerError` where a message is no whole answer, `ModelCallError` where to ask again would
    be in vain: withheld, or cut off where half an answer (`structured`) is none."""
    reason = finish_reason(message)
    if reason is None and message.usage_metadata is None:
        # langchain-openai raises nothing on a cut stream: these two are the only signs.
        msg = "The model's answer broke off before its end."
        raise ModelAnswerError(msg)
    if reason in _FILTER:
        raise ModelCallError(FILTERED)
    if structured and reason in LENGTH:
        raise ModelCallError(CUT_OFF)
    if not message.text.strip() and not message.tool_calls and not message.invalid_tool_calls:
        msg = "The model answered with nothing."
        raise ModelAnswerError(msg)
