"""Runs the program on standard input, with limits only: what `unsafe-local` starts for each program.

It is started by its path in an isolated interpreter and imports the standard library only. The limits are
set here, in the child, because a `preexec_fn` is unsafe in a service with threads.
"""

from __future__ import annotations

import os
import resource
import sys
import traceback
from types import TracebackType

_ROOT = __file__.rsplit("/", 3)[0]
sys.path.insert(0, _ROOT)

from tools.sandbox.confined import program  # noqa: E402 - found only now
from tools.sandbox.confined.lockdown import limit_resource  # noqa: E402 - as above

# A program that says `import tools` means a file of its own.
sys.path.remove(_ROOT)
for _name in [name for name in sys.modules if name.partition(".")[0] == "tools"]:
    del sys.modules[_name]

_MACHINERY = frozenset({__file__, program.__file__})


def _limit_resources(*, cpu_seconds: int, memory_bytes: int, file_bytes: int) -> None:
    # No RLIMIT_NPROC: it counts every process of the user, the service's own threads included, and
    # does not bind root at all.
    limit_resource(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)
    limit_resource(resource.RLIMIT_AS, memory_bytes)
    limit_resource(resource.RLIMIT_FSIZE, file_bytes)
    limit_resource(resource.RLIMIT_NOFILE, 256)
    limit_resource(resource.RLIMIT_CORE, 0)


def _read_program() -> str:
    source = sys.stdin.buffer.read().decode("utf-8")
    # The program finds its input empty, not the end of its own text.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return source


def _own_frames_removed(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename in _MACHINERY:
        trace = trace.tb_next
    return trace


def main() -> int:
    """Run the program and return its exit status."""
    cpu_seconds, memory_bytes, file_bytes = map(int, sys.argv[1:4])
    source = _read_program()
    _limit_resources(cpu_seconds=cpu_seconds, memory_bytes=memory_bytes, file_bytes=file_bytes)
    try:
        value = program.execute(source)
        if value is not None:
            print(repr(value))  # noqa: T201 - the program's result goes to its standard output
    except SystemExit:
        raise
    except SyntaxError as error:
        trace = _own_frames_removed(error.__traceback__)
        # A mistake in the program itself has no frame of the program's; `ast` is not to be shown.
        mine = error.filename == program.FILE_NAME
        traceback.print_exception(type(error), error, None if mine else trace)
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever the program raised is its result
        traceback.print_exception(type(error), error, _own_frames_removed(error.__traceback__))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
