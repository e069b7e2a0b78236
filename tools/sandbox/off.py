"""No back end at all: every program is refused with the reason."""

from __future__ import annotations

from pathlib import Path

from domain.errors import ToolFailedError
from domain.sandbox import USUAL_LIMITS, CodeLimits, CodeResult, SandboxState


class NoSandbox:
    """Runs nothing."""

    def __init__(self, reason: str) -> None:
        self.state = SandboxState("off", reason)

    async def load(self) -> None:
        """Do nothing: there is nothing to get ready."""

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Refuse the program."""
        del code, workspace, limits
        raise ToolFailedError(self.state.detail)
