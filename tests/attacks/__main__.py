"""Runs the attacks and prints what came of each as JSON: `python -m tests.attacks [--unconfined] [NAME…]`.

A process of its own, because it is the victim: it has a key in the environment that it was started with,
records the signals that it gets, and adopts what its programs leave behind.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from domain.errors import ToolFailedError
from domain.ports import RunRef
from domain.sandbox import CodeLimits, CodeResult, Sandbox
from service.workspaces import remove_workspace
from tests.attacks.attack import Attack
from tests.attacks.catalogue import ATTACKS
from tests.attacks.victims import Victims, descendants, library
from tools.sandbox import fork_server
from tools.sandbox.confined.kernel import control_process
from tools.sandbox.confined.syscalls import NUMBERS
from tools.sandbox.native import NativeSandbox, find_python
from tools.sandbox.unsafe_local import UnsafeLocal

LIMITS: Final = CodeLimits(wall_seconds=5.0, cpu_seconds=1)
_ADOPT_ORPHANS: Final = 36
_SHOWN: Final = 4000


async def main() -> None:
    """Run the attacks that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--unconfined", action="store_true")
    parser.add_argument("--old-kernel", action="store_true")
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args()
    if chosen.old_kernel:
        old = Path(__file__).with_name("old_kernel.py")
        fork_server._PROGRAM = old  # type: ignore[misc]  # the file in place of which it stands
    control_process(_ADOPT_ORPHANS, 1)
    python = find_python(None)
    with library(python) as file:
        report = await attack_all(chosen, python, file)
    json.dump(report, sys.stdout)


async def attack_all(chosen: argparse.Namespace, python: Path, file: Path) -> dict[str, Any]:
    """Return the verdicts on the attacks that were asked for."""
    victims = Victims([file, python.parent.parent / "matplotlib"])
    try:
        async with AsyncExitStack() as stack:
            sandbox: Sandbox = UnsafeLocal()
            if not chosen.unconfined:
                sandbox = native = NativeSandbox(python, victims.data, places=2)
                stack.push_async_callback(native.aclose)
                await native.open()
                await native.load()
            range_ = Range(victims, sandbox, python, file)
            wanted = [a for a in ATTACKS if not chosen.names or a.name in chosen.names]
            verdicts = {attack.name: await range_.try_out(attack) for attack in wanted}
            state = sandbox.state._asdict()
        verdicts["the end"] = {"harm": await _left(set()), "ended": "", "seconds": 0, "shown": ""}
    finally:
        victims.close()
    return {"state": state, "uid": os.getuid(), "verdicts": verdicts}


class Range:
    """Where attacks are tried out."""

    def __init__(self, victims: Victims, sandbox: Sandbox, python: Path, file: Path) -> None:
        self._victims = victims
        self._sandbox = sandbox
        source = Path(__file__).parents[2]
        self._aims = {
            "calls": NUMBERS[platform.machine()],
            "machine": platform.machine(),
            "library": str(file),
            "fonts": str(python.parent.parent / "matplotlib"),
            "interpreter": [str(python.parent), str(python.parent.parent)],
            "source": [str(source / name) for name in ("service/settings.py", "pyproject.toml")],
            "secret_at": id(victims.secrets["key"]),
        }

    async def try_out(self, attack: Attack) -> dict[str, Any]:
        """Return what an attack did and how it ended."""
        server = {pid for pid, name in descendants().items() if "python" in name}
        before = set(descendants())
        number = str(len(list(self._victims.data.glob("workspaces/tenant/*"))))
        workspace = self._victims.data / "workspaces" / "tenant" / f"run_{number}"
        started = time.monotonic()
        # Never a process that is not ours: what confines is what is in doubt here.
        aims = {
            **self._aims,
            **self._victims.aims(),
            "server": min(server, default=self._victims.process.pid),
        }
        ended, shown = await self._run(attack, aims, workspace)
        harm = [line for line in shown.splitlines() if line.startswith("HARM")]
        harm += _overshot(attack, shown)
        harm += self._victims.find_harm(shown + _content(workspace))
        harm += await _left(before)
        remove_workspace(self._victims.data / "workspaces", RunRef("tenant", workspace.name))
        if workspace.exists():
            harm.append("the workspace could not be removed")
        seconds = round(time.monotonic() - started, 2)
        return {"harm": harm, "ended": ended, "seconds": seconds, "shown": shown[-_SHOWN:]}

    async def _run(self, attack: Attack, aims: dict[str, Any], workspace: Path) -> tuple[str, str]:
        limits = dataclasses.replace(LIMITS, **attack.limits)  # type: ignore[arg-type]  # by name
        try:
            result = await self._sandbox.run(attack.program(aims), workspace, limits=limits)
        except ToolFailedError as error:
            return "ToolFailedError", error.detail
        except Exception as error:  # noqa: BLE001 - that would be a finding
            return f"raised {type(error).__name__}", repr(error)
        shown = f"{result.stdout}{result.stderr}{result.value}{result.fault or ''}"
        return _ending(result), shown


def _ending(result: CodeResult) -> str:
    if result.limit:
        return result.limit
    if result.fault:
        return result.fault.type or "fault"
    return "tried" if "TRIED" in result.stdout else "done"


def _overshot(attack: Attack, shown: str) -> list[str]:
    got = [line.split() for line in shown.splitlines() if line.startswith("GOT ")]
    most = {name: int(number) for _, name, number in got}
    return [
        f"{name}: {most[name]} of {limit}"
        for name, limit in attack.most.items()
        if most.get(name, 0) > limit
    ]


def _content(workspace: Path) -> str:
    pieces = []
    for path in list(workspace.glob("*"))[:50]:
        with suppress(OSError):
            if path.is_file() and not path.is_fifo() and path.stat().st_size < 1 << 16:
                pieces.append(path.read_text(errors="replace"))
            if (
                path.is_symlink()
                or path.is_fifo()
                or path.is_socket()
                or (path.stat().st_nlink > 1 and path.is_file())
            ):
                pieces.append(f"HARM {path.name} is no plain file\n")
    return "".join(pieces)


async def _left(before: set[int]) -> list[str]:
    """Return what is still running that was not, after a moment to end."""
    left: dict[int, str] = {}
    for _ in range(40):
        _reap()
        left = {
            pid: name
            for pid, name in descendants().items()
            if pid not in before and name != "sleep"
        }
        if not left:
            break
        await asyncio.sleep(0.05)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"{name} ({pid}) is still running" for pid, name in left.items()]


def _reap() -> None:
    """Take away what has ended: what programs leave behind becomes this process's child."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    asyncio.run(main())
