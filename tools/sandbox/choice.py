"""Picks the back end that runs programs, and refuses rather than run them unconfined."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from domain.errors import ConfigurationError
from domain.sandbox import USUAL_LIMITS, CodeLimits, CodeResult, Sandbox, SandboxState
from tools.sandbox.monty import MontySandbox
from tools.sandbox.native import NativeSandbox, find_libraries, find_python
from tools.sandbox.off import NoSandbox
from tools.sandbox.remote import RemoteSandbox
from tools.sandbox.unsafe_local import UnsafeLocal

Choice = Literal["auto", "native", "monty", "remote", "off", "unsafe-local"]
"""`auto` is `native` on Linux and `monty` elsewhere; neither is replaced by anything weaker."""


@dataclass(frozen=True, kw_only=True)
class SandboxWishes:
    """What the operator has set."""

    choice: Choice = "auto"
    python: Path | None = None
    """The interpreter of programs; `None` means the one that `make install` makes."""
    socket: Path | None = None
    """Where the other container listens, for `remote`."""
    data: Path
    """The service's folder, which holds the workspaces."""


class SandboxOnDemand:
    """Opens the back end for each program and closes it again: for a notebook or a script, where a graph is
    built without anybody who would close what was opened. Each start takes some tenths of a second,
    and a few seconds where the program wants pandas."""

    def __init__(self, wishes: SandboxWishes) -> None:
        self._wishes = wishes
        self.state = SandboxState(
            "native" if sys.platform == "linux" else "monty",
            "what confines programs is started anew for each one",
            find_libraries(find_python(wishes.python)) if sys.platform == "linux" else (),
        )

    async def load(self) -> None:
        """Do nothing: nothing stays that could be ready."""

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Run a program; refused where nothing here can confine it."""
        async with open_sandbox(self._wishes) as sandbox:
            return await sandbox.run(code, workspace, limits=limits)


@asynccontextmanager
async def open_sandbox(wishes: SandboxWishes) -> AsyncIterator[Sandbox]:
    """Open the back end; one that cannot confine programs here is off, and its `state` says why."""
    choice = wishes.choice
    if choice == "auto":
        choice = "native" if sys.platform == "linux" else "monty"
    if choice == "native":
        places = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
        python = await asyncio.to_thread(find_python, wishes.python)
        native = NativeSandbox(python, wishes.data, places=max(places, 2))
        try:
            await native.open()
            yield native
        finally:
            await native.aclose()
    elif choice == "remote":
        if wishes.socket is None:
            msg = "SIGNALBOX_SANDBOX=remote needs SIGNALBOX_SANDBOX_SOCKET, where `signalbox sandbox` listens."
            raise ConfigurationError(msg)
        remote = RemoteSandbox(wishes.socket, wishes.data / "workspaces")
        try:
            await remote.open()
            yield remote
        finally:
            await remote.aclose()
    elif choice == "monty":
        monty = MontySandbox()
        try:
            yield monty
        finally:
            await monty.aclose()
    elif choice == "unsafe-local":
        yield UnsafeLocal()
    else:
        yield NoSandbox("Programs are not run here: SIGNALBOX_SANDBOX is off.")
