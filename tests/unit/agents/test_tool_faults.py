"""Whatever a tool does, its agent reads a bounded sentence and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.types import Command
from pydantic import BaseModel, Field

from agents._kit.loop import AgentLoop
from agents._kit.models import ModelGateway, ModelSettings
from domain.agent import AgentSpec, Assignment
from domain.errors import ToolFailedError
from domain.run import RunContext
from domain.tool import MAX_RESULT_CHARS, Pinned
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tools.registry import Pin, Tool, Toolbox

SPEC = AgentSpec(
    name="coder",
    description="Tries the tool.",
    prompt="You try the tool.",
    tier="fast",
    tools=("try_it",),
)


class TryItArgs(BaseModel):
    """The argument of the tool."""

    what: str = Field(description="Anything.")
    sure: str | None = Field(default=None, description="Filled in.")


async def answered(tmp_path: Path, act: Callable[[], Awaitable[Any]], **about: Any) -> str:
    """Return what an agent reads that calls a tool once, and answers then."""

    async def try_it(what: str, sure: str | None = None) -> Any:
        return await act()

    tool = StructuredTool.from_function(
        coroutine=try_it, name="try_it", description="Try.", args_schema=TryItArgs
    )
    toolbox = Toolbox([Tool(tool=tool, **{"effect": "none", "timeout_seconds": 5.0, **about})])
    written: list[Any] = []
    async with FakeModelServer() as models:
        models.add(
            Rule(when=When(after_tool=True), reply=Reply(text="Then otherwise.")),
            Rule(reply=Reply.calls(("try_it", {"what": "x"}))),
        )
        settings = ModelSettings(
            tiers={"fast": "openai:m", "standard": "openai:m", "deep": "openai:m"},
            openai_base_url=models.base_url,
        )
        gateway = ModelGateway(settings, (SPEC,))
        try:
            outcome = await AgentLoop(SPEC, gateway, toolbox)(
                Assignment(agent="coder", task="Try it", path="coder", round=1),
                task="Try it",
                results="",
                context=RunContext(workspace=tmp_path),
                config={"configurable": {}},
                write=written.append,
            )
        finally:
            await gateway.aclose()
        assert outcome["output"] == "Then otherwise."  # type: ignore[typeddict-item]  # it does not wait
        (after,) = [request for request in models.requests if request.after_tool]
    return str(after.body["messages"][-1]["content"])


async def fail() -> None:
    raise ValueError("secret cause")


async def refuse() -> None:
    raise ToolFailedError("There is no such thing. Try another one.")


async def hang() -> None:
    await asyncio.Event().wait()


async def steer() -> Command[Any]:
    return Command(update={"messages": [ToolMessage("Go on.", tool_call_id="call_0")]})


async def tell() -> str:
    return "x" * 100_000


async def test_an_exception_is_a_sentence_without_its_cause(tmp_path: Path) -> None:
    said = await answered(tmp_path, fail)
    assert said == "The tool try_it failed (ValueError). Try another way."


async def test_a_refusal_is_read_as_it_was_said(tmp_path: Path) -> None:
    assert await answered(tmp_path, refuse) == "There is no such thing. Try another one."


async def test_a_tool_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    said = await answered(tmp_path, hang, timeout_seconds=0.05)
    assert said == "The tool try_it did not end within its time. Ask for less."


async def test_no_tool_steers_its_agent(tmp_path: Path) -> None:
    assert "failed" in await answered(tmp_path, steer) or "steers" in await answered(
        tmp_path, steer
    )


async def test_a_result_over_the_limit_is_cut_with_how_much_was_left_out(tmp_path: Path) -> None:
    said = await answered(tmp_path, tell)
    assert len(said) <= MAX_RESULT_CHARS
    assert said.endswith(f"[{100_000 - said.count('x')} characters left out]")


async def test_a_call_that_cannot_be_looked_at_is_not_made(tmp_path: Path) -> None:
    """The hook that nails a call down may fail like the tool itself."""

    async def broken(args: Any, context: RunContext) -> Pinned:
        raise ValueError("secret cause")

    said = await answered(tmp_path, tell, pin=Pin(argument="sure", find=broken))
    assert said == "The call was not made: try_it failed (ValueError) to look at it."


@pytest.mark.parametrize("effect", ["none", "external"])
async def test_a_tool_that_is_off_says_why(tmp_path: Path, effect: str) -> None:
    said = await answered(tmp_path, refuse, off_reason="Set a variable.", effect=effect)
    assert said == "There is no such thing. Try another one."
