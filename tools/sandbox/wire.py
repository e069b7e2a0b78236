"""What the service and a sandbox in another container say to each other: JSON over HTTP on a unix socket."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, cast

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
    limits: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]

    def folder(self, root: Path) -> Path:
        """Return the workspace; raises `ValueError` where it is no name of one."""
        tenant, _, run = self.workspace.partition("/")
        if not (_NAME.fullmatch(tenant) and _NAME.fullmatch(run)):
            msg = f"{self.workspace[:80]!r} is no workspace: two names with a slash between are"
            raise ValueError(msg)
        return root / tenant / run

    def code_limits(self, most: CodeLimits) -> CodeLimits:
        """Return the limits that were asked for, none above `most`; raises `TypeError` for unknown ones."""
        wanted = asdict(CodeLimits(**cast("Any", self.limits)))
        return CodeLimits(
            **{name: _lower(wanted[name], value) for name, value in asdict(most).items()}
        )


def _lower(wanted: float, most: float) -> Any:  # noqa: ANN401 - of the type that the limit has
    return type(most)(
        math.ceil(wanted) if isinstance(most, int) and wanted < most else min(wanted, most)
    )


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
