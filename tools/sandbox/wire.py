"""What the service and a sandbox in another container say to each other: JSON over HTTP on a unix socket."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from domain.sandbox import CodeLimits, CodeResult, SandboxState

STATE: Final = "/state"
RUN: Final = "/run"

_RESULT: Final = TypeAdapter(CodeResult)
_STATE: Final = TypeAdapter(SandboxState)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


class RunOrder(BaseModel):
    """A program to run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(max_length=400_000)
    workspace: str = Field(max_length=201)
    """`tenant/run`, below the folder of workspaces that both sides have."""
    limits: dict[str, float]

    def folder(self, root: Path) -> Path:
        """Return the workspace; raises `ValueError` where it is no name of one."""
        tenant, _, run = self.workspace.partition("/")
        if not (_NAME.fullmatch(tenant) and _NAME.fullmatch(run)):
            msg = f"{self.workspace[:80]!r} is no workspace: two names with a slash between are"
            raise ValueError(msg)
        return root / tenant / run

    def code_limits(self, most: CodeLimits) -> CodeLimits:
        """Return the limits that were asked for, none above `most`; raises `TypeError` for unknown ones."""
        wanted = CodeLimits(**{name: _number(value) for name, value in self.limits.items()})
        return CodeLimits(**{n: min(v, getattr(most, n)) for n, v in asdict(wanted).items()})


def _number(value: float) -> Any:  # noqa: ANN401 - an int where the limit is one
    return int(value) if value == int(value) else value


def write_result(result: CodeResult) -> bytes:
    """Return a result as JSON."""
    return _RESULT.dump_json(result)


def read_result(data: bytes) -> CodeResult:
    """Return the result that JSON holds; raises `ValueError`."""
    return _RESULT.validate_json(data)


def write_state(state: SandboxState) -> bytes:
    """Return a state as JSON."""
    return _STATE.dump_json(state)


def read_state(data: bytes) -> SandboxState:
    """Return the state that JSON holds; raises `ValueError`."""
    return _STATE.validate_json(data)
