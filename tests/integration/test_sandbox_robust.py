"""The fork server is killed, cancelled, crowded and flooded; the next program runs all the same."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from domain.errors import ToolFailedError
from domain.sandbox import CodeLimits
from tests.fakes.programs import programs_below
from tools.sandbox.native import NativeSandbox, find_python

BEGIN: Final = "import time\nopen('begun', 'w').close()\ntime.sleep(600)"


@pytest.fixture
async def native(tmp_path: Path) -> AsyncIterator[NativeSandbox]:
    sandbox = NativeSandbox(await asyncio.to_thread(find_python, None), tmp_path, places=4)
    await sandbox.open()
    assert sandbox.state.backend == "native", sandbox.state.detail
    yield sandbox
    await sandbox.aclose()


def server_pid(sandbox: NativeSandbox) -> int:
    assert sandbox._server is not None
    return sandbox._server._process.pid


async def begun(workspace: Path) -> None:
    async with asyncio.timeout(20):
        while not (workspace / "begun").exists():  # noqa: ASYNC110 - the sign is another process's file
            await asyncio.sleep(0.01)


async def gone(folder: Path) -> None:
    async with asyncio.timeout(10):
        while await asyncio.to_thread(programs_below, folder):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)


async def test_a_killed_fork_server_fails_the_call_and_is_started_again(
    native: NativeSandbox, tmp_path: Path
) -> None:
    call = asyncio.create_task(native.run(BEGIN, tmp_path / "a"))
    await begun(tmp_path / "a")
    os.kill(server_pid(native), signal.SIGKILL)
    with pytest.raises(
        ToolFailedError, match=r"^The sandbox could not run the program .*Try again\.$"
    ):
        await call
    await gone(tmp_path)
    assert (await native.run("6 * 7", tmp_path / "b")).value == "42"


async def test_a_cancelled_call_leaves_nothing_running(
    native: NativeSandbox, tmp_path: Path
) -> None:
    call = asyncio.create_task(native.run(BEGIN, tmp_path / "a"))
    await begun(tmp_path / "a")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(programs_below, tmp_path) == []


async def test_twenty_programs_at_once_all_end_right(native: NativeSandbox, tmp_path: Path) -> None:
    results = await asyncio.gather(
        *(native.run(f"print({n})\n{n} * {n}", tmp_path / f"run_{n}") for n in range(20))
    )
    assert [(r.stdout, r.value, r.fault) for r in results] == [
        (f"{n}\n", str(n * n), None) for n in range(20)
    ]


async def test_no_descriptor_is_left_after_a_hundred_programs(
    native: NativeSandbox, tmp_path: Path
) -> None:
    await native.run("1", tmp_path / "a")
    before = await asyncio.to_thread(os.listdir, "/proc/self/fd")
    theirs = await asyncio.to_thread(os.listdir, f"/proc/{server_pid(native)}/fd")
    for _ in range(25):
        await asyncio.gather(*(native.run("print(1)", tmp_path / "a") for _ in range(4)))
    assert len(await asyncio.to_thread(os.listdir, "/proc/self/fd")) <= len(before)
    now = await asyncio.to_thread(os.listdir, f"/proc/{server_pid(native)}/fd")
    assert len(now) == len(theirs)


async def test_the_loop_goes_on_while_a_program_floods_its_output(
    native: NativeSandbox, tmp_path: Path
) -> None:
    """A program that may print much is never ended for it, and others have their turn meanwhile."""
    limits = CodeLimits(wall_seconds=1.0, stream_bytes=1 << 30)
    call = asyncio.create_task(
        native.run(
            "import os\nwhile True: os.write(1, bytes(65536))", tmp_path / "a", limits=limits
        )
    )
    ticks = 0
    while not call.done():
        await asyncio.sleep(0)
        ticks += 1
    assert (await call).limit == "wall_time"
    assert ticks > 20


async def test_a_second_run_sees_nothing_of_the_first(
    native: NativeSandbox, tmp_path: Path
) -> None:
    """Neither in its memory, which both have from one server, nor in files."""
    secret = "mark-" + os.urandom(8).hex()
    leave = (
        f"secret = {secret!r} * 1000\nimport tempfile, builtins, sys, os\nbuiltins.left = secret\n"
        "sys.left = secret\nos.environ['LEFT'] = secret[:40]\n"
        "open('left', 'w').write(secret)\nopen(os.environ['TMPDIR'] + '/left', 'w').write(secret)"
    )
    assert (await native.run(leave, tmp_path / "a")).fault is None
    look = (
        "import gc, os, sys, builtins, ctypes\nhalf = 'mar' + 'k-'\nfound = []\n"
        "found += [o for o in gc.get_objects() if isinstance(o, (dict, list)) and half in repr(o)[:100_000]"
        " and o is not globals()]\n"
        "blocks = [bytes(ctypes.string_at(ctypes.create_string_buffer(4096), 4096)) for _ in range(1000)]\n"
        "print(hasattr(builtins, 'left'), hasattr(sys, 'left'), 'LEFT' in os.environ)\n"
        "for place in ('..', '../a', '../a/.tmp', '/tmp'):\n"
        "    try: print(os.listdir(place), open(place + '/left').read())\n"
        "    except OSError as error: print(type(error).__name__)\n"
        "print(repr(found)[:2000])"
    )
    result = await native.run(look, tmp_path / "b")
    assert secret not in f"{result.stdout}{result.stderr}{result.value}{result.fault}"
    assert result.stdout.startswith("False False False\n" + "PermissionError\n" * 4), result


async def test_two_programs_at_once_neither_see_nor_signal_each_other(
    native: NativeSandbox, tmp_path: Path
) -> None:
    other = asyncio.create_task(
        native.run(BEGIN, tmp_path / "a", limits=CodeLimits(wall_seconds=3))
    )
    await begun(tmp_path / "a")
    pids = await asyncio.to_thread(programs_below, tmp_path / "a")
    code = (
        f"import os, signal\npids = {pids} + list(range(2, 40))\nreached = []\n"
        "for pid in pids:\n"
        "    if pid == os.getpid(): continue\n"
        "    for way in (lambda: os.kill(pid, signal.SIGTERM), lambda: open(f'/proc/{pid}/mem'),\n"
        "                lambda: os.readlink(f'/proc/{pid}/cwd'), lambda: os.pidfd_open(pid)):\n"
        "        try: reached.append(way())\n"
        "        except OSError: pass\n"
        "for path in ('../a/begun', '../a'):\n"
        "    try: reached.append(os.open(path, os.O_RDONLY))\n"
        "    except OSError: pass\nreached"
    )
    assert (await native.run(code, tmp_path / "b")).value == "[]"
    assert (await other).limit == "wall_time"


async def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    sandbox = NativeSandbox(Path("/nonexistent/python"), tmp_path, places=1)
    await sandbox.open()
    assert sandbox.state.off_reason == (
        "Programs cannot be confined here: /nonexistent/python could not be started "
        "(No such file or directory)."
    )
    with pytest.raises(ToolFailedError, match="/nonexistent/python"):
        await sandbox.run("open('ran', 'w')", tmp_path / "a")
    assert not (tmp_path / "a").exists()


async def test_an_unknown_machine_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    sandbox = NativeSandbox(await asyncio.to_thread(find_python, None), tmp_path, places=1)
    await sandbox.open()
    assert sandbox.state.off_reason == (
        "Programs cannot be confined here: the system calls of s390x are not known."
    )


async def test_an_interpreter_whose_folder_holds_the_data_is_refused() -> None:
    python = await asyncio.to_thread(find_python, None)
    inside = next(iter((python.parent.parent / "lib").glob("python3*/site-packages")))
    sandbox = NativeSandbox(python, inside / "data", places=1)
    await sandbox.open()
    await sandbox.aclose()
    assert "holds more than the interpreter" in str(sandbox.state.off_reason)
    assert not (inside / "data").exists()
