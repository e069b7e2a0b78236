"""The tool that runs a Python program in the sandbox."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field

from domain.artifact import Artifact
from domain.errors import ToolFailedError
from domain.run import RunContext
from domain.sandbox import CodeLimits, CodeResult, Sandbox
from tools import workspace
from tools.collector import Collector
from tools.limits import cut_result

MAX_CODE_CHARS: Final = 50_000
STDOUT_CHARS: Final = 8_000
STDERR_CHARS: Final = 2_500
VALUE_CHARS: Final = 4_000
FAULT_CHARS: Final = 2_500
FILES_CHARS: Final = 1_200
"""Together with the headings these stay below the limit of one tool result."""

_HINTS: Final = {
    "ModuleNotFoundError": "Only the standard library{libraries} can be imported; nothing can be installed.",
    "ImportError": "Only the standard library{libraries} can be imported; nothing can be installed.",
    "FileNotFoundError": "Paths are relative to the workspace; the files there are listed below.",
    "PermissionError": (
        "There is no network, no other process, and no file outside the workspace. Do without."
    ),
    "BlockingIOError": "There is no network and no other process. Do without.",
    "MemoryError": "A program may use {memory} MiB of memory. Work in smaller pieces.",
}
"""What a model should know to do better, by the name of the exception."""

_BESIDES: Final = "Besides the standard library there are "

_NARROW: Final = {
    "monty": (
        "The interpreter is a small one: plain functions and data, of the standard library little more than "
        "math, json, re, csv and datetime, no generators and no classes that inherit. "
    )
}
"""What the programs of a back end have to do without."""

_STOPPED: Final = {
    "wall_time": "was stopped after {wall} s",
    "cpu_time": "was stopped after {cpu} s of processor time",
    "output": "was stopped because it printed without end",
    "disk": "was stopped because the workspace is full ({disk} MiB or {entries} files at most)",
    "file_size": "was stopped because it wrote a file of more than {file} MiB",
    "threads": "was stopped because it started too many threads",
}


class RunPythonArgs(BaseModel):
    """The arguments of `run_python`."""

    code: str = Field(
        description=f"A complete Python 3 program, at most {MAX_CODE_CHARS} characters."
    )


def make_run_python(
    sandbox: Sandbox, collector: Collector | None = None, *, limits: CodeLimits | None = None
) -> BaseTool:
    """Return the tool `run_python`; files that a program leaves are kept with the run."""
    allowed = limits or CodeLimits()
    collects = collector or Collector()

    async def run_python(
        code: str, runtime: ToolRuntime[RunContext, Any]
    ) -> tuple[str, dict[str, list[Artifact]]]:
        _refuse_unrunnable(code)
        folder = runtime.context.workspace
        async with collects.watching(runtime.context) as watch:
            result = await sandbox.run(code, folder, limits=allowed)
            left = await watch.collect()
        listing = None
        if result.fault or result.limit:
            listing = await asyncio.to_thread(workspace.list_files, folder)
        report = write_report(result, allowed, sandbox.state.libraries, listing)
        return (f"{_ended(report)}{left.note}" if left.note else report), left.artifact

    return StructuredTool.from_function(
        coroutine=run_python,
        name="run_python",
        description=_describe(sandbox),
        args_schema=RunPythonArgs,
        response_format="content_and_artifact",
    )


def _describe(sandbox: Sandbox) -> str:
    libraries = sandbox.state.libraries
    more = f"{_BESIDES}{', '.join(libraries)}. " if libraries else ""
    more += _NARROW.get(sandbox.state.backend, "")
    charts = "Open matplotlib figures are saved as files. " if "matplotlib" in libraries else ""
    confined = sandbox.state.backend != "unsafe-local"
    alone = ", without network or other processes" if confined else ""
    return (
        "Run a Python program and return what it prints; a last line that is an expression prints its "
        f"value. {more}{charts}It works in the run's workspace{alone}; files that it writes there are kept for "
        "the user."
    )


def read_libraries(description: str) -> tuple[str, ...]:
    """Return the libraries that a description of `run_python` names."""
    listed = description.partition(_BESIDES)[2].partition(". ")[0]
    return tuple(listed.split(", ")) if listed else ()


def _refuse_unrunnable(code: str) -> None:
    if len(code) > MAX_CODE_CHARS:
        message = f"The program has {len(code)} characters; at most {MAX_CODE_CHARS} are run."
        raise ToolFailedError(message)
    try:
        code.encode("utf-8")
    except UnicodeEncodeError as error:
        message = "The program contains a character that is not valid Unicode text."
        raise ToolFailedError(message) from error


def write_report(
    result: CodeResult,
    limits: CodeLimits,
    libraries: tuple[str, ...] = (),
    listing: workspace.Listing | None = None,
) -> str:
    """Return what came of a program, for the model that wrote it."""
    stdout = cut_result(result.stdout, STDOUT_CHARS)
    value = cut_result(result.value, VALUE_CHARS)
    stderr = cut_result(result.stderr, STDERR_CHARS)
    parts = [_what_failed(result, limits, libraries)]
    if not parts[0]:
        shown = f"{_ended(stdout)}{value}\n" if value else stdout
        parts = [shown or "(the program printed nothing)"]
    elif stdout:
        parts.append(f"--- stdout ---\n{stdout}")
    if stderr:
        parts.append(f"--- stderr ---\n{stderr}")
    if listing is not None:
        parts.append(f"Files in the workspace: {_files(listing)}")
    return "".join(_ended(part) for part in parts[:-1]) + parts[-1]


def _what_failed(result: CodeResult, limits: CodeLimits, libraries: tuple[str, ...]) -> str:
    """Return what failed and a hint; empty where nothing did."""
    mib = 1024**2
    numbers = {
        "wall": f"{limits.wall_seconds:g}",
        "cpu": limits.cpu_seconds,
        "disk": limits.workspace_bytes // mib,
        "entries": limits.workspace_entries,
        "file": limits.file_bytes // mib,
        "memory": limits.memory_bytes // mib,
        "libraries": f", {', '.join(libraries)}" if libraries else "",
    }
    if result.limit:
        why = _STOPPED[result.limit].format(**numbers)
        return f"The program {why}. Make it do less, or do it in parts."
    if result.fault is None:
        return ""
    fault = result.fault
    text = f"The program failed: {fault.type}{': ' if fault.message else ''}{fault.message}"
    text = cut_result(f"{text}\n{fault.traceback}".rstrip(), FAULT_CHARS)
    hint = _HINTS.get(fault.type, "").format(**numbers)
    return f"{text}\nHint: {hint}" if hint else text


def _files(listing: workspace.Listing) -> str:
    names = [f"{entry.path} ({entry.size} bytes)" for entry in listing.files]
    return cut_result(", ".join(names), FILES_CHARS) or "none"


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
