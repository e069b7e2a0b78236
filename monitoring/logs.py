"""Log lines: a sentence, a stable `action`, and the ids it is about. Never prompts, keys or bodies.

Whoever has something to say says it to `logging`, with `extra={"action": …}`; here is what becomes of it, and of
what libraries say (docs/logs.md).
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Any, Final, TextIO

import orjson
from structlog.contextvars import bind_contextvars, bound_contextvars

from domain.secrets import Scrubber
from monitoring.lines import IDS, OURS, make_formatter
from monitoring.masking import make_mask

MAX_WAITING: Final = 10_000
"""Lines that may wait to be written, because whoever reads them is slow; more are lost, and counted."""

PIPE_BYTES: Final = 4_096
"""What fits into a pipe of which it is said that it can be written to."""

AT_ONCE: Final = 200
"""Lines that are written together."""

FLUSH_SECONDS: Final = 2.0
"""How long a process that ends waits for its last lines to be written."""

FOR_TERMINALS: Final = (f"{OURS}.journal", f"{OURS}.requests")
"""Those who write down all that happens, which a command shows otherwise."""

_log = logging.getLogger(f"{OURS}.logs")


def configure_logs(
    secrets: Iterable[str] = (), *, level: int = logging.INFO, colour: bool = True
) -> None:
    """Send all log lines of this process to stderr: ours from `level` on, those of libraries from WARNING on.

    A terminal gets lines for people, everything else JSON. `secrets`: what must not show in any line.
    """
    terminal = sys.stderr.isatty()
    handler = LineHandler(sys.stderr, terminal=terminal)
    handler.setFormatter(make_formatter(make_mask(secrets), terminal=terminal, colour=colour))
    _take_over(handler)
    logging.getLogger(OURS).setLevel(level)
    logging.captureWarnings(capture=True)
    _catch_the_rest()


def keep_to_warnings(secrets: Iterable[str] = (), *, traces: bool = True) -> None:
    """Have a command whose output is its own say only what went wrong, a plain sentence each; `traces`: with where
    in the code an error came from."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Sentences(make_mask(secrets), traces=traces))
    _take_over(handler)
    for name in FOR_TERMINALS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _take_over(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for each in [each for each in root.handlers if isinstance(each, LineHandler)]:
        each.flush()
        each.close()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # Of a server that is not ours (`uvicorn api:app`), which has its own; there is a line for each request here.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"


def are_configured() -> bool:
    """Return whether somebody has said what becomes of log lines."""
    return bool(logging.getLogger().handlers)


@contextmanager
def about(**ids: str | int | None) -> Iterator[None]:
    """Have all lines within a context say what they are about, and nothing that held before."""
    with bound_contextvars(**_whole(ids)):
        yield


def speak_of(**ids: str | int | None) -> None:
    """Have all lines of this task from now on say what they are about, and nothing that held before."""
    bind_contextvars(**_whole(ids))


def _whole(ids: dict[str, str | int | None]) -> dict[str, Any]:
    return {name: ids.get(name) for name in IDS}


class LineHandler(logging.Handler):
    """Writes lines, and holds nobody up: where whoever reads them is slow, or stands still, a thread waits.

    What can be written at once is: a process that is killed has said what it had to say.
    """

    def __init__(self, stream: TextIO, *, terminal: bool) -> None:
        super().__init__()
        self._stream: Final = stream
        self._terminal: Final = terminal
        self._room: Final = _watch(stream)
        self._waiting: Final[SimpleQueue[str | None]] = SimpleQueue()
        self._lost = 0
        self._given = 0
        self._written = 0
        self._writer: Final = threading.Thread(target=self._write, name="log lines", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, put it into the queue, or count it as lost; never fails."""
        if self._waiting.qsize() >= MAX_WAITING:
            self._lost += 1
            return
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - whoever speaks should not fail because of it
            # Without what it was to say: nothing has been masked.
            text = f"A line of {record.name} cannot be written ({type(error).__name__})."
            line = self._own("error", text, "line_not_written")
        idle = self._written == self._given and not self._lost
        if idle and self._has_room(line):
            self._put(line)
        else:
            self._given += 1
            self._waiting.put(line)

    def flush(self) -> None:
        """Return when what waits is written; bounded. Blocks: for a process, or a test, that ends."""
        until, given = monotonic() + FLUSH_SECONDS, self._given
        while self._written < given and self._writer.is_alive() and monotonic() < until:
            time.sleep(0.002)

    def close(self) -> None:
        """End, when what waits is written."""
        self._waiting.put(None)
        super().close()

    def _has_room(self, line: str) -> bool:
        """Return whether a line can be written without waiting."""
        if self._room is None or len(line.encode("utf-8", "replace")) >= PIPE_BYTES:
            return False
        return any(what & select.POLLOUT for _, what in self._room.poll(0))

    def _put(self, *lines: str) -> None:
        text = "".join(f"{line}\n" for line in lines)
        with suppress(OSError, ValueError):  # nobody reads them, and nobody can be told
            if self._room is None:
                self._stream.write(text)
                self._stream.flush()
                return
            # Past the stream's buffer, whose lock a process that ends would want from a thread that waits.
            rest = text.encode("utf-8", "replace")
            while rest:
                rest = rest[os.write(self._stream.fileno(), rest) :]

    def _write(self) -> None:
        while True:
            lines = [self._waiting.get()]
            while len(lines) < AT_ONCE and not self._waiting.empty():
                lines.append(self._waiting.get())
            found = [line for line in lines if line is not None]
            lost, self._lost = self._lost, 0
            if lost:
                text = f"{lost} lines are lost: they were not read in time."
                found.append(self._own("warning", text, "lines_lost"))
            self._put(*found)
            self._written += len(found) - bool(lost)
            if None in lines:
                return

    def _own(self, level: str, text: str, action: str) -> str:
        if self._terminal:
            return f"{level}: {text}"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"ts": now, "level": level, "event": text, "action": action, "logger": _log.name}
        return orjson.dumps(line).decode()


def _watch(stream: TextIO) -> select.poll | None:
    """Return what tells whether a stream can be written to; `None` where nothing does."""
    try:
        watch = select.poll()
        watch.register(stream.fileno(), select.POLLOUT)
    except (AttributeError, OSError, ValueError):
        return None
    return watch


class _Sentences(logging.Formatter):
    """Writes what a record says, without secrets."""

    def __init__(self, mask: Scrubber, *, traces: bool) -> None:
        super().__init__("%(message)s")
        self._mask = mask
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """Return the text."""
        if self._traces or not record.exc_info:
            return self._mask.scrub(super().format(record))
        return self._mask.scrub(f"{record.getMessage()} ({record.exc_info[1]!r})")


def _catch_the_rest() -> None:
    """Have what ends a process or a thread become a line too."""

    def fell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        fields = {"action": "process_broke"}
        _log.critical("The process broke.", exc_info=(kind, error, trace), extra=fields)

    def fell_in_thread(given: threading.ExceptHookArgs) -> None:
        error = given.exc_value or given.exc_type()
        trace = (given.exc_type, error, given.exc_traceback)
        _log.error("A thread broke.", exc_info=trace, extra={"action": "thread_broke"})

    def fell_unheard(given: sys.UnraisableHookArgs) -> None:
        error = given.exc_value or given.exc_type()
        trace = (given.exc_type, error, given.exc_traceback)
        fields = {"action": "exception_unheard"}
        _log.error("An exception came where nobody could take it.", exc_info=trace, extra=fields)

    sys.excepthook = fell
    threading.excepthook = fell_in_thread
    sys.unraisablehook = fell_unheard


class _LinkMask(logging.Filter):
    """Takes what must not show out of lines about requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the line; it is written in any case."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SHAPES.scrub(each) if isinstance(each, str) else each for each in record.args
            )
        return True


_SHAPES: Final = make_mask()


def mask_links() -> None:
    """Keep links out of the access log of a server that is not ours, where it writes one."""
    log = logging.getLogger("uvicorn.access")
    if not any(isinstance(each, _LinkMask) for each in log.filters):
        log.addFilter(_LinkMask())


class Seldom:
    """Says whether a line that would come again and again is due."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def is_due(self, key: str) -> bool:
        """Return whether the line was not written for so long; counts as writing it."""
        now = monotonic()
        if now - self._said.get(key, -self._seconds) < self._seconds:
            return False
        self._said[key] = now
        return True
