"""The real sandbox, opened once for all tests of a process: what programs share is loaded only once.

It lives on a thread with a loop of its own, because each test has another one.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from domain.sandbox import USUAL_LIMITS, CodeLimits, CodeResult, Sandbox, SandboxState
from tools.sandbox.native import NativeSandbox, find_python

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".venv" / "sandbox" / "bin" / "python"

T = TypeVar("T")


@cache
def open_sandbox() -> Sandbox:
    """Return the sandbox; its processes end with this one."""
    return _Shared()


class _Shared:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True).start()
        folder = Path(tempfile.mkdtemp(prefix="signalbox-sandbox-"))
        opening = asyncio.run_coroutine_threadsafe(self._open(folder), self._loop)
        self._native = opening.result(timeout=60)
        assert self._native.state.backend == "native", self._native.state.detail

    @property
    def state(self) -> SandboxState:
        return self._native.state

    async def load(self) -> None:
        await self._there(self._native.load())

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        return await self._there(self._native.run(code, workspace, limits=limits))

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _open(self, folder: Path) -> NativeSandbox:
        python = await asyncio.to_thread(find_python, None)
        native = NativeSandbox(python, folder, places=2)
        await native.open()
        return native
