"""Runs one program in this process, the way a notebook runs a cell, and says what came of it."""

from __future__ import annotations

import ast
import contextlib
import linecache
import os
import sys
import threading
import traceback
import types
import warnings
from types import CodeType
from typing import Final, TypedDict

from tools.sandbox.confined import charts

FILE_NAME: Final = "main.py"
VALUE_CHARS: Final = 20_000
MESSAGE_CHARS: Final = 2_000
FRAMES: Final = 8
LINE_CHARS: Final = 200


class Fault(TypedDict):
    """The exception that ended a program."""

    type: str
    message: str
    traceback: str


class Outcome(TypedDict):
    """What came of a program."""

    value: str
    fault: Fault | None


def run_program(source: str) -> Outcome:
    """Run a program to its end and return what came of it; what it prints goes where it goes."""
    value, fault = "", None
    try:
        value = _run(source)
    except SystemExit as error:
        fault = _exit_fault(error)
    except MemoryError as error:
        fault = Fault(type="MemoryError", message=str(error), traceback="")
    except BaseException as error:  # noqa: BLE001 - whatever the program raised is its result
        fault = _fault_of(error)
    _end_quietly()
    return Outcome(value=value, fault=fault)


def _run(source: str) -> str:
    warnings.formatwarning = _format_warning
    charts.install()
    value = execute(source)
    shown = "" if value is None else repr(value)
    charts.save_open_figures()
    _await_threads()
    return shown if len(shown) <= VALUE_CHARS else f"{shown[:VALUE_CHARS]}…"


def execute(source: str) -> object:
    """Run a program as `__main__` and return the value of its last line, `None` where that has none."""
    linecache.cache[FILE_NAME] = (len(source), None, source.splitlines(keepends=True), FILE_NAME)
    # A real `__main__`, so that pickling and dataclasses find the program's own classes.
    main = types.ModuleType("__main__")
    main.__file__ = FILE_NAME
    sys.modules["__main__"] = main
    sys.argv = [FILE_NAME]
    # Last, so that a file of the workspace cannot take the place of a standard module.
    sys.path.append(os.getcwd())
    body, last = _compile(source)
    exec(body, main.__dict__)  # noqa: S102 - running the program is what this file is for
    return eval(last, main.__dict__) if last else None  # noqa: S307 - as above


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return a warning as a line, without the machine's folders, which are nobody's business."""
    del line
    return f"{os.path.basename(filename)}:{lineno}: {category.__name__}: {message}\n"


def _compile(source: str) -> tuple[CodeType, CodeType | None]:
    """Return the program, and its last statement separately where that is an expression."""
    tree = ast.parse(source, FILE_NAME)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return compile(tree, FILE_NAME, "exec"), None
    del tree.body[-1]
    expression = ast.Expression(last.value)
    return compile(tree, FILE_NAME, "exec"), compile(expression, FILE_NAME, "eval")


def _await_threads() -> None:
    """Let threads end that the program has not waited for, as Python does at its end."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _exit_fault(error: SystemExit) -> Fault | None:
    if error.code in {None, 0}:
        return None
    said = f"exit status {error.code}" if isinstance(error.code, int) else str(error.code)
    return Fault(type="SystemExit", message=said[:MESSAGE_CHARS], traceback="")


def _fault_of(error: BaseException) -> Fault:
    try:
        message = str(error)[:MESSAGE_CHARS]
    except BaseException:  # noqa: BLE001 - the program's own exception may have a broken text
        message = ""
    return Fault(type=type(error).__name__, message=message, traceback=_trace(error))


def _trace(error: BaseException) -> str:
    """Return the program's own frames, innermost last; the machinery's would only mislead."""
    if isinstance(error, SyntaxError) and error.filename == FILE_NAME:
        return f"  line {error.lineno}: {(error.text or '').rstrip()[:LINE_CHARS]}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == FILE_NAME]
    lines = [
        f"  line {frame.lineno}, in {frame.name}: {(frame.line or '').strip()[:LINE_CHARS]}"
        for frame in own[-FRAMES:]
    ]
    if frames and own and frames[-1] is not own[-1]:
        file = os.path.basename(frames[-1].filename)
        lines.append(f"  raised in {file}, line {frames[-1].lineno}")
    return "\n".join(lines)


def _end_quietly() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):  # a program may have closed or replaced them
            stream.flush()
