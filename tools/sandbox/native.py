"""The back end of Linux: CPython in a process that the kernel confines, forked from a warm server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from domain.errors import ToolFailedError
from domain.sandbox import USUAL_LIMITS, CodeLimits, CodeResult, SandboxState
from tools.sandbox import selftest
from tools.sandbox.confined.lockdown import Rules
from tools.sandbox.confined.syscalls import NUMBERS
from tools.sandbox.fork_server import ForkServer, ForkServerError, Ready, server_environment
from tools.sandbox.watch import run_watched

PLACE_SECONDS: Final = 30.0
"""How long a program waits for one of the places."""

_NEEDS_LIBRARIES: Final = re.compile(r"\b(?:numpy|pandas|matplotlib|pyarrow|pylab)\b")

_SYSTEM: Final = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/share",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/fonts",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
)
"""What an interpreter and its libraries read besides themselves; none of it is secret."""


class NativeSandbox:
    """Runs programs in confined processes of this machine, as many at a time as there are `places`."""

    def __init__(self, python: Path, folder: Path, *, places: int) -> None:
        self._python = Path(os.path.abspath(python))  # noqa: PTH100 - a link leads out of its environment
        self._folder = folder
        """The data folder: workspaces are in it, and much that no program may see."""
        self._places = asyncio.Semaphore(places)
        self._server: ForkServer | None = None
        self._ready: Ready | None = None
        self._starting = asyncio.Lock()
        self.state = SandboxState("off", "The sandbox has not been started.")

    async def open(self) -> None:
        """Start, and attack it from inside; afterwards `state` says whether programs are run, and why."""
        fault = await self._find_fault()
        ready = self._ready
        if fault or ready is None:
            await self.aclose()
            self.state = SandboxState("off", f"Programs cannot be confined here: {fault}.")
            return
        shown = tuple(name for name in ready.libraries if name != "pyarrow")
        self.state = SandboxState("native", _describe(ready), shown)

    async def aclose(self) -> None:
        """End every program and the server."""
        server, self._server = self._server, None
        if server is not None:
            await server.aclose()

    async def load(self) -> None:
        """Load the libraries now, so that the first program that wants them need not wait."""
        if self.state.backend == "native":
            with contextlib.suppress(ForkServerError, TimeoutError):
                await (await self._running()).load()

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Run a program in a confined process."""
        if self.state.off_reason:
            raise ToolFailedError(self.state.off_reason)
        async with self._place():
            try:
                return await self._run(code, workspace, limits)
            except (ForkServerError, OSError, TimeoutError) as error:
                message = f"The sandbox could not run the program ({error}). Try again."
                raise ToolFailedError(message) from error

    async def _run(self, code: str, workspace: Path, limits: CodeLimits) -> CodeResult:
        server = await self._running()
        if _NEEDS_LIBRARIES.search(code):
            await server.load()
        await asyncio.to_thread(_prepare, workspace)
        rules = self._rules(workspace, limits)
        return await run_watched(server, code, workspace, rules, limits)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            message = "Other programs have taken every place of the sandbox. Try again later."
            raise ToolFailedError(message) from None
        try:
            yield
        finally:
            self._places.release()

    async def _running(self) -> ForkServer:
        """Return the server; one that has ended is started again."""
        async with self._starting:
            if self._server is None or not self._server.alive:
                self._server, self._ready = await ForkServer.start(
                    self._python, server_environment(self._python)
                )
            return self._server

    async def _find_fault(self) -> str:
        """Return why programs cannot be confined here, `""` where they can."""
        if sys.platform != "linux":
            return f"the system is {sys.platform}, not Linux"
        if platform.machine() not in NUMBERS:
            return f"the system calls of {platform.machine()} are not known"
        try:
            await self._running()
        except ForkServerError as error:
            return str(error)
        ready = self._ready
        if ready is None or ready.landlock < 1:
            return "the kernel has no Landlock, or it is forbidden (seccomp profile, lsm= at boot)"
        fault = await asyncio.to_thread(_find_wide, ready.paths, self._folder)
        if fault:
            return fault

        async def run(code: str, workspace: Path) -> CodeResult:
            return await self._run(code, workspace, selftest.LIMITS)

        return await selftest.find_fault(run, self._folder / "workspaces")

    def _rules(self, workspace: Path, limits: CodeLimits) -> Rules:
        ready = self._ready
        if ready is None:
            msg = "the fork server has not started"
            raise ForkServerError(msg)
        return Rules(
            workspace=str(workspace),
            readable=[*ready.paths, *_SYSTEM],
            memory_bytes=limits.memory_bytes,
            cpu_seconds=limits.cpu_seconds,
            file_bytes=limits.file_bytes,
            nameless_bytes=limits.workspace_bytes,
        )


def _describe(ready: Ready) -> str:
    walls = [f"Landlock {ready.landlock}", "seccomp", "resource limits"]
    if ready.namespaces:
        walls.append("namespaces")
    missing = [name for name in ("numpy", "pandas", "matplotlib") if name not in ready.libraries]
    lacks = f"; without {', '.join(missing)}, which `make install` brings" if missing else ""
    return f"a confined process with Python {ready.version} ({', '.join(walls)}){lacks}"


def _find_wide(paths: list[str], folder: Path) -> str:
    """Return which folder of the interpreter's may not be opened to programs: one that holds our data."""
    data = folder.resolve()
    for path in map(Path, paths):
        if path == Path(path.anchor) or path == Path.home() or data.is_relative_to(path):
            return f"the interpreter's folder {path} holds more than the interpreter"
    return ""


def _prepare(workspace: Path) -> None:
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (workspace / ".tmp").mkdir(mode=0o700)


def find_python(given: Path | None) -> Path:
    """Return the interpreter that runs programs: the one given, else the one that `make install` has made,
    else the one that the service's own environment was made from, which has no libraries."""
    if given is not None:
        return given
    beside = Path(sys.prefix) / "sandbox" / "bin" / "python"
    if beside.exists():
        return beside
    return Path(getattr(sys, "_base_executable", sys.executable))


def find_libraries(python: Path) -> tuple[str, ...]:
    """Return which libraries an interpreter's own environment has, without starting it."""
    names = ("numpy", "pandas", "matplotlib")
    found = {
        p.name for p in python.parent.parent.glob("lib/python*/site-packages/*") if p.name in names
    }
    return tuple(name for name in names if name in found)
