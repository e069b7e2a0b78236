"""The back end that confines nothing still ends what it starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from domain.sandbox import CodeLimits
from tools.sandbox.unsafe_local import UnsafeLocal

UNSAFE = UnsafeLocal()

CHILD = """
import os, sys, time
pid = os.fork()
if pid:
    open('leader', 'w').write(str(os.getpid()))
    open('child', 'w').write(str(pid))
    os.rename('child', 'ready')
{rest}
"""


async def _is_gone(pid: int) -> bool:
    """Return whether a process has ended, giving the system a moment to take it away."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        await asyncio.sleep(0.01)
    return False


async def test_it_says_that_it_is_no_security_boundary() -> None:
    assert UNSAFE.state.backend == "unsafe-local"
    assert "no security boundary" in UNSAFE.state.detail


async def test_a_program_prints_its_last_value_and_a_fault_is_told(workspace: Path) -> None:
    result = await UNSAFE.run("print('a')\n20 + 1", workspace)
    assert (result.stdout, result.fault, result.limit) == ("a\n21\n", None, None)
    result = await UNSAFE.run("1 / 0", workspace)
    assert result.fault is not None
    assert result.fault[:2] == ("ZeroDivisionError", "division by zero")


async def test_processor_time_is_limited(workspace: Path) -> None:
    result = await UNSAFE.run("while True: pass", workspace, limits=CodeLimits(cpu_seconds=1))
    assert result.limit == "cpu_time"


async def test_an_endless_program_is_killed_with_its_children(workspace: Path) -> None:
    code = CHILD.format(rest="time.sleep(600)")
    result = await UNSAFE.run(code, workspace, limits=CodeLimits(wall_seconds=1.0))
    assert result.limit == "wall_time"
    assert await _is_gone(int((workspace / "ready").read_text()))


async def test_a_child_left_behind_is_killed_and_not_waited_for(workspace: Path) -> None:
    code = CHILD.format(rest="if not pid: time.sleep(600)\nprint('done')")
    assert (await UNSAFE.run(code, workspace)).stdout == "done\n"
    assert await _is_gone(int((workspace / "ready").read_text()))


async def test_cancellation_kills_the_program_and_its_children(workspace: Path) -> None:
    task = asyncio.create_task(UNSAFE.run(CHILD.format(rest="time.sleep(600)"), workspace))
    async with asyncio.timeout(10):
        while not (workspace / "ready").exists():  # noqa: ASYNC110 - the sign is a file of another process
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _is_gone(int((workspace / "ready").read_text()))
    # Reaped, not left as a zombie: nothing else would ever wait for it.
    assert not Path(f"/proc/{(workspace / 'leader').read_text()}").exists()
