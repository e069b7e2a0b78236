"""What an agent gets back from `run_python`, whose programs run in the real sandbox."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from domain.errors import ToolFailedError
from domain.sandbox import CodeLimits
from tests.fakes.programs import programs_below
from tools.python import MAX_CODE_CHARS, make_run_python
from tools.sandbox.native import NativeSandbox
from tools.sandbox.off import NoSandbox

Run = Callable[..., Awaitable[str]]


@pytest.fixture
def run(call: Any, native: NativeSandbox) -> Run:
    """Return how to run a program as an agent does; keyword arguments are limits."""

    async def run_program(code: str, **limits: Any) -> str:
        tool = make_run_python(native, limits=dataclasses.replace(CodeLimits(), **limits))
        message: ToolMessage = await call(tool, code=code)
        return str(message.content)

    return run_program


async def test_a_program_prints_and_its_trailing_expression_is_shown(run: Run) -> None:
    assert await run("print('a')\nx = 20\nx + 1") == "a\n21\n"
    assert await run("print('only this')") == "only this\n"


async def test_a_silent_program_says_so(run: Run) -> None:
    assert await run("x = 1") == "(the program printed nothing)"
    assert await run("") == "(the program printed nothing)"


async def test_standard_error_follows_the_output(run: Run) -> None:
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)"
    assert await run(code) == "out\n--- stderr ---\nerr\n"


async def test_a_failing_program_says_what_failed_where_and_which_files_there_are(
    run: Run, workspace: Path
) -> None:
    workspace.mkdir(parents=True)
    (workspace / "sales.csv").write_text("a,b\n")
    content = await run("print('before')\ndef f():\n    open('sale.csv')\nf()")
    assert content == (
        "The program failed: FileNotFoundError: [Errno 2] No such file or directory: 'sale.csv'\n"
        "  line 4, in <module>: f()\n"
        "  line 3, in f: open('sale.csv')\n"
        "Hint: Paths are relative to the workspace; the files there are listed below.\n"
        "--- stdout ---\nbefore\n"
        "Files in the workspace: sales.csv (4 bytes)"
    )


async def test_a_module_that_is_not_there_is_named_with_those_that_are(run: Run) -> None:
    content = await run("import flask_sqlalchemy")
    assert "ModuleNotFoundError: No module named 'flask_sqlalchemy'" in content
    assert "Only the standard library, numpy, pandas, matplotlib can be imported" in content


async def test_a_syntax_error_shows_the_line_without_frames_of_the_machinery(run: Run) -> None:
    content = await run("x = 1\nx = = 2")
    assert content.startswith("The program failed: SyntaxError: invalid syntax")
    assert "\n  line 2: x = = 2\n" in content
    assert "ast.py" not in content


async def test_the_exit_status_of_the_program_is_reported(run: Run) -> None:
    content = await run("raise SystemExit(3)")
    assert content.startswith("The program failed: SystemExit: exit status 3")


async def test_the_environment_is_clean_and_the_folder_is_the_workspace(
    run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = (
        "import os\nprint([n for n in os.environ if 'KEY' in n], os.getcwd(), os.environ['HOME'])"
    )
    assert await run(code) == f"[] {workspace} {workspace}\n"


async def test_the_input_is_empty_and_files_land_in_the_workspace(
    run: Run, workspace: Path
) -> None:
    code = "import sys\nopen('a.txt', 'w').write('x')\nprint(repr(sys.stdin.read()))"
    assert await run(code) == "''\nFiles kept for the user: a.txt (1 bytes)"
    assert (workspace / "a.txt").read_text() == "x"


async def test_classes_of_the_program_can_be_pickled_and_its_modules_imported(
    run: Run, workspace: Path
) -> None:
    workspace.mkdir(parents=True)
    (workspace / "tools.py").write_text("value = 5")
    (workspace / "json.py").write_text("raise SystemExit('shadowed')")
    code = (
        "import tools, json, pickle\nclass A: pass\n"
        "print(type(pickle.loads(pickle.dumps(A()))).__name__, tools.value)"
    )
    assert await run(code) == "A 5\n"


async def test_of_much_output_the_beginning_and_the_end_are_kept(run: Run) -> None:
    code = "for n in range(100_000):\n    print(n)\nraise SystemExit('the end')"
    content = await run(code)
    assert len(content) <= 16_000
    assert content.startswith("The program failed: SystemExit: the end\n--- stdout ---\n0\n1\n")
    assert "bytes left out" in content or "characters left out" in content


async def test_output_without_end_ends_the_program(run: Run) -> None:
    content = await run("while True:\n    print('x' * 9_999)")
    assert content.startswith("The program was stopped because it printed without end.")


async def test_memory_and_file_size_are_limited(run: Run) -> None:
    content = await run("x = bytearray(3 * 1024**3)")
    assert content.startswith("The program failed: MemoryError\nHint: A program may use 2048 MiB")
    content = await run("open('big', 'wb').write(b'x' * (2 * 1024**2))", file_bytes=1024**2)
    assert "File too large" in content


async def test_a_workspace_that_overflows_ends_the_program(run: Run) -> None:
    code = (
        "import time\nfor n in range(400):\n    open(f'{n}', 'wb').write(bytes(65_536))\n"
        "time.sleep(20)"
    )
    content = await run(code, workspace_bytes=4 * 1024**2)
    assert content.startswith("The program was stopped because the workspace is full (4 MiB")
    # It may be tidied up.
    assert await run(
        "import os\nfor n in os.listdir():\n    if n != '.tmp': os.remove(n)\n'tidy'",
        workspace_bytes=4 * 1024**2,
    ) == ("'tidy'\n")


async def test_time_is_limited(run: Run) -> None:
    content = await run("while True: pass", cpu_seconds=1)
    assert content.startswith("The program was stopped after 1 s of processor time.")
    content = await run("import time\ntime.sleep(60)", wall_seconds=0.5)
    assert content.startswith("The program was stopped after 0.5 s.")


async def test_a_crash_of_the_interpreter_is_told(run: Run) -> None:
    content = await run("import ctypes\nprint('before', flush=True)\nctypes.string_at(0)")
    assert "Crash: the interpreter ended in the middle of the program (SIGSEGV)" in content
    assert "--- stdout ---\nbefore\n" in content


@pytest.mark.parametrize(
    "forged", ["{}", "[1]", "null", "garbage", '{"value": 7, "fault": 3}', '{"value": {"a": 1}}']
)
async def test_a_forged_result_is_only_text(run: Run, forged: str) -> None:
    code = f"import os\nos.write(3, {forged.encode()!r})\nos._exit(0)"
    assert isinstance(await run(code), str)


async def test_what_a_program_says_can_be_kept_by_every_database(run: Run) -> None:
    content = await run("print('a\\0b')\nraise ValueError('\\ud800\\0')")
    assert "\0" not in content
    content.encode()


async def test_threads_are_waited_for(run: Run) -> None:
    code = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()"
    assert await run(code) == "late\n"


async def test_cancellation_ends_the_program(
    call: Any, native: NativeSandbox, workspace: Path
) -> None:
    code = "import time\nopen('begun', 'w').close()\ntime.sleep(600)"
    task = asyncio.create_task(call(make_run_python(native), code=code))
    async with asyncio.timeout(10):
        while not (workspace / "begun").exists():  # noqa: ASYNC110 - the sign is a file of another process
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert programs_below(workspace) == []


async def test_a_program_that_is_too_long_or_no_text_is_refused(run: Run) -> None:
    with pytest.raises(ToolFailedError, match="at most 50000"):
        await run("#" * (MAX_CODE_CHARS + 1))
    with pytest.raises(ToolFailedError, match="Unicode"):
        await run("'\ud800'")


async def test_without_a_sandbox_the_reason_is_given(call: Any) -> None:
    with pytest.raises(ToolFailedError, match="Nothing confines here"):
        await call(make_run_python(NoSandbox("Nothing confines here.")), code="print(1)")


async def test_a_program_that_forges_a_refusal_has_run_all_the_same(run: Run) -> None:
    code = "import os\nprint('ran', flush=True)\nos.write(3, b'{\"refused\": \"x\"}')\nos._exit(0)"
    assert "ran\n" in await run(code)


async def test_a_warning_names_no_folder_of_the_machine(run: Run) -> None:
    content = await run("import warnings\nwarnings.warn('careful')\nprint('done')")
    assert content == "done\n--- stderr ---\nmain.py:2: UserWarning: careful\n"
