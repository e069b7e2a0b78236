"""A run's context for the tools, and the call an agent would make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolRuntime

from domain.run import RunContext
from tools.sandbox.native import NativeSandbox, find_python

Call = Callable[..., Awaitable[ToolMessage]]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return the run's folder, which does not exist yet."""
    return tmp_path / "runs" / "run_1"


@pytest.fixture
def call(workspace: Path) -> Call:
    """Return a function that calls a tool as an agent of the run would."""
    context = RunContext(
        run_id="run_1",
        tenant_id="t",
        thread_id="thread_1",
        attempt=1,
        max_rounds=4,
        workspace=workspace,
        shelf=workspace.parent / "shelf",
        sources=workspace.parent / "sources",
    )

    async def call_tool(tool: BaseTool, **args: Any) -> ToolMessage:
        runtime: ToolRuntime[RunContext, Any] = ToolRuntime(
            state={},
            context=context,
            config={},
            stream_writer=lambda _: None,
            tool_call_id="call_1",
            store=None,
        )
        injected = {**args, "runtime": runtime}
        request = {"type": "tool_call", "id": "call_1", "name": tool.name, "args": injected}
        message = await tool.ainvoke(request)
        assert isinstance(message, ToolMessage)
        return message

    return call_tool


@pytest.fixture
async def native(tmp_path: Path) -> AsyncIterator[NativeSandbox]:
    """Open the sandbox of Linux, over the folder in which the run's workspace is."""
    sandbox = NativeSandbox(await asyncio.to_thread(find_python, None), tmp_path, places=2)
    await sandbox.open()
    assert sandbox.state.backend == "native", sandbox.state.detail
    yield sandbox
    await sandbox.aclose()
