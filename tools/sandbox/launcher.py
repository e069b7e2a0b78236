"""Runs the program on standard input as `main.py`, with limits, the way a notebook runs cells.

This file is started by its path in an isolated interpreter and imports the standard library only.
The limits are set here, in the child, because a `preexec_fn` is unsafe in a service with threads.
"""

from __future__ import annotations

import ast
import linecache
import os
import resource
import sys
import traceback
import types
from types import CodeType, TracebackType

FILE_NAME = "main.py"


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    _, ceiling = resource.getrlimit(what)
    wanted = hard if hard is not None else soft
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    resource.setrlimit(what, (min(soft, wanted), wanted))


def _limit_resources(*, cpu_seconds: int, memory_bytes: int, file_bytes: int) -> None:
    # No RLIMIT_NPROC: it counts every process of the user, the service's own threads included, and
    # does not bind root at all.
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_NOFILE, 256)
    _limit(resource.RLIMIT_CORE, 0)


def _read_program() -> str:
    source = sys.stdin.buffer.read().decode("utf-8")
    # The program finds its input empty, not the end of its own text.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    linecache.cache[FILE_NAME] = (len(source), None, source.splitlines(keepends=True), FILE_NAME)
    return source


def _compile(source: str) -> tuple[CodeType, CodeType | None]:
    """Return the program, and its last statement separately where that is an expression."""
    tree = ast.parse(source, FILE_NAME)
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return compile(tree, FILE_NAME, "exec"), None
    last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]  # checked above
    return compile(tree, FILE_NAME, "exec"), compile(last, FILE_NAME, "eval")


def _run(source: str) -> None:
    # A real `__main__`, so that pickling and dataclasses find the program's own classes.
    main = types.ModuleType("__main__")
    main.__file__ = FILE_NAME
    sys.modules["__main__"] = main
    body, last = _compile(source)
    exec(body, main.__dict__)  # noqa: S102 - running the program is what this file is for
    if last is not None:
        value = eval(last, main.__dict__)  # noqa: S307 - as above
        if value is not None:
            print(repr(value))  # noqa: T201 - the program's result goes to its standard output


def _own_frames_removed(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def main() -> int:
    """Run the program and return its exit status."""
    cpu_seconds, memory_bytes, file_bytes = map(int, sys.argv[1:4])
    source = _read_program()
    sys.argv = [FILE_NAME]
    # Last, so that a file of the workspace cannot take the place of a standard module.
    sys.path.append(str(os.getcwd()))  # noqa: PTH109 - `pathlib` would only add to the start-up time
    _limit_resources(cpu_seconds=cpu_seconds, memory_bytes=memory_bytes, file_bytes=file_bytes)
    try:
        _run(source)
    except SystemExit:
        raise
    except SyntaxError as error:
        trace = _own_frames_removed(error.__traceback__)
        # A mistake in the program itself has no frame of the program's; `ast` is not to be shown.
        mine = error.filename == FILE_NAME
        traceback.print_exception(type(error), error, None if mine else trace)
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever the program raised is its result
        traceback.print_exception(type(error), error, _own_frames_removed(error.__traceback__))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
