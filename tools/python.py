"""The tool that runs a Python program in a process of its own."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field

from domain.errors import ToolFailedError
from domain.run import RunContext
from tools.limits import cut_result
from tools.process import Command, Finished, run_command
from tools.workspace import open_workspace

MAX_CODE_CHARS: Final = 50_000
STDOUT_CHARS: Final = 11_000
STDERR_CHARS: Final = 4_500
"""Together with the headings these stay below the limit of one tool result."""

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")

_DESCRIPTION: Final = (
    "Run a Python program and return what it prints; a last line that is an expression prints its "
    "value. The program has its own process, the run's workspace as its folder, a clean "
    "environment, resource limits and a time-out; this is not a security boundary."
)


@dataclass(frozen=True, kw_only=True)
class CodeLimits:
    """What one program may use."""

    wall_seconds: float = 15.0
    cpu_seconds: int = 10
    memory_bytes: int = 1024**3
    file_bytes: int = 10 * 1024**2


class RunPythonArgs(BaseModel):
    """The arguments of `run_python`."""

    code: str = Field(
        description=f"A complete Python 3 program, at most {MAX_CODE_CHARS} characters."
    )


def make_run_python(*, off_reason: str | None = None, limits: CodeLimits | None = None) -> BaseTool:
    """Return the tool `run_python`; with `off_reason` it refuses every call and says why."""
    allowed = limits or CodeLimits()

    async def run_python(code: str, runtime: ToolRuntime[RunContext, Any]) -> str:
        if off_reason is not None:
            raise ToolFailedError(off_reason)
        return _report(await _run_code(code, runtime.context.workspace, allowed), allowed)

    return StructuredTool.from_function(
        coroutine=run_python,
        name="run_python",
        description=_DESCRIPTION,
        args_schema=RunPythonArgs,
    )


async def _run_code(code: str, workspace: Path, limits: CodeLimits) -> Finished:
    if len(code) > MAX_CODE_CHARS:
        message = f"The program has {len(code)} characters; at most {MAX_CODE_CHARS} are run."
        raise ToolFailedError(message)
    try:
        await open_workspace(workspace)
        return await run_command(_command(code, workspace, limits))
    except TimeoutError:
        message = f"The program ran longer than {limits.wall_seconds:g} s and was stopped."
        raise ToolFailedError(message) from None
    except UnicodeEncodeError as error:
        message = "The program contains a character that is not valid Unicode text."
        raise ToolFailedError(message) from error
    except OSError as error:
        message = f"The program could not be started: {error.strerror}."
        raise ToolFailedError(message) from error


def _command(code: str, workspace: Path, limits: CodeLimits) -> Command:
    numbers = (limits.cpu_seconds, limits.memory_bytes, limits.file_bytes)
    return Command(
        argv=[
            *(sys.executable, "-I", "-X", "utf8", "-B", str(_LAUNCHER)),
            *(str(number) for number in numbers),
        ],
        folder=workspace,
        environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(workspace)},
        stdin=code.encode("utf-8"),
        wall_seconds=limits.wall_seconds,
    )


def _report(finished: Finished, limits: CodeLimits) -> str:
    if finished.status == -signal.SIGXCPU:
        message = (
            f"The program used more than {limits.cpu_seconds} s of processor time and was stopped."
        )
        raise ToolFailedError(message)
    stdout = cut_result(finished.stdout, STDOUT_CHARS)
    stderr = cut_result(finished.stderr, STDERR_CHARS)
    if finished.status != 0:
        return (
            f"The program failed (exit status {finished.status}).\n"
            f"--- stdout ---\n{stdout}\n--- stderr ---\n{stderr}"
        )
    shown = stdout or "(the program printed nothing)"
    if not stderr:
        return shown
    return f"{shown}{'' if shown.endswith(chr(10)) else chr(10)}--- stderr ---\n{stderr}"
