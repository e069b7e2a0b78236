"""A call that says what exactly it is about: nothing else is asked about, carried out, or done twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.prebuilt import ToolRuntime

from agents._kit.acting import Acting, Ran
from agents._kit.local_ledger import LocalLedger
from agents._kit.outcomes import IN_DOUBT, AssignmentContext
from domain.agent import Assignment
from domain.errors import ToolFailedError
from tools.gates import Gates
from tools.knowledge import Knowledge
from tools.publish import JOURNAL
from tools.registry import Toolbox, build_toolbox
from tools.sandbox.off import NoSandbox

SHA256: Final = hashlib.sha256(b"It grew.").hexdigest()
APPROVED: Final = {"0.0": {"type": "approve"}}


class Killed(BaseException):
    """The process ended here."""


@dataclass
class Desk:
    """An agent's place: its tools, what stands before them, and the folders."""

    toolbox: Toolbox
    acting: Acting
    context: AssignmentContext
    output: Path

    @property
    def target(self) -> Path:
        return self.output / "run_1" / "report.md"

    async def pinned(
        self, *calls: dict[str, Any], room: int = 9
    ) -> tuple[AIMessage, dict[int, str]]:
        listed = [
            {"name": "publish_file", "args": args, "id": f"call-{n}", "type": "tool_call"}
            for n, args in enumerate(calls)
        ]
        message = AIMessage("", tool_calls=listed)
        return await self.acting.pin(message, room=room, context=self.context)

    async def answer(
        self, args: dict[str, Any], then: Callable[[], object] = lambda: None
    ) -> ToolMessage:
        """Carry a call out as the agent's loop does; `then` comes right after the tool has run."""
        tool = self.toolbox.get("publish_file").tool
        call = {"name": tool.name, "args": args, "id": "call-0", "type": "tool_call"}
        runtime: ToolRuntime[Any, Any] = ToolRuntime(
            state={},
            context=self.context,
            config={},
            stream_writer=lambda _: None,
            tool_call_id="call-0",
            store=None,
        )

        async def run(request: ToolCallRequest) -> Ran:
            given = {**request.tool_call, "args": {**args, "runtime": request.runtime}}
            try:
                message = await tool.ainvoke(given)
            except ToolFailedError as error:
                return Ran(ToolMessage(error.detail, tool_call_id="call-0"), "failed")
            await asyncio.to_thread(then)
            return Ran(message, "done")

        request = ToolCallRequest(tool_call=call, tool=tool, state={}, runtime=runtime)  # type: ignore[arg-type]  # a plain dictionary is what arrives
        return await self.acting.answer(request, "0.0", self.context, run)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return an agent that may publish, with one file in its workspace; the one call is approved."""
    for name in ("workspace", "output"):
        (tmp_path / name).mkdir()
    (tmp_path / "workspace" / "report.md").write_text("It grew.")
    toolbox = build_toolbox(
        knowledge=Knowledge(tmp_path / "index.db", None),
        sandbox=NoSandbox("off"),
        output_dir=tmp_path / "output",
    )
    context = AssignmentContext(
        run_id="run_1",
        workspace=tmp_path / "workspace",
        assignment=Assignment(agent="analyst", task="", path="analyst", round=1),
        decisions=APPROVED,
    )
    acting = Acting(toolbox, Gates(toolbox.gates), LocalLedger(), tools=("publish_file",))
    return Desk(toolbox, acting, context, tmp_path / "output")


async def test_a_person_is_asked_about_the_content_as_it_stands(desk: Desk) -> None:
    """Whatever the model says of it; of what is not there nobody is asked."""
    message, about = await desk.pinned(
        {"path": "report.md"},
        {"path": "report.md", "sha256": "0" * 64},
        {"path": "report.md", "sha256": "nonsense"},
        {"path": "no.md", "sha256": SHA256},
        {"path": "../report.md"},
        {"sha256": SHA256},
        {"path": "report.md", "why": "because"},
    )
    args = [call["args"] for call in message.tool_calls]
    assert args[:3] == [{"path": "report.md", "sha256": SHA256}] * 3
    assert args[3:] == [
        *({"path": "no.md"}, {"path": "../report.md"}, {}, {"path": "report.md", "why": "because"})
    ]
    asks = desk.acting.asks(
        message.tool_calls, 0, room=9, context=desk.context, messages=[], about=about
    )
    assert [ask["args"] for ask in asks] == args[:3]
    described = "analyst wants to call publish_file: report.md (8 bytes)"
    assert {ask["description"] for ask in asks} == {described}


async def test_no_more_calls_are_looked_at_than_may_be_made(desk: Desk) -> None:
    message, about = await desk.pinned(*[{"path": "report.md", "sha256": "x"}] * 3, room=2)
    assert list(about) == [0, 1]
    assert message.tool_calls[2]["args"] == {"path": "report.md"}


async def test_a_call_that_says_nothing_of_the_content_is_told_why(desk: Desk) -> None:
    """Also where the file has come to be there meanwhile: nobody has seen that one."""
    missing = await desk.answer({"path": "no.md"})
    assert (missing.status, "no file 'no.md'" in missing.text) == ("error", True)
    later = await desk.answer({"path": "report.md"})
    assert (later.status, "Make it again" in later.text) == ("error", True)
    assert not desk.target.exists()


async def test_an_approved_call_publishes_what_was_approved(desk: Desk) -> None:
    message = await desk.answer({"path": "report.md", "sha256": SHA256})
    assert (message.status, desk.target.read_text()) == ("success", "It grew.")
    (desk.context.workspace / "report.md").write_text("It shrank.")
    again = await desk.answer({"path": "report.md", "sha256": SHA256})
    assert again.text == message.text, "the ledger knows the answer"
    assert desk.target.read_text() == "It grew."


async def killed(desk: Desk, then: Callable[[], object] = lambda: None) -> None:
    """Publish the file, and end in the middle."""

    def end() -> None:
        then()
        raise Killed

    with pytest.raises(Killed):
        await desk.answer({"path": "report.md", "sha256": SHA256}, end)


async def test_what_had_been_published_before_the_crash_is_not_published_again(desk: Desk) -> None:
    await killed(desk)
    before = desk.target.stat()
    message = await desk.answer({"path": "report.md", "sha256": SHA256})
    assert (message.status, "took effect" in message.text) == ("success", True)
    assert desk.target.stat() == before


@pytest.mark.parametrize("noted", [True, False], ids=["after the note", "before the note"])
@pytest.mark.parametrize("before", [None, "The one before."])
async def test_what_had_not_been_published_is_published_now(
    desk: Desk, before: str | None, *, noted: bool
) -> None:
    if before is not None:
        desk.target.parent.mkdir()
        desk.target.write_text(before)

    def as_it_was() -> None:
        if before is None:
            desk.target.unlink()
        else:
            desk.target.write_text(before)
        if not noted:
            for note in (desk.output / JOURNAL).iterdir():
                note.unlink()

    await killed(desk, as_it_was)
    message = await desk.answer({"path": "report.md", "sha256": SHA256})
    assert (message.status, desk.target.read_text()) == ("success", "It grew.")
    assert message.text.startswith("Published 8 bytes")


@pytest.mark.parametrize("what", ["another file", "a link", "a broken note", "no folder"])
async def test_what_nobody_can_tell_is_in_doubt_and_left_alone(desk: Desk, what: str) -> None:
    await killed(desk)
    if what == "another file":
        desk.target.write_text("Somebody else's.")
    elif what == "a link":
        desk.target.unlink()
        desk.target.symlink_to("elsewhere")
    elif what == "a broken note":
        [note] = (desk.output / JOURNAL).iterdir()
        note.write_text("{")
    else:
        desk.output.rename(desk.output.with_name("moved"))
    message = await desk.answer({"path": "report.md", "sha256": SHA256})
    assert message.additional_kwargs[IN_DOUBT]["action"]["tool"] == "publish_file"
    assert "Do not make it again" in message.text
    if what == "another file":
        assert desk.target.read_text() == "Somebody else's."
