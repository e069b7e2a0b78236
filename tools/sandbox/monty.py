"""An interpreter of its own for systems that cannot confine a process: it knows most of Python, and no way out."""

from __future__ import annotations

import ast
import asyncio
import contextlib
from pathlib import Path
from time import perf_counter
from typing import Final, Literal

from domain.errors import ConfigurationError, ToolFailedError
from domain.sandbox import USUAL_LIMITS, CodeFault, CodeLimits, CodeResult, Limit, SandboxState
from tools.sandbox.output import TOO_MUCH_OUTPUT, cleaned
from tools.workspace import list_files, open_workspace

try:
    import pydantic_monty
except ImportError:  # Linux confines processes of its own and is installed without it.
    _INSTALLED = False
else:
    _INSTALLED = True

MAX_MEMORY_BYTES: Final = 256 * 1024**2
"""What a program's objects may take: without pandas it needs no more, and worker processes hold them."""

MAX_FILE_CALLS: Final = 1_000
"""How often one program may ask for something outside the interpreter, so how many files it can make."""

VALUE_CHARS: Final = 20_000
SHOWN_FRAMES: Final = 12

_VALUE: Final = "_value_of_the_last_line"
_FOLDER: Final = "/workspace"
_TOO_SLOW: Final = "feed time limit exceeded"
_TOO_BIG: Final = "disk write limit"


class MontySandbox:
    """Runs programs in worker processes of the package `pydantic-monty`; `aclose` ends those."""

    state: Final = SandboxState(
        "monty",
        "programs run in Monty, an interpreter of its own that reaches nothing but the workspace's files: "
        "part of the standard library only, no pandas, no charts, no classes with inheritance",
    )

    def __init__(self) -> None:
        if not _INSTALLED:
            message = (
                "The sandbox 'monty' needs the package pydantic-monty, which is not installed: "
                "run `pip install 'pydantic-monty>=1.4,<2'`, or choose another SIGNALBOX_SANDBOX."
            )
            raise ConfigurationError(message)
        self._pool: pydantic_monty.AsyncMonty | None = None
        self._opening = asyncio.Lock()

    async def load(self) -> None:
        """Start the workers' pool."""
        await self._open()

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Run a program in a worker that has run none before."""
        await open_workspace(workspace)
        source = await asyncio.to_thread(_keep_value, code)
        mount = await asyncio.to_thread(_mount, workspace, limits)
        pool = await self._open()
        output = _Output(limits.stream_bytes)
        started = perf_counter()
        try:
            ended = await _feed(pool, source, mount, limits, output)
        except (OSError, RuntimeError) as error:
            message = f"The program could not be started: {error}."
            raise ToolFailedError(message) from error
        finally:
            mount.close()
        stdout, stderr = (cleaned(output.text(stream)) for stream in ("stdout", "stderr"))
        value, fault, limit = ended
        return CodeResult(
            value=value,
            stdout=stdout,
            stderr=stderr,
            fault=fault,
            limit=limit,
            wall_ms=round((perf_counter() - started) * 1000),
        )

    async def aclose(self) -> None:
        """End the workers; a later program starts new ones."""
        async with self._opening:
            pool, self._pool = self._pool, None
            if pool is not None:
                await pool.__aexit__(None, None, None)

    async def _open(self) -> pydantic_monty.AsyncMonty:
        async with self._opening:
            if self._pool is None:
                # Looks for the workers' program on the disk.
                pool = await asyncio.to_thread(_make_pool)
                try:
                    await pool.__aenter__()
                except (OSError, RuntimeError, pydantic_monty.MontyError) as error:
                    message = f"The sandbox 'monty' could not be started: {error}."
                    raise ToolFailedError(message) from error
                self._pool = pool
            return self._pool


def _make_pool() -> pydantic_monty.AsyncMonty:
    # One program for each worker: nothing of a run can be left for the next.
    return pydantic_monty.AsyncMonty(max_checkouts_per_worker=1)


class _Output:
    """The beginning and the end of each stream of a program."""

    def __init__(self, kept_bytes: int) -> None:
        self._kept = kept_bytes
        self._head = {"stdout": "", "stderr": ""}
        self._tail = {"stdout": "", "stderr": ""}
        self._written = {"stdout": 0, "stderr": 0}

    def __call__(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        """Take what the program has just printed."""
        self._written[stream] += len(text)
        room = self._kept * 3 // 4 - len(self._head[stream])
        self._head[stream] += text[:room] if room > 0 else ""
        rest = text[max(room, 0) :]
        self._tail[stream] = (self._tail[stream] + rest)[-(self._kept // 4) :]

    @property
    def endless(self) -> bool:
        """Return whether the program prints as if it would never stop."""
        return max(self._written.values()) > TOO_MUCH_OUTPUT * self._kept

    def text(self, stream: Literal["stdout", "stderr"]) -> str:
        """Return what is kept of a stream, with a note of what lies between."""
        head, tail = self._head[stream], self._tail[stream]
        left_out = self._written[stream] - len(head) - len(tail)
        return f"{head}\n[… {left_out} characters left out …]\n{tail}" if left_out else head + tail


async def _feed(
    pool: pydantic_monty.AsyncMonty,
    source: str,
    mount: pydantic_monty.MountDir,
    limits: CodeLimits,
    output: _Output,
) -> tuple[str, CodeFault | None, Limit | None]:
    """Return the last line's value, what ended the program, and which limit did."""
    loop = asyncio.get_running_loop()
    clock = asyncio.timeout(limits.wall_seconds)

    def take(stream: Literal["stdout", "stderr"], text: str) -> None:
        output(stream, text)
        if output.endless:
            loop.call_soon_threadsafe(_stop, clock, loop.time())

    bounds: pydantic_monty.ResourceLimits = {
        "max_feed_duration_secs": min(float(limits.cpu_seconds), limits.wall_seconds),
        "max_memory": min(limits.memory_bytes, MAX_MEMORY_BYTES),
        "max_suspensions": MAX_FILE_CALLS,
    }
    try:
        async with (
            clock,
            pool.checkout(limits=bounds, assert_message_annotations=False) as worker,
        ):
            await worker.feed_run(source, mount=mount, print_callback=take)
            # Its text is made inside: an object of the program is never unpacked in the service.
            shown = f"'' if {_VALUE} is None else repr({_VALUE})[:{VALUE_CHARS}]"
            value = await worker.feed_run(shown) if _VALUE in source else ""
            return cleaned(str(value)), None, None
    except TimeoutError:
        return "", None, "output" if output.endless else "wall_time"
    except pydantic_monty.MontyError as error:
        fault, limit = _explain(error)
        return "", fault, limit


