"""What stands between an agent and its tools, and what of it can be told again from its messages."""

from __future__ import annotations

from pathlib import Path

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage

from agents._kit.acting import Acting
from agents._kit.local_ledger import LocalLedger
from agents._kit.outcomes import IN_DOUBT, AssignmentContext, message_drafts
from domain.agent import Assignment
from tools.gates import Gates
from tools.knowledge import Knowledge
from tools.registry import build_toolbox
from tools.sandbox.unsafe_local import UnsafeLocal

ADDRESS = "127.0.0.1:1"
CALL = ToolCall(
    name="http_request",
    args={"method": "POST", "url": f"http://{ADDRESS}/orders", "body": "{}"},
    id="call-1",
)


def test_a_tool_that_the_agent_was_not_offered_asks_nobody(tmp_path: Path) -> None:
    """A model may name any tool of the server; a person who approved would have approved nothing."""
    knowledge = Knowledge(tmp_path / "index.db", None)
    toolbox = build_toolbox(knowledge=knowledge, sandbox=UnsafeLocal(), http_allow=[ADDRESS])
    work = AssignmentContext(
        run_id="run_1", assignment=Assignment(agent="analyst", task="", path="analyst", round=1)
    )
    for tools, asked in ((("read_file",), 0), (("read_file", "http_request"), 1)):
        acting = Acting(toolbox, Gates(toolbox.gates), LocalLedger(), tools=tools)
        asks = acting.asks([CALL], 0, room=9, context=work, messages=[])
        assert len(asks) == asked


def test_a_doubt_is_told_again_from_the_checkpoint() -> None:
    """The message was saved and its events were not: killed in between, nobody would learn of it."""
    told = {"action": {"id": "act_1", "tool": "http_request", "status": "in_doubt"}, "detail": "?"}
    result = ToolMessage("?", tool_call_id="call-1", name="http_request", status="error")
    result.additional_kwargs[IN_DOUBT] = told
    messages: list[AnyMessage] = [
        HumanMessage("Do", id="1.coder"),
        AIMessage("", tool_calls=[CALL]),
        result,
    ]
    drafts = message_drafts("coder", messages)
    types = ["message.completed", "tool.started", "action.in_doubt", "tool.failed"]
    assert [draft.type for draft in drafts] == types
    assert (drafts[2].data, drafts[2].key) == (told, "1|coder|0.0|action.in_doubt")
