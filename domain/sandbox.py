"""The seam at which a model's programs are run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

Backend = Literal["native", "monty", "remote", "unsafe-local", "off"]
"""What runs programs: `native` a confined process of this machine · `monty` an interpreter that can reach
nothing · `remote` a confined process of another container · `unsafe-local` a process with limits that is no
security boundary · `off` nothing does."""

Limit = Literal["wall_time", "cpu_time", "output", "disk", "file_size", "threads"]
"""Which limit ended a program; memory shows as a `MemoryError` of the program instead."""


class SandboxState(NamedTuple):
    """Which back end is there, and why."""

    backend: Backend
    detail: str
    """One sentence for people: what confines programs, or why there is nothing that does."""
    libraries: tuple[str, ...] = ()
    """What programs can import besides the standard library."""

    @property
    def off_reason(self) -> str | None:
        """Return why no program is run here; `None` where programs are."""
        return self.detail if self.backend == "off" else None


@dataclass(frozen=True, kw_only=True)
class CodeLimits:
    """What one program may use."""

    wall_seconds: float = 30.0
    cpu_seconds: int = 30
    memory_bytes: int = 2 * 1024**3
    """Address space, which is more than the memory that is touched: an import of pandas takes 0.4 GiB."""
    file_bytes: int = 64 * 1024**2
    """The largest file it may write."""
    stream_bytes: int = 32 * 1024
    """How much of its standard output, and of its standard error, is kept; far more ends it."""
    workspace_bytes: int = 128 * 1024**2
    workspace_entries: int = 2_000
    """Files and folders."""


USUAL_LIMITS: Final = CodeLimits()

MOST_LIMITS: Final = replace(USUAL_LIMITS, stream_bytes=128 * 1024)
"""What a sandbox that others order from grants at most."""


class CodeFault(NamedTuple):
    """What ended a program before its end. Written by the program, so not to be trusted."""

    type: str
    """Name of the exception."""
    message: str
    traceback: str = ""
    """The program's own frames, without paths of the machine."""


@dataclass(frozen=True, kw_only=True)
class CodeResult:
    """How a program ended and what it showed. All text is untrusted and bounded, without NUL characters
    and halves of surrogate pairs."""

    value: str = ""
    """The last line's value as `repr` shows it; empty where the last line is no expression, or `None`."""
    stdout: str = ""
    stderr: str = ""
    fault: CodeFault | None = None
    limit: Limit | None = None
    wall_ms: int = 0
    cpu_ms: int | None = None
    peak_kb: int | None = None
    """The most memory it held, in KiB; `None` where nobody counted."""


class Sandbox(Protocol):
    """Runs programs that nobody has read."""

    @property
    def state(self) -> SandboxState:
        """Return which back end this is, as it stands now."""
        ...

    async def load(self) -> None:
        """Get ready for the first program, so that it need not wait; may do nothing."""
        ...

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Run a program in a folder, which is made where it is not there.

        Cancellation ends the program too: when this returns or raises, nothing of it is left running.
        Raises `ToolFailedError` where it could not be run, or is refused.
        """
        ...
