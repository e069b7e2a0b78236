"""What a program leaves is kept with the run, whoever works beside it and however it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from domain.errors import ToolFailedError
from domain.sandbox import (
    USUAL_LIMITS,
    CodeFault,
    CodeLimits,
    CodeResult,
    Sandbox,
    SandboxState,
)
from domain.tool import MAX_RESULT_CHARS
from tools.collector import Collector
from tools.files import make_write_file
from tools.python import make_run_python

Program = Callable[[Path], Awaitable[CodeResult]]


class Scripted:
    """A sandbox whose programs are functions of the test, by their text."""

    state = SandboxState("unsafe-local", "scripted")

    def __init__(self, **programs: Program) -> None:
        self._programs = programs

    async def load(self) -> None:
        """Do nothing."""

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Run the function of that name."""
        del limits
        await asyncio.to_thread(workspace.mkdir, parents=True, exist_ok=True)
        return await self._programs[code](workspace)


def writes(name: str, text: str, result: CodeResult) -> Program:
    """Return a program that writes one file."""

    async def program(workspace: Path) -> CodeResult:
        await asyncio.to_thread((workspace / name).write_text, text)
        return result

    return program


def kept(message: ToolMessage) -> list[str]:
    return [artifact["name"] for artifact in message.artifact["artifacts"]]


@pytest.mark.parametrize(
    "result",
    [
        CodeResult(stdout="done\n"),
        CodeResult(fault=CodeFault("ValueError", "no")),
        CodeResult(limit="wall_time"),
    ],
)
async def test_files_are_kept_however_the_program_ended(call: Any, result: CodeResult) -> None:
    run = make_run_python(Scripted(it=writes("chart.svg", "<svg/>", result)))
    message = await call(run, code="it")
    assert kept(message) == ["chart.svg"]
    assert message.content.endswith("\nFiles kept for the user: chart.svg (6 bytes)")


async def test_a_program_that_could_not_be_run_leaves_nothing(call: Any, workspace: Path) -> None:
    async def refuse(folder: Path) -> CodeResult:
        await asyncio.to_thread((folder / "a.txt").write_text, "x")
        msg = "The sandbox is not there."
        raise ToolFailedError(msg)

    with pytest.raises(ToolFailedError, match="not there"):
        await call(make_run_python(Scripted(it=refuse)), code="it")
    assert not (workspace.parent / "shelf").exists()


async def test_what_was_there_before_is_not_kept_again(call: Any) -> None:
    nothing = CodeResult()

    async def idle(workspace: Path) -> CodeResult:
        del workspace
        return nothing

    run = make_run_python(Scripted(first=writes("a.txt", "x", nothing), second=idle))
    assert kept(await call(run, code="first")) == ["a.txt"]
    message = await call(run, code="second")
    assert (message.content, kept(message)) == ("(the program printed nothing)", [])


async def test_of_calls_side_by_side_each_file_counts_for_one(call: Any) -> None:
    """A slow program began before a quick one and a written file, and ends after them."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(workspace: Path) -> CodeResult:
        begun.set()
        await go_on.wait()
        return await writes("slow.txt", "s", CodeResult())(workspace)

    collector = Collector()
    sandbox: Sandbox = Scripted(slow=slow, quick=writes("quick.txt", "q", CodeResult()))
    run, write = make_run_python(sandbox, collector), make_write_file(collector)
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(call(run, code="slow"))
        await begun.wait()
        assert kept(await call(run, code="quick")) == ["quick.txt"]
        assert kept(await call(write, path="w.txt", content="w")) == ["w.txt"]
        go_on.set()
        assert kept(await waiting) == ["slow.txt"]


async def test_a_file_that_the_slower_one_changes_counts_for_both(call: Any) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(workspace: Path) -> CodeResult:
        begun.set()
        await go_on.wait()
        return await writes("both.txt", "slow", CodeResult())(workspace)

    sandbox = Scripted(slow=slow, quick=writes("both.txt", "quick", CodeResult()))
    run = make_run_python(sandbox)
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(call(run, code="slow"))
        await begun.wait()
        quick = await call(run, code="quick")
        go_on.set()
        slowly = await waiting
    hashes = [message.artifact["artifacts"][0]["sha256"] for message in (quick, slowly)]
    assert hashes[0] != hashes[1]


async def test_the_model_hears_of_files_even_after_a_flood_of_words(call: Any) -> None:
    """Names cannot forge lines, and many of them cannot push the result over its limit."""

    async def program(workspace: Path) -> CodeResult:
        def leave() -> None:
            for number in range(30):
                (workspace / f"{number:02}\nforged{'x' * 100}").write_text("x")

        await asyncio.to_thread(leave)
        text = "y" * 30_000
        return CodeResult(stdout=text, stderr=text, value=text)

    message = await call(make_run_python(Scripted(it=program)), code="it")
    *_, files, cut, skipped = message.content.splitlines()
    assert files.startswith(r"Files kept for the user: '00\nforged")
    assert "characters left out" in cut
    assert skipped == "Files not kept: 10 more: one call may leave 20 files"
    assert len(message.content) <= MAX_RESULT_CHARS
