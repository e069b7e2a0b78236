"""The service's side of the fork server: starts it, gives it orders, hears which processes have ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from domain.sandbox import Limit
from tools.sandbox.confined.lockdown import Rules

START_SECONDS: Final = 20.0
"""How long the interpreter may take to start; a cold disk is slow."""

LOAD_SECONDS: Final = 60.0
"""How long libraries may take to load; Matplotlib's first start ever looks at every font."""

LOADED: Final = ("numpy", "pandas", "matplotlib", "matplotlib.pyplot")
"""Libraries that every process shares, so that a program has them at once."""

MESSAGE_BYTES: Final = 64 * 1024

_COMMON: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "Agg",
    # One thread each: the filter is set by a process with one, and more only compete for the cores.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}

_PROGRAM: Final = Path(__file__).parent / "confined" / "fork_server.py"


class ForkServerError(Exception):
    """The fork server did not start, or has ended; the message says why as far as that is known."""


class Ready(NamedTuple):
    """What a fork server says of its interpreter."""

    paths: list[str]
    """Folders of the standard library and of installed packages."""
    landlock: int
    """Version of the kernel's Landlock; 0 where there is none."""
    namespaces: bool
    libraries: list[str]
    version: str
    """Of Python."""


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    """Exit status; negative for the signal that ended it."""
    limit: Limit | None
    """What the fork server ended it for."""
    cpu_ms: int
    peak_kb: int


class ForkServer:
    """A running fork server. Its own process and all it has forked end with it."""

    def __init__(self, process: asyncio.subprocess.Process, orders: socket.socket) -> None:
        self._process = process
        self._orders = orders
        self._numbers = itertools.count(1)
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._running: dict[int, asyncio.Future[Ended]] = {}
        self._loading: asyncio.Future[list[str]] | None = None
        self.alive = True

    @classmethod
    async def start(cls, python: Path, environment: dict[str, str]) -> tuple[ForkServer, Ready]:
        """Start an interpreter as a fork server; `environment` is all it is given.

        Raises `ForkServerError`.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003 - its only argument
        try:
            process = await asyncio.create_subprocess_exec(
                *(str(python), "-I", "-B", "-X", "utf8", str(_PROGRAM), str(theirs.fileno())),
                env=environment,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            msg = f"{python} could not be started ({error.strerror})"
            raise ForkServerError(msg) from error
        finally:
            theirs.close()
        server = cls(process, ours)
        asyncio.get_running_loop().add_reader(ours.fileno(), server._hear)
        try:
            async with asyncio.timeout(START_SECONDS):
                return server, await server._ready
        except (ForkServerError, TimeoutError) as error:
            said = await server._last_words()
            await server.aclose()
            msg = f"{python} did not become a fork server{said}"
            raise ForkServerError(msg) from error
        except BaseException:
            await server.aclose()
            raise

    def run(
        self, rules: Rules, environment: dict[str, str], descriptors: Sequence[int]
    ) -> tuple[int, asyncio.Future[Ended]]:
        """Have a process forked whose outputs and control socket are these; return its number and its end.

        Raises `ForkServerError` where the server has ended.
        """
        number = next(self._numbers)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._running[number] = ended
        order = {"op": "run", "id": number, "rules": rules, "environment": environment}
        try:
            self._send(order, descriptors)
        except ForkServerError:
            del self._running[number]
            raise
        return number, ended

    def kill(self, number: int) -> None:
        """End a process; one that has ended already is fine."""
        with contextlib.suppress(ForkServerError):
            self._send({"op": "kill", "id": number})

    async def load(self) -> list[str]:
        """Have the libraries loaded, once for every process to come; return those that were."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_future()
            self._send({"op": "load", "modules": LOADED})
        # Shielded: others wait for the same.
        async with asyncio.timeout(LOAD_SECONDS):
            return await asyncio.shield(self._loading)

    async def aclose(self) -> None:
        """End the server and everything it has forked."""
        self._lose("it was stopped")
        try:
            async with asyncio.timeout(2):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _send(self, order: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if not self.alive:
            msg = "the fork server has ended"
            raise ForkServerError(msg)
        try:
            socket.send_fds(self._orders, [json.dumps(order).encode()], list(descriptors))
        except OSError as error:
            msg = f"the fork server takes no orders ({error.strerror})"
            raise ForkServerError(msg) from error

    def _hear(self) -> None:
        try:
            message = self._orders.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose("it has ended")
            return
        told = json.loads(message)
        if "ready" in told:
            self._ready.set_result(Ready(**told["ready"]))
        elif "loaded" in told and self._loading is not None:
            self._loading.set_result(told["loaded"])
        elif "ended" in told:
            ended = self._running.pop(told["ended"], None)
            if ended is not None and not ended.done():
                ended.set_result(Ended(*(told[name] for name in Ended._fields)))

    def _lose(self, why: str) -> None:
        if not self.alive:
            return
        self.alive = False
        # Before it is closed: its number may be another socket's at once.
        asyncio.get_running_loop().remove_reader(self._orders.fileno())
        self._orders.close()
        waiting: list[asyncio.Future[Any]] = [self._ready, *self._running.values()]
        waiting += [self._loading] if self._loading is not None else []
        for future in waiting:
            if not future.done():
                future.set_exception(ForkServerError(why))
                future.exception()  # where nobody waits, nobody is to be told that nobody did
        self._running.clear()

    async def _last_words(self) -> str:
        """Return what a server that did not start wrote as its last line."""
        if self._process.stderr is None:
            return ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                written = await self._process.stderr.read(8192)
                lines = written.decode("utf-8", "replace").strip().splitlines()
                return f": {lines[-1][:300]}" if lines else ""
        return ""


def server_environment(python: Path) -> dict[str, str]:
    """Return all that the fork server has for an environment."""
    # Beside its packages: the list of fonts, which takes seconds to make, is kept from start to start.
    fonts = python.parent.parent / "matplotlib"
    return {**_COMMON, "HOME": "/nonexistent", "MPLCONFIGDIR": str(fonts)}


def program_environment(workspace: Path) -> dict[str, str]:
    """Return all that a program has for an environment."""
    return {**_COMMON, "HOME": str(workspace), "TMPDIR": f"{workspace}/.tmp"}
