from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ToolFailedError
from domain.sandbox import CodeLimits
from tools.python import MAX_CODE_CHARS, make_run_python
from tools.sandbox.unsafe_local import UnsafeLocal

RUN = make_run_python(UnsafeLocal())
SHORT = make_run_python(UnsafeLocal(), limits=CodeLimits(wall_seconds=1.0))


async def test_a_program_prints_and_its_trailing_expression_is_shown(call: Any) -> None:
    assert (await call(RUN, code="print('a')\nx = 20\nx + 1")).content == "a\n21\n"
    assert (await call(RUN, code="print('only this')")).content == "only this\n"


async def test_a_silent_program_says_so(call: Any) -> None:
    assert (await call(RUN, code="x = 1")).content == "(the program printed nothing)"
    assert (await call(RUN, code="")).content == "(the program printed nothing)"


async def test_standard_error_follows_the_output(call: Any) -> None:
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)"
    assert (await call(RUN, code=code)).content == "out\n--- stderr ---\nerr\n"


async def test_a_failing_program_shows_its_own_traceback_only(call: Any) -> None:
    message = await call(RUN, code="print('before')\ndef f():\n    1 / 0\nf()")
    assert message.content == (
        "The program failed (exit status 1).\n--- stdout ---\nbefore\n\n--- stderr ---\n"
        "Traceback (most recent call last):\n"
        '  File "main.py", line 4, in <module>\n    f()\n'
        '  File "main.py", line 3, in f\n    1 / 0\n    ~~^~~\n'
        "ZeroDivisionError: division by zero\n"
    )


async def test_a_syntax_error_shows_the_line_without_frames_of_the_machinery(call: Any) -> None:
    content = (await call(RUN, code="x = 1\nx = = 2")).content
    assert 'File "main.py", line 2\n    x = = 2\n' in content
    assert "SyntaxError" in content
    assert "launcher" not in content
    assert "ast.py" not in content


async def test_the_exit_status_of_the_program_is_reported(call: Any) -> None:
    content = (await call(RUN, code="raise SystemExit(3)")).content
    assert content.startswith("The program failed (exit status 3).")


async def test_the_environment_is_clean_and_the_folder_is_the_workspace(
    call: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = "import os\nprint(sorted(os.environ), os.getcwd(), os.path.expanduser('~'))"
    printed = (await call(RUN, code=code)).content
    assert printed == f"['HOME', 'LANG', 'PATH'] {workspace} {workspace}\n"


async def test_the_input_is_empty_and_files_land_in_the_workspace(
    call: Any, workspace: Path
) -> None:
    code = "import sys\nopen('a.txt', 'w').write('x')\nprint(repr(sys.stdin.read()))"
    printed = (await call(RUN, code=code)).content
    assert printed == "''\nFiles kept for the user: a.txt (1 bytes)"
    assert (workspace / "a.txt").read_text() == "x"


async def test_classes_of_the_program_can_be_pickled_and_its_modules_imported(
    call: Any, workspace: Path
) -> None:
    workspace.mkdir(parents=True)
    (workspace / "helper.py").write_text("value = 5")
    (workspace / "json.py").write_text("raise SystemExit('shadowed')")
    code = (
        "import helper, json, pickle\nclass A: pass\n"
        "print(type(pickle.loads(pickle.dumps(A()))).__name__, helper.value)"
    )
    assert (await call(RUN, code=code)).content == "A 5\n"


async def test_huge_output_is_drained_but_not_kept(call: Any) -> None:
    code = "import sys\nfor _ in range(300):\n    print('x' * 99_999)\nsys.exit('the end')"
    content = (await call(RUN, code=code)).content
    assert len(content) <= 16_000
    assert "left out" in content
    assert content.endswith("the end\n")


async def test_memory_and_file_size_are_limited(call: Any) -> None:
    assert "MemoryError" in (await call(RUN, code="x = bytearray(2 * 1024**3)")).content
    code = "open('big', 'wb').write(b'x' * (11 * 1024**2))"
    assert "File too large" in (await call(RUN, code=code)).content


async def test_processor_time_is_limited(call: Any) -> None:
    tool = make_run_python(UnsafeLocal(), limits=CodeLimits(cpu_seconds=1))
    with pytest.raises(ToolFailedError, match="more than 1 s of processor time"):
        await call(tool, code="while True: pass")


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


async def test_an_endless_program_is_killed_with_its_children(call: Any, workspace: Path) -> None:
    with pytest.raises(ToolFailedError, match="longer than 1 s"):
        await call(SHORT, code=CHILD.format(rest="time.sleep(600)"))
    assert await _is_gone(int((workspace / "ready").read_text()))


async def test_a_child_left_behind_is_killed_and_not_waited_for(call: Any, workspace: Path) -> None:
    code = CHILD.format(rest="if not pid: time.sleep(600)\nprint('done')")
    assert (await call(RUN, code=code)).content.startswith("done\n")
    assert await _is_gone(int((workspace / "ready").read_text()))


async def test_cancellation_kills_the_program_and_its_children(call: Any, workspace: Path) -> None:
    task = asyncio.create_task(call(RUN, code=CHILD.format(rest="time.sleep(600)")))
    async with asyncio.timeout(10):
        while not (workspace / "ready").exists():  # noqa: ASYNC110 - the sign is a file of another process
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _is_gone(int((workspace / "ready").read_text()))
    # Reaped, not left as a zombie: nothing else would ever wait for it.
    assert not Path(f"/proc/{(workspace / 'leader').read_text()}").exists()


async def test_a_program_that_is_too_long_or_no_text_is_refused(call: Any) -> None:
    with pytest.raises(ToolFailedError, match="at most 50000"):
        await call(RUN, code="#" * (MAX_CODE_CHARS + 1))
    with pytest.raises(ToolFailedError, match="Unicode"):
        await call(RUN, code="'\ud800'")
