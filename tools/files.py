"""The tools that read, write and list files in a run's workspace."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field

from domain.artifact import Artifact
from domain.run import RunContext
from tools import workspace
from tools.collector import Collector
from tools.limits import cut_result

MAX_LISTED: Final = 200


class ReadFileArgs(BaseModel):
    """The arguments of `read_file`."""

    path: str = Field(description="Path of a text file, relative to the workspace.")


class WriteFileArgs(BaseModel):
    """The arguments of `write_file`."""

    path: str = Field(description="Path of the file, relative to the workspace.")
    content: str = Field(description="The whole text of the file, at most 1 MiB.")


class ListFilesArgs(BaseModel):
    """The arguments of `list_files`: none that a model could give."""

    # With a schema that has no field at all, LangChain calls the tool without its context.
    runtime: Annotated[Any, InjectedToolArg] = Field(default=None, exclude=True)


def make_read_file() -> BaseTool:
    """Return the tool `read_file`."""

    async def read_file(path: str, runtime: ToolRuntime[RunContext, Any]) -> str:
        text = await asyncio.to_thread(workspace.read_text, runtime.context.workspace, path)
        return text or "(the file is empty)"

    return StructuredTool.from_function(
        coroutine=read_file,
        name="read_file",
        description="Read a text file of the run's workspace; of a long one its beginning.",
        args_schema=ReadFileArgs,
    )


def make_write_file(collector: Collector | None = None) -> BaseTool:
    """Return the tool `write_file`; what it writes is kept with the run."""
    collects = collector or Collector()

    async def write_file(
        path: str, content: str, runtime: ToolRuntime[RunContext, Any]
    ) -> tuple[str, dict[str, list[Artifact]]]:
        context = runtime.context
        async with collects.writing(context) as watch:
            size = await asyncio.to_thread(workspace.write_text, context.workspace, path, content)
            left = await watch.collect(only="/".join(workspace.split_path(path)))
        return f"Wrote {size} bytes to {path}.\n{left.note}".rstrip(), left.artifact

    return StructuredTool.from_function(
        coroutine=write_file,
        name="write_file",
        description="Write a text file in the run's workspace; an existing file is replaced.",
        args_schema=WriteFileArgs,
        response_format="content_and_artifact",
    )


def make_list_files() -> BaseTool:
    """Return the tool `list_files`."""

    async def list_files(runtime: ToolRuntime[RunContext, Any]) -> str:
        listing = await asyncio.to_thread(workspace.list_files, runtime.context.workspace)
        return _listed(listing)

    return StructuredTool.from_function(
        coroutine=list_files,
        name="list_files",
        description="List the files of the run's workspace with their sizes.",
        args_schema=ListFilesArgs,
    )


def _listed(listing: workspace.Listing) -> str:
    shown = listing.files[:MAX_LISTED]
    lines = [f"{workspace.shown(entry.path)} ({entry.size} bytes)" for entry in shown]
    if not listing.complete or len(shown) < len(listing.files):
        count = len(listing.files) - len(shown)
        more = f"{count} more files" if listing.complete else "more files"
        lines.append(f"(there are {more}, which are not listed)")
    return cut_result("\n".join(lines)) or "(the workspace is empty)"
