"""Attacks that are tried from inside before the first program: what confines has to be seen to do so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from domain.errors import ToolFailedError
from domain.sandbox import CodeLimits, CodeResult
from tools.sandbox.fork_server import ForkServerError
from tools.sandbox.watch import NOT_RUN

LIMITS: Final = CodeLimits(wall_seconds=10.0, cpu_seconds=5)

_PROBE: Final = Path(__file__).parent / "confined" / "probe.py"

Run = Callable[[str, Path], Awaitable[CodeResult]]


async def find_fault(run: Run, folder: Path) -> str:
    """Return why programs are not confined, as far as the attacks can tell; empty where they are.

    `run` runs a program in a workspace, `folder` is where the test makes what it attacks.
    """
    try:
        targets = await asyncio.to_thread(_make_targets, folder)
    except OSError as error:
        return f"no workspace can be made in {folder} ({error.strerror})"
    try:
        return await _attack(run, targets)
    finally:
        targets.listener.close()
        await asyncio.to_thread(shutil.rmtree, targets.folder, ignore_errors=True)


class _Targets(NamedTuple):
    """What the attacks are aimed at: all of it is real, and would be reached without confinement."""

    folder: Path
    secret: str
    """What stands in a file beside the workspace."""
    listener: socket.socket
    code: str


def _make_targets(folder: Path) -> _Targets:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = Path(tempfile.mkdtemp(prefix="selftest-", dir=folder))
    (place / "workspace").mkdir(mode=0o700)
    secret = secrets.token_hex(16)
    (place / "secret.txt").write_text(secret, encoding="utf-8")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        aims = {
            "secret_file": str(place / "secret.txt"),
            "written_file": str(place / "written.txt"),
            "port": listener.getsockname()[1],
            "service": os.getpid(),
        }
        code = _PROBE.read_text(encoding="utf-8").replace("] = {}  #", f"] = {aims!r}  #")
    except BaseException:
        listener.close()
        raise
    return _Targets(place, secret, listener, code)


async def _attack(run: Run, targets: _Targets) -> str:
    try:
        result = await run(targets.code, targets.folder / "workspace")
    except (ForkServerError, ToolFailedError) as error:
        return str(error).removeprefix(NOT_RUN).removesuffix(".")
    if result.fault or result.limit:
        return f"the self-test did not end: {result.limit or result.fault}"
    try:
        report = json.loads(result.stdout)
        succeeded, worked = list(report["succeeded"]), report["worked"]
    except (ValueError, KeyError, TypeError):
        return f"the self-test said nothing that could be read: {result.stdout[:200]!r}"
    if targets.secret in result.stdout:
        succeeded.append("read a file outside the workspace")
    if await asyncio.to_thread((targets.folder / "written.txt").exists):
        succeeded.append("wrote a file outside the workspace")
    with contextlib.suppress(BlockingIOError):
        targets.listener.setblocking(False)  # noqa: FBT003 - its only argument
        targets.listener.accept()[0].close()
        succeeded.append("connected to the loopback interface")
    if succeeded:
        return f"attacks that must fail succeeded: {', '.join(dict.fromkeys(succeeded))}"
    return "" if worked is True else f"an ordinary program does not work: {str(worked)[:200]}"
