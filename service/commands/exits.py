"""How commands end: the exit codes, the same for all of them, and what each kind of fault ends with."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from domain.errors import ConfigurationError, RunFailedError, SignalboxError
from domain.unseen import plain_line

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
WAITS: Final = 3
CANCELLED: Final = 4
UNREACHABLE: Final = 5
INCOMPLETE: Final = 6
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141

MEANINGS: Final[Mapping[int, str]] = {
    DONE: "Done. Of a run: it completed",
    FAILED: "The run failed, the server refused what was asked, a check found a fault, or output was not written",
    USAGE: "The command cannot be carried out as it was given: an argument, an option, a file or a setting is wrong",
    WAITS: "The run waits for a person, and nobody is at the terminal: `signalbox approve` decides",
    CANCELLED: "The run was cancelled; of a question: it expired, or its run ended, before anybody decided",
    UNREACHABLE: "The server cannot be reached, or went away",
    INCOMPLETE: "The run ended early with what there was by then: a limit of time, rounds or money",
    INTERRUPTED: "Ctrl-C",
    CLOSED_PIPE: "Nobody reads the output any more, as behind `| head`",
}
"""What each code means, as docs/cli.md has it."""

_OF_RUNS: Final = {
    "completed": DONE,
    "failed": FAILED,
    "cancelled": CANCELLED,
    "incomplete": INCOMPLETE,
}


class ServerAwayError(RunFailedError):
    """The server that a command speaks to cannot be reached."""


class TooLateError(RunFailedError):
    """A question is not open any more: it has expired, or its run has ended."""


_OF_OUTPUT: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What writing to stdout fails with; anything else has another cause."""

_OF_FAILURES: Final[Mapping[type[RunFailedError], int]] = {
    ServerAwayError: UNREACHABLE,
    TooLateError: CANCELLED,
}


def code_of(run: Mapping[str, Any]) -> int:
    """Return the code that a command ends with whose run stands so; one that has not ended waits."""
    return _OF_RUNS.get(run["status"], WAITS)


def carry_out(command: click.Command) -> int:
    """Carry out a command with the arguments of the process; return its exit code. A fault is one line on stderr."""
    try:
        code = _faults_said(lambda: _invoke(command))
        if sys.stdout:  # there is none where it was closed (`>&-`)
            sys.stdout.flush()
    except OSError as error:
        # Whatever is still in the buffer would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _unwritten(error)
    return code


def _invoke(command: click.Command) -> int:
    stdout, stderr = sys.stdout, sys.stderr
    try:
        code = command.main(prog_name="signalbox", standalone_mode=False)
    except SystemExit as end:
        code = end.code
        if sys.stdout is not stdout:
            # Click takes a closed pipe for a failure of its own, and wraps both streams so that nothing is said.
            sys.stdout, sys.stderr = stdout, stderr
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
    return code if isinstance(code, int) else DONE


def _faults_said(work: Callable[[], int]) -> int:
    try:
        return work()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except RunFailedError as error:
        return _say(error.detail, _OF_FAILURES.get(type(error), FAILED))
    except ConfigurationError as error:
        first, *rest = str(error).split("\n")
        code = _say(first, USAGE)
        for line in rest:
            click.echo(plain_line(line), err=True)
        return code
    except SignalboxError as error:
        return _say(str(error) or type(error).__name__, FAILED)
    except UnicodeEncodeError as error:
        # Python takes the bytes of an argument that are no text for halves of characters.
        return _say(
            f"{error.object[:80]!r} is no text: an argument has bytes that are no UTF-8.", USAGE
        )
    except Exception as error:
        full = _full_disk(error)
        if full is None:
            raise
        return _say(full, FAILED)


def _say(text: str, code: int) -> int:
    # A server, or what stands in a run, may have its part in it.
    click.echo(plain_line(f"signalbox: {text}"), err=True)
    return code


def _unwritten(error: OSError) -> int:
    """Return the code where output cannot be written; a reader that has gone wants to hear nothing."""
    if error.errno == errno.EPIPE:
        return CLOSED_PIPE
    if error.errno not in _OF_OUTPUT or error.filename:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}.", FAILED)
    return _say(f"The output cannot be written ({error.strerror}).", FAILED)


def _full_disk(error: BaseException | None) -> str | None:
    """Return what is said where a disk is full, or may not be written to; `None` where it is another fault."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            where = f": {error.filename}" if error.filename else ""
            return f"{error.strerror}{where}. Free some space, and try again."
        if type(error).__module__ == "sqlite3" and "full" in str(error):
            return "The disk of the database is full. Free some space, or set SIGNALBOX_DATABASE_URL to another place."
        error = error.__cause__ or error.__context__
    return None
