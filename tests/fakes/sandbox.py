"""A sandbox for tests: programs run in the interpreter that has pandas and matplotlib, without confinement.

Everything that needs those libraries gets its sandbox from `open_sandbox`, so that one place decides
which it is.
"""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Final

from domain.sandbox import USUAL_LIMITS, CodeFault, CodeLimits, CodeResult, Sandbox, SandboxState
from tools.process import Command, run_command
from tools.workspace import open_workspace

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".venv" / "sandbox" / "bin" / "python"
LIBRARIES: Final = ("numpy", "pandas", "matplotlib")

_LAUNCHER: Final = ROOT / "tools" / "sandbox" / "launcher.py"
_CONFINED: Final = ROOT / "tools" / "sandbox" / "confined"
_STARTER: Final = f"""
import runpy, sys
sys.path.insert(0, {str(_CONFINED)!r})
import charts
del sys.path[0]
charts.install()
try:
    runpy.run_path({str(_LAUNCHER)!r}, run_name="__main__")
finally:
    charts.save_open_figures()
"""


def open_sandbox() -> Sandbox:
    """Return a sandbox whose programs have pandas and matplotlib."""
    return _Subprocess()


class _Subprocess:
    state: Final = SandboxState("native", "a process of a test, not confined", LIBRARIES)

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        await open_workspace(workspace)
        started = perf_counter()
        numbers = (limits.cpu_seconds, limits.memory_bytes, limits.file_bytes)
        # Shared by all tests: the first chart of an empty folder makes a list of the fonts, which takes seconds.
        drawing = Path(tempfile.gettempdir()) / "signalbox-tests-matplotlib"
        command = Command(
            argv=[*(str(PYTHON), "-I", "-X", "utf8", "-B", "-c", _STARTER), *map(str, numbers)],
            folder=workspace,
            environment={
                "PATH": "/usr/bin:/bin",
                "HOME": str(workspace),
                "MPLBACKEND": "Agg",
                "MPLCONFIGDIR": str(drawing),
                "OPENBLAS_NUM_THREADS": "1",
            },
            stdin=code.encode(),
            wall_seconds=limits.wall_seconds,
        )
        finished = await run_command(command)
        fault = None
        if finished.status:
            lines = finished.stderr.strip().splitlines() or [f"exit status {finished.status}"]
            name, _, message = lines[-1].partition(": ")
            fault = CodeFault(name, message, "\n".join(lines[:-1]))
        return CodeResult(
            stdout=finished.stdout,
            stderr="" if fault else finished.stderr,
            fault=fault,
            limit="cpu_time" if finished.status == -signal.SIGXCPU else None,
            wall_ms=round((perf_counter() - started) * 1000),
        )
