"""A process with limits and a clean environment, which can still read what the server can read."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from time import perf_counter
from typing import Final

from domain.errors import ToolFailedError
from domain.sandbox import USUAL_LIMITS, CodeFault, CodeLimits, CodeResult, Limit, SandboxState
from tools.process import Command, Finished, run_command
from tools.workspace import open_workspace

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")


class UnsafeLocal:
    """Runs programs beside the server, as its user: no security boundary."""

    state: Final = SandboxState(
        "unsafe-local",
        "programs run as the server's user with limits only, because SIGNALBOX_SANDBOX is unsafe-local: "
        "no security boundary",
    )

    async def load(self) -> None:
        """Do nothing: there is nothing to get ready."""

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Run a program in a process of its own."""
        await open_workspace(workspace)
        started = perf_counter()
        limit: Limit | None = None
        try:
            finished = await run_command(_command(code, workspace, limits))
        except TimeoutError:
            limit, finished = "wall_time", Finished(-signal.SIGKILL, "", "")
        except OSError as error:
            message = f"The program could not be started: {error.strerror}."
            raise ToolFailedError(message) from error
        return _result(finished, limit, round((perf_counter() - started) * 1000))


def _command(code: str, workspace: Path, limits: CodeLimits) -> Command:
    numbers = (limits.cpu_seconds, limits.memory_bytes, limits.file_bytes)
    return Command(
        argv=[
            *(sys.executable, "-I", "-X", "utf8", "-B", str(_LAUNCHER)),
            *(str(number) for number in numbers),
        ],
        folder=workspace,
        environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(workspace)},
        stdin=code.encode("utf-8", "replace"),
        wall_seconds=limits.wall_seconds,
    )


def _result(finished: Finished, limit: Limit | None, wall_ms: int) -> CodeResult:
    if finished.status == -signal.SIGXCPU:
        limit = "cpu_time"
    fault = None
    if finished.status and limit is None:
        # The launcher has written the trace to standard error, where the last line names the error.
        lines = finished.stderr.strip().splitlines() or [f"exit status {finished.status}"]
        name, _, message = lines[-1].partition(": ")
        fault = CodeFault(name, message, "\n".join(lines[:-1]))
    return CodeResult(
        stdout=finished.stdout.replace("\0", "\ufffd"),
        stderr="" if fault else finished.stderr.replace("\0", "\ufffd"),
        fault=fault,
        limit=limit,
        wall_ms=wall_ms,
    )
