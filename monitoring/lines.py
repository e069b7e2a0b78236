"""What becomes of a log record: the ids that it is about, its fields without secrets, one line of bounded length."""

from __future__ import annotations

import logging
import re
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import orjson
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from domain.secrets import Scrubber
from domain.tracing import own_trace_id
from monitoring.masking import many_lines, one_line

OURS: Final = "signalbox"
"""What the names of our loggers begin with. Only their lines have fields of their own: a library may put
whatever it has into them."""

IDS: Final = ("request_id", "run_id", "thread_id", "attempt", "agent", "trace_id")
"""What lines are about, wherever they are written; see `about`."""

_OF_A_RUN: Final = ("thread_id", "attempt", "agent", "trace_id")

MAX_TEXT: Final = 2_000
"""Characters of a field."""

MAX_TRACE: Final = 16_000
"""Characters of an exception with its traceback; of a longer one the end is kept, which says the most."""

MAX_MESSAGE: Final = 500
"""Characters of what each exception says: libraries may put into it what they were given."""

MAX_ITEMS: Final = 50
"""Members of a list."""

MAX_TRACES: Final = 10_000
"""Runs in traces of their callers that are remembered; the oldest is forgotten first."""

_HEAD: Final = ("ts", "level", "event", "action", "logger", *IDS)

_FOR_PROGRAMS: Final = ("logger", "thread_id", "trace_id", "seq", "cost_known", "metered")

_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest is `extra`."""

_CUT: Final = "…"

_RUN: Final = re.compile(r"run_[0-9a-f]{32}")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def make_formatter(mask: Scrubber, *, terminal: bool, colour: bool = False) -> ProcessorFormatter:
    """Return what makes a line of a record: JSON, or for a terminal what is read by people."""
    if not terminal:
        return ProcessorFormatter(processors=[_Fields(mask), _as_json])
    console = ConsoleRenderer(
        colors=colour,
        sort_keys=False,
        pad_event_to=0,
        timestamp_key="ts",
        exception_formatter=plain_traceback,  # there is nothing left to format
    )
    return ProcessorFormatter(processors=[_Fields(mask), _for_people, console])


class _Fields:
    """Makes the fields of a line."""

    def __init__(self, mask: Scrubber) -> None:
        self._mask = mask
        self._traces = _Traces()

    def __call__(self, _logger: WrappedLogger, _name: str, given: EventDict) -> EventDict:
        record: logging.LogRecord = given["_record"]
        fields: dict[str, Any] = {
            "ts": _time(record.created),
            "level": record.levelname.lower(),
            "event": given["event"].rstrip(),
            "logger": record.name,
            **_extra(record),
        }
        fields |= self._ids(fields)
        exception = given.get("exc_info")
        line = {
            name: self._clean(fields[name])
            for name in dict.fromkeys((*_HEAD, *fields))
            if fields.get(name) is not None
        }
        if exception and exception[0]:
            line["exception"] = self._trace(exception)
        return line

    def _ids(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a line is about that does not say so itself."""
        held = structlog.contextvars.get_contextvars()
        if fields.get("run_id") not in {None, held.get("run_id")}:
            # It tells of another run than the one that is being worked on: a follower's end, say.
            held = {name: value for name, value in held.items() if name not in _OF_A_RUN}
        found = {n: held[n] for n in IDS if fields.get(n) is None and held.get(n) is not None}
        about = {**fields, **found}
        trace_id = self._traces.find(about.get("run_id"), about.get("trace_id"))
        return {**found, "trace_id": trace_id} if trace_id else found

    def _clean(self, value: object) -> object:
        """Return a value as JSON can have it, masked and bounded."""
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if abs(value) < 2**53 else str(value)
        if isinstance(value, (list, tuple)):
            return [self._clean(each) for each in value[:MAX_ITEMS]]
        # Cut twice: masking should not take long, and what is cut in two cannot be recognised.
        text = self._mask.scrub(str(value)[: 4 * MAX_TEXT])
        return one_line(text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + _CUT)

    def _trace(self, exception: ExcInfo) -> str:
        """Return an exception as text: where it was raised and what it says, without the values of variables."""
        found = traceback.TracebackException(*exception, limit=-30, compact=True)
        text = "".join(found.format(chain=True))
        for said in _said(exception[1]):
            if len(said) > MAX_MESSAGE:
                text = text.replace(said, said[:MAX_MESSAGE] + _CUT)
        text = self._mask.scrub(text[-4 * MAX_TRACE :].rstrip())
        return many_lines(text if len(text) <= MAX_TRACE else _CUT + text[-MAX_TRACE:])


def _said(error: BaseException) -> Iterable[str]:
    """Yield what an exception says, and those that led to it."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < MAX_ITEMS:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield _text(each)
        waiting += [next_ for next_ in (each.__cause__, each.__context__) if next_ is not None]
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else []


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it may say anything but what it is
        return ""


def _extra(record: logging.LogRecord) -> Mapping[str, Any]:
    if record.name != OURS and not record.name.startswith(f"{OURS}."):
        return {}
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


class _Traces:
    """Remembers which runs are in the traces of their callers, as soon as a line tells it: later ones may not know."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, str] = OrderedDict()

    def find(self, run_id: object, told: object) -> str | None:
        """Return the trace of a run: what is told with it, or was; its own where nothing was; `None` of no run."""
        if not isinstance(run_id, str) or not _RUN.fullmatch(run_id):
            return None
        if not isinstance(told, str):
            return self._of.get(run_id) or own_trace_id(run_id)
        if told != own_trace_id(run_id):
            self._of[run_id] = told
            if len(self._of) > MAX_TRACES:
                self._of.popitem(last=False)
        return told


def _time(seconds: float) -> str:
    time = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


def _for_people(_logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
    """Return a line without what only programs need."""
    for name in _FOR_PROGRAMS:
        line.pop(name, None)
    return {**line, "ts": line["ts"][11:-1]}


def _as_json(_logger: WrappedLogger, _name: str, line: EventDict) -> str:
    return orjson.dumps(line, default=str).decode()
