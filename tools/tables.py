"""The tool that describes a table of the workspace, without ever parsing it in the service."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field

from domain.errors import ToolFailedError
from domain.run import RunContext
from domain.sandbox import CodeLimits, CodeResult, Sandbox
from tools import workspace
from tools.limits import cut_result

LIBRARY: Final = "pandas"

LISTED_FILES: Final = 40
"""Files that are named where the one asked for is not there."""

REASON_CHARS: Final = 1_000

LIMITS: Final = CodeLimits(stream_bytes=64 * 1024)
"""More of the output is kept than usual: 16 000 characters may be four times as many bytes."""

_MODULES: Final = ("table_reading", "table_program")
"""The files beside this one that are sent, each after those that it imports."""

_START: Final = """\
import os
import sys
import types

# A file of the workspace must not take the place of a library that is not there: nobody has let it run.
sys.path = [place for place in sys.path if place != os.getcwd()]
for name, source in {sources!r}:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
print(sys.modules["tools.table_program"].describe({path!r}))
"""


class DescribeTableArgs(BaseModel):
    """The arguments of `describe_table`."""

    path: str = Field(
        description="Path of a table, relative to the workspace: CSV, TSV, Excel, Parquet or JSON lines."
    )


def make_describe_table(sandbox: Sandbox) -> BaseTool:
    """Return the tool `describe_table`."""

    async def describe_table(path: str, runtime: ToolRuntime[RunContext, Any]) -> str:
        reason = tables_off_reason(sandbox)
        if reason:
            raise ToolFailedError(reason)
        folder = runtime.context.workspace
        name = await asyncio.to_thread(_find, folder, path)
        program = await asyncio.to_thread(write_program, name)
        result = await sandbox.run(program, folder, limits=LIMITS)
        return _read(result, name)

    return StructuredTool.from_function(
        coroutine=describe_table,
        name="describe_table",
        description=(
            "Describe a table of the run's workspace (CSV, TSV, Excel, Parquet, JSON lines): rows, "
            "columns with type, missing values and summary, the first rows, what is odd about the file, "
            "and the pandas call that reads it."
        ),
        args_schema=DescribeTableArgs,
    )


def tables_off_reason(sandbox: Sandbox) -> str | None:
    """Return why no table is described here; `None` where they are."""
    state = sandbox.state
    if state.off_reason or LIBRARY in state.libraries:
        return state.off_reason
    return (
        f"Tables cannot be described here: the sandbox ({state.backend}) has no {LIBRARY}. "
        "SIGNALBOX_SANDBOX=native on Linux, or remote, has it; text files can still be read with read_file."
    )


@lru_cache(maxsize=1)
def _sources() -> tuple[tuple[str, str], ...]:
    folder = Path(__file__).parent
    files = [(f"tools.{name}", folder / f"{name}.py") for name in _MODULES]
    # The package itself is only a name there, under which its modules find each other.
    return (("tools", ""), *((name, file.read_text(encoding="utf-8")) for name, file in files))


def write_program(path: str) -> str:
    """Return the program that prints the description of a table."""
    return _START.format(sources=_sources(), path=path)


def _find(folder: Path, path: str) -> str:
    """Return the path of a file that is there, in its plain form. Raises `ToolFailedError`."""
    name = "/".join(workspace.split_path(path))
    listing = workspace.list_files(folder)
    names = [entry.path for entry in listing.files]
    if name in names or not listing.complete:
        return name
    shown = ", ".join(workspace.shown(entry) for entry in names[:LISTED_FILES])
    more = " and more" if len(names) > LISTED_FILES else ""
    there = f"The files there are: {shown}{more}." if names else "The workspace is empty."
    message = f"There is no file {name!r} in the workspace. {there}"
    raise ToolFailedError(message)


def _read(result: CodeResult, path: str) -> str:
    if result.limit:
        message = (
            f"{path!r} was not described: that took more than a program may use ({result.limit}). "
            "Read only a part of it with run_python, as pandas does with `nrows` and `usecols`."
        )
        raise ToolFailedError(message)
    if result.fault:
        why = result.fault.message
        if result.fault.type == "MemoryError":
            why = f"{path} does not fit into memory. Read a part of it with run_python (`nrows`, `usecols`)."
        elif not result.fault.type.endswith("UnreadableTable"):
            why = f"{path} was not described: {result.fault.type}: {why}"
        raise ToolFailedError(cut_result(why, REASON_CHARS))
    return cut_result(result.stdout.strip())
