from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from domain.errors import ConfigurationError, ToolFailedError
from domain.gates import When
from domain.run import RunContext
from domain.tool import Effect
from tools.gates import make_gates
from tools.knowledge import Knowledge
from tools.registry import Toolbox, build_toolbox
from tools.sandbox.off import NoSandbox
from tools.sandbox.unsafe_local import UnsafeLocal

EFFECTS = {
    "search_documents": "none",
    "web_search": "none",
    "fetch_url": "none",
    "run_python": "workspace",
    "describe_table": "none",
    "read_file": "none",
    "write_file": "workspace",
    "list_files": "none",
    "publish_file": "external",
    "http_request": "external",
    "ask_user": "none",
}


@pytest.fixture
def toolbox(tmp_path: Path) -> Toolbox:
    return build_toolbox(knowledge=Knowledge(tmp_path / "i.db", None), sandbox=UnsafeLocal())


def test_every_tool_declares_its_effect(toolbox: Toolbox) -> None:
    assert {name: toolbox.get(name).effect for name in toolbox.names} == EFFECTS


def test_tools_are_selected_in_the_order_of_their_names(toolbox: Toolbox) -> None:
    chosen = toolbox.select(["write_file", "run_python"])
    assert [tool.name for tool in chosen] == ["write_file", "run_python"]


def test_an_unknown_name_is_refused_with_the_known_ones(toolbox: Toolbox) -> None:
    with pytest.raises(ConfigurationError, match=r"'fly'.*search_documents, web_search"):
        toolbox.select(["run_python", "fly"])


def test_two_tools_of_one_name_are_refused(toolbox: Toolbox) -> None:
    with pytest.raises(ConfigurationError, match="read_file"):
        Toolbox([toolbox.get("read_file"), toolbox.get("read_file")])


def test_the_model_sees_described_arguments_and_no_runtime(toolbox: Toolbox) -> None:
    expected: dict[str, set[str]] = {
        "search_documents": {"query"},
        "web_search": {"query", "max_results"},
        "fetch_url": {"url", "start"},
        "run_python": {"code"},
        "describe_table": {"path"},
        "read_file": {"path"},
        "write_file": {"path", "content"},
        "list_files": set(),
        "publish_file": {"path", "sha256"},
        "http_request": {"method", "url", "headers", "body"},
        "ask_user": {"question"},
    }
    for name in toolbox.names:
        tool = toolbox.get(name).tool
        schema: dict[str, Any] = tool.tool_call_schema.model_json_schema()  # type: ignore[union-attr]  # never a dict here
        assert set(schema["properties"]) == expected[name]
        assert all(one["description"] for one in schema["properties"].values())
        assert "\n" not in tool.description


def test_each_tool_declares_what_the_service_has_to_know(toolbox: Toolbox) -> None:
    """What changes the world asks, unless a call of it only reads; what does not asks nobody."""
    gates = make_gates([], toolbox)
    for tool in toolbox.select(toolbox.names):
        assert tool.tool.description.endswith(".")
        assert tool.timeout_seconds > 0
        assert tool.effect in get_args(Effect)
        assert {rule.tool for rule in tool.gates} <= {tool.name}
        usual = gates.usual(tool)
        if tool.effect == "external":
            assert usual in {"ask", "rules"}
            assert tool.gates[-1].when == When()
            assert tool.gates[-1].gate == "ask"
        else:
            assert usual == ("ask" if tool.control else "auto")
        if tool.pin is not None:
            properties: dict[str, Any] = tool.tool.tool_call_schema.model_json_schema()  # type: ignore[union-attr]  # never a dict here
            assert tool.pin.argument not in properties["required"]


def _graph(toolbox: Toolbox) -> Any:
    graph = StateGraph(MessagesState, context_schema=RunContext)
    graph.add_node("tools", ToolNode([toolbox.get(name).tool for name in toolbox.names]))
    graph.add_edge(START, "tools")
    return graph.compile()


async def test_a_graph_injects_the_context_and_a_model_cannot_replace_it(
    toolbox: Toolbox, workspace: Path
) -> None:
    context = RunContext(
        run_id="r",
        tenant_id="t",
        thread_id="h",
        attempt=1,
        max_rounds=1,
        workspace=workspace,
        shelf=workspace.parent / "shelf",
    )
    args = {"path": "a.txt", "content": "x", "runtime": "mine", "surplus": 1}
    request = AIMessage("", tool_calls=[{"name": "write_file", "args": args, "id": "1"}])
    state = await _graph(toolbox).ainvoke({"messages": [request]}, context=context)
    assert state["messages"][-1].content.startswith("Wrote 1 bytes to a.txt.\n")
    assert (workspace / "a.txt").read_text() == "x"


async def test_with_a_reason_programs_are_refused_with_that_reason(
    tmp_path: Path, call: Any
) -> None:
    reason = "Code cannot be run here."
    toolbox = build_toolbox(knowledge=Knowledge(tmp_path / "i", None), sandbox=NoSandbox(reason))
    assert toolbox.get("run_python").off_reason == reason
    with pytest.raises(ToolFailedError, match=reason):
        await call(toolbox.get("run_python").tool, code="print(1)")