def _stop(clock: asyncio.Timeout, now: float) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended by itself meanwhile
        clock.reschedule(now)


def _explain(error: pydantic_monty.MontyError) -> tuple[CodeFault | None, Limit | None]:
    if isinstance(error, pydantic_monty.MontyCrashedError):
        if error.timed_out:
            return None, "cpu_time"
        return CodeFault("Crash", "the interpreter itself ended; do it in another way"), None
    if not isinstance(error, pydantic_monty.MontyRuntimeError | pydantic_monty.MontySyntaxError):
        return CodeFault(type(error).__name__, cleaned(str(error))), None
    # "ValueError: what it says", or the type alone.
    name, _, message = cleaned(error.display("type-msg")).partition(": ")
    if name == "TimeoutError" and message.startswith(_TOO_SLOW):
        return None, "cpu_time"
    if name == "OSError" and _TOO_BIG in message:
        return None, "disk"
    if name == "RuntimeError" and message.startswith("suspension limit"):
        message = f"a program may use files {MAX_FILE_CALLS} times"
    return CodeFault(name, message, cleaned(_trace(error.traceback()))), None


def _trace(frames: list[pydantic_monty.Frame]) -> str:
    lines = []
    for frame in frames[-SHOWN_FRAMES:]:
        text = (frame.source_line or "").strip().removeprefix(f"{_VALUE} = ")
        lines.append(f"  line {frame.line}, in {frame.function_name or '<module>'}: {text}")
    return "\n".join(lines)


def _keep_value(code: str) -> str:
    """Return a program that keeps its last line's value under a name; no line moves."""
    # A value that the interpreter handed out would be rebuilt here, however large it is.
    hidden = f"{code}\nNone"
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return hidden
    if not body or not isinstance(body[-1], ast.Expr):
        return hidden
    last = body[-1]
    lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    line = lines[last.lineno - 1].encode()
    start, end = line[: last.col_offset].decode(), line[last.col_offset :].decode()
    lines[last.lineno - 1] = f"{start}{_VALUE} = {end}"
    return "\n".join([*lines, "None"])


def _mount(workspace: Path, limits: CodeLimits) -> pydantic_monty.MountDir:
    """Return the workspace as the interpreter sees it; links that lead out of it do not open."""
    listing = list_files(workspace)
    used = sum(entry.size for entry in listing.files)
    full = not listing.complete or len(listing.files) >= limits.workspace_entries
    return pydantic_monty.MountDir(
        host_path=workspace,
        virtual_path=_FOLDER,
        mode="read-only" if full else "read-write",
        write_bytes_limit=max(0, limits.workspace_bytes - used),
    )
