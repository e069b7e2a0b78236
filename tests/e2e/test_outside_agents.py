"""Agents come as a file or from outside, and take part through HTTP with no other edit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from tests.conftest import PACKAGES, ROOT
from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Models, agent
from tests.e2e.processes import Event, Service
from tests.fakes.model_server import Reply, Rule, TokenUsage, When

TRANSLATOR: Final = """
    from domain.agent import AgentSpec

    AGENT = AgentSpec(
        name="translator",
        description="Translates texts between languages.",
        prompt="You are the translator of a team. Translate.",
    )
"""

ECHO: Final = """
    from domain.agent import AgentSpec
    from langchain_core.messages import AIMessage
    from langgraph.graph import END, START, MessagesState, StateGraph


    async def answer(state: MessagesState):
        asked = state["messages"][-1].text
        count = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
        return {"messages": [AIMessage("Acme heard: " + asked[-20:], usage_metadata=count)]}


    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)

    AGENT = AgentSpec(
        name="acme", description="Asks Acme's own graph.", graph=graph.compile(COMPILE)
    )
"""

TALKER: Final = """
    import os

    from domain.agent import AgentSpec
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, MessagesState, StateGraph

    model = ChatOpenAI(
        base_url=os.environ["OPENAI_BASE_URL"], api_key="none", model="acme-1", stream_usage=True
    )


    async def draft(state: MessagesState):
        return {"messages": [await model.ainvoke([("system", "Acme drafts"), *state["messages"]])]}


    async def polish(state: MessagesState):
        return {"messages": [await model.ainvoke([("system", "Acme polishes"), *state["messages"]])]}


    graph = StateGraph(MessagesState)
    graph.add_node("draft", draft)
    graph.add_node("polish", polish)
    graph.add_edge(START, "draft")
    graph.add_edge("draft", "polish")
    graph.add_edge("polish", END)

    AGENT = AgentSpec(name="acme", description="Asks Acme's model.", graph=graph.compile())
"""

ASKING: Final = """
    from domain.agent import AgentSpec
    from langchain_core.messages import AIMessage
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.types import interrupt


    async def ask(state: MessagesState):
        return {"messages": [AIMessage(interrupt("May I?"))]}


    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)

    AGENT = AgentSpec(name="acme", description="Asks a person.", graph=graph.compile())
"""

OWN_SAVER: Final = (
    "checkpointer=__import__('langgraph.checkpoint.memory').checkpoint.memory.InMemorySaver()"
)
TASK: Final = "Say something about anvils"


def write_module(path: Path, text: str) -> None:
    """Write a module, and the packages it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")


def write_package(root: Path, text: str) -> None:
    """Write the package `acme_agents` with one agent."""
    write_module(root / "acme_agents" / "__init__.py", "")
    write_module(root / "acme_agents" / "anvil.py", text)


def write_distribution(root: Path, *entry_points: str) -> None:
    """Write what an installed distribution leaves that has agents."""
    info = root / "acme-1.0.dist-info"
    write_module(info / "METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    write_module(info / "entry_points.txt", "\n".join(["[signalbox.agents]", *entry_points]) + "\n")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder that is no part of the repository."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the product as a clone would have it."""
    copy = tmp_path / "signalbox"
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "api.py",
            *PACKAGES,
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def team(service: Service) -> dict[str, dict[str, Any]]:
    """Return the agents as the service lists them."""
    return {agent["name"]: agent for agent in service.client.get("/v1/agents").json()["data"]}


def agents_in_schema(models: Models) -> list[str]:
    """Return the agents the model may route to, from the schema it was given."""
    schema = next(request.schema for request in models.requests if request.schema)
    names: list[str] = schema["properties"]["assignments"]["items"]["properties"]["agent"]["enum"]
    return names


def of_agent(events: list[Event], agent: str, type_: str) -> list[dict[str, Any]]:
    """Return the data of an agent's events of a type."""
    return [e["data"] for e in events if (e["agent"], e["type"]) == (agent, type_)]


def route_to(*assignments: tuple[str, str]) -> tuple[Rule, Rule]:
    """Return a supervisor that gives out these assignments, then finishes."""
    return (
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route(), optional=True),
        Rule(when=When(schema=True), reply=Reply.route(*assignments)),
    )


def test_a_file_dropped_into_agents_is_an_agent_everywhere(
    serve: StartService, models: Models, checkout: Path
) -> None:
    """A fourth agent is listed, offered to the model, and routed to; nothing else is edited."""
    write_module(checkout / "agents" / "translator.py", TRANSLATOR)
    models.add(
        *route_to(("translator", "Translate 'good day' to German"), ("coder", "print it")),
        Rule(when=When(system="You are the translator"), reply=Reply(text="Guten Tag.")),
    )
    service = serve(models=models, cwd=checkout, PYTHONPATH=str(checkout))
    assert team(service)["translator"]["description"] == "Translates texts between languages."
    assert team(service)["translator"]["routable"] is True
    run = service.ended(service.create(TASK))
    assert run["status"] == "completed"
    assert run["result"]["agents"]["translator"]["output"] == "Guten Tag."
    assert agents_in_schema(models) == ["analyst", "coder", "researcher", "translator"]
    supervisor = next(request for request in models.requests if request.schema)
    assert "- translator (standard): Translates texts between languages." in supervisor.system
    assert run["usage"]["by_agent"]["translator"]["calls"] == 1


def test_the_offline_planner_routes_to_a_dropped_in_agent(
    serve: StartService, checkout: Path
) -> None:
    """Without a model the agent is found by its name, beside one that is found by its words."""
    write_module(checkout / "agents" / "translator.py", TRANSLATOR)
    service = serve(cwd=checkout, PYTHONPATH=str(checkout))
    run_id = service.create("Ask the translator to turn 'good day' into German")
    run, events = service.ended(run_id), service.events(run_id)
    assert (run["status"], run["engine"]) == ("completed", "offline")
    assert list(run["result"]["agents"]) == ["translator"]
    decisions = of_agent(events, "supervisor", "supervisor.decision")
    assert [a["agent"] for a in decisions[0]["assignments"]] == ["translator"]


@pytest.mark.parametrize(
    "compile_with", ["", OWN_SAVER], ids=["plain", "with its own checkpointer"]
)
def test_a_graph_from_an_outside_package_is_an_agent(
    serve: StartService, models: Models, outside: Path, compile_with: str
) -> None:
    """A fifth agent brings its own compiled graph; it is routed to and its tokens are counted."""
    write_package(outside, ECHO.replace("COMPILE", compile_with))
    models.add(*route_to(("acme", "shout anvil"), ("coder", "print anvil")))
    service = serve(models=models, PYTHONPATH=str(outside), SIGNALBOX_AGENTS="acme_agents")
    assert team(service)["acme"]["outside_graph"] is True
    run_id = service.create(TASK)
    run, events = service.ended(run_id), service.events(run_id)
    assert run["status"] == "completed"
    assert agents_in_schema(models) == ["analyst", "coder", "researcher", "acme"]
    output = run["result"]["agents"]["acme"]["output"]
    assert output.startswith("Acme heard: ")
    assert [d["output"] for d in of_agent(events, "acme", "agent.completed")] == [output]
    assert [d["text"] for d in of_agent(events, "acme", "message.completed")] == [output]


def test_the_offline_planner_routes_to_an_outside_graph(serve: StartService, outside: Path) -> None:
    """Without a model the outside agent is found by its name."""
    write_package(outside, ECHO.replace("COMPILE", ""))
    service = serve(PYTHONPATH=str(outside), SIGNALBOX_AGENTS="acme_agents")
    run = service.ended(service.create("Ask acme to say hello"))
    assert run["status"] == "completed"
    assert run["result"]["output"].startswith("Acme heard: ")


def test_the_tokens_of_an_outside_graph_stream_under_its_name(
    serve: StartService, models: Models, outside: Path
) -> None:
    """Each message's pieces, put together, are the message that is stored."""
    write_package(outside, TALKER)
    open_gate = models.gate("draft")
    models.add(
        *route_to(("acme", "anvil")),
        Rule(
            when=When(system="Acme drafts"),
            reply=Reply(text="An anvil is heavy, more or less.", usage=TokenUsage(10, 6)),
            gate="draft",
            gate_after=4,
        ),
        Rule(
            when=When(system="Acme polishes"),
            reply=Reply(text="An anvil is very heavy.", usage=TokenUsage(20, 5)),
        ),
    )
    service = serve(models=models, PYTHONPATH=str(outside), SIGNALBOX_AGENTS="acme_agents")
    run_id = service.create(TASK)
    with service.stream(run_id) as frames:
        seen = [next(frame for frame in frames if frame["type"] == "message.delta")]
        assert seen[0]["agent"] == "acme", "a token comes while the message is being written"
        open_gate()
        seen += frames
    written: dict[str, str] = {}
    for delta in of_agent(seen, "acme", "message.delta"):
        text = written.get(delta["message_id"], "")
        assert delta["offset"] == len(text)
        written[delta["message_id"]] = text + delta["text"]
    completed = of_agent(seen, "acme", "message.completed")
    assert written == {data["message_id"]: data["text"] for data in completed}
    assert list(written.values()) == ["An anvil is heavy, more or less.", "An anvil is very heavy."]
    run = service.run(run_id)
    assert run["result"]["agents"]["acme"]["output"] == "An anvil is very heavy."
    used = of_agent(seen, "acme", "agent.completed")[0]["usage"]
    assert (used["input_tokens"], used["output_tokens"], used["calls"]) == (30, 11, 2)


def test_the_tokens_an_outside_graph_used_are_counted(serve: StartService, outside: Path) -> None:
    """What its messages say they used stands in the run's usage under the agent's name."""
    write_package(outside, ECHO.replace("COMPILE", ""))
    service = serve(PYTHONPATH=str(outside), SIGNALBOX_AGENTS="acme_agents")
    run_id = service.create("Ask acme to say hello")
    spent = service.ended(run_id)["usage"]["by_agent"]["acme"]
    assert (spent["input_tokens"], spent["output_tokens"]) == (11, 7)
    updated = [e["data"]["usage"] for e in service.events(run_id) if e["type"] == "usage.updated"]
    assert updated[-1]["by_agent"]["acme"]["input_tokens"] == 11


def test_agents_come_from_a_folder(signalbox: StartProcess, outside: Path) -> None:
    """Every file of the folder is an agent, but those that start with an underscore."""
    write_module(outside / "translator.py", TRANSLATOR)
    write_module(outside / "_draft.py", "raise RuntimeError")
    process = signalbox("agents", SIGNALBOX_AGENTS=str(outside))
    assert process.ended() == 0, process.stderr
    assert "Translates texts" in process.stdout


def test_agents_come_from_entry_points(serve: StartService, outside: Path) -> None:
    """An installed distribution names its agents; one may be a module, one a spec."""
    write_module(outside / "acme_module.py", TRANSLATOR)
    write_module(outside / "acme_spec.py", ECHO.replace("AGENT =", "SPEC =").replace("COMPILE", ""))
    write_distribution(outside, "one = acme_module", "two = acme_spec:SPEC")
    service = serve(PYTHONPATH=str(outside), SIGNALBOX_AGENTS="signalbox.agents")
    assert {"translator", "acme"} <= set(team(service))
    run = service.ended(service.create("Ask acme to say hello"))
    assert run["result"]["output"].startswith("Acme heard: ")


def spec(**changed: str) -> str:
    """Return a module with an agent in which some arguments are not as they should be."""
    values = {
        "name": "'anvil'",
        "description": "'Says anvil.'",
        "prompt": "'Say anvil.'",
        **changed,
    }
    arguments = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"from domain.agent import AgentSpec\nAGENT = AgentSpec({arguments})\n"


UNCOMPILED = """
    from domain.agent import AgentSpec
    from langgraph.graph import MessagesState, StateGraph

    AGENT = AgentSpec(name="anvil", description="Says anvil.", graph=StateGraph(MessagesState))
"""

BROKEN: Final = {
    "no AGENT": ("SPEC = 1", "Export AGENT"),
    "AGENT of another type": ("AGENT = {'name': 'anvil'}", "dict"),
    "a syntax error": ("AGENT = (", "Mend it"),
    "the name of another": (spec(name="'coder'"), "Rename one"),
    "six tools": (spec(tools="tuple('abcdef')"), "at most 5"),
    "an unknown tool": (spec(tools="('hammer',)"), "run_python"),
    "a bad name": (spec(name="'The Anvil'"), "lower-case"),
    "a reserved name": (spec(name="'supervisor'"), "reserved"),
    "an uncompiled graph": (UNCOMPILED, ".compile()"),
    "an error of several lines": (
        "from pydantic import BaseModel\nclass A(BaseModel):\n    x: int\nA(x='y')\n",
        "Mend it",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "remedy"), BROKEN.values(), ids=BROKEN)
def test_a_broken_agent_of_a_package_stops_the_start_with_one_line(
    signalbox: StartProcess, outside: Path, text: str, remedy: str
) -> None:
    """The line names the file and what to do."""
    write_package(outside, text)
    line = signalbox("agents", PYTHONPATH=str(outside), SIGNALBOX_AGENTS="acme_agents").refused()
    assert str(outside / "acme_agents" / "anvil.py") in line
    assert remedy in line


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a syntax error", "no AGENT", "the name of another"])
def test_a_broken_agent_of_a_folder_stops_the_start_with_one_line(
    signalbox: StartProcess, outside: Path, fault: str
) -> None:
    """The line names the file and what to do."""
    text, remedy = BROKEN[fault]
    write_module(outside / "anvil.py", text)
    line = signalbox("agents", SIGNALBOX_AGENTS=str(outside)).refused()
    assert str(outside / "anvil.py") in line
    assert remedy in line


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a syntax error", "no AGENT"])
def test_a_broken_file_in_agents_stops_the_start_with_one_line(
    signalbox: StartProcess, checkout: Path, fault: str
) -> None:
    """The line names the file and what to do."""
    text, remedy = BROKEN[fault]
    write_module(checkout / "agents" / "anvil.py", text)
    line = signalbox("agents", cwd=checkout, PYTHONPATH=str(checkout)).refused()
    assert str(checkout / "agents" / "anvil.py") in line
    assert remedy in line


def test_a_broken_entry_point_stops_the_start_with_one_line(
    signalbox: StartProcess, outside: Path
) -> None:
    """The line names the entry point and what to do."""
    write_distribution(outside, "one = no_such_module:AGENT")
    process = signalbox("agents", PYTHONPATH=str(outside), SIGNALBOX_AGENTS="signalbox.agents")
    line = process.refused()
    assert "one = no_such_module:AGENT" in line
    assert "uninstall" in line


@pytest.mark.parametrize("name", ["no_such_package", "acme_agents.missing"])
def test_a_package_that_is_not_there_is_refused(
    signalbox: StartProcess, outside: Path, name: str
) -> None:
    """The line names the setting and what it may be."""
    write_package(outside, ECHO.replace("COMPILE", ""))
    line = signalbox("agents", PYTHONPATH=str(outside), SIGNALBOX_AGENTS=name).refused()
    assert f"SIGNALBOX_AGENTS='{name}'" in line
    assert "existing folder" in line


@pytest.mark.parametrize(
    "assignments",
    [[("acme", "ask")], [("acme", "ask"), ("coder", "print")]],
    ids=["alone", "beside another agent"],
)
def test_what_an_outside_graph_asks_a_person_is_answered(
    serve: StartService, models: Models, outside: Path, assignments: list[tuple[str, str]]
) -> None:
    """Its interrupt is an approval of the type `input`; the agent beside it works only once."""
    write_package(outside, ASKING)
    models.add(*route_to(*assignments))
    service = serve(models=models, PYTHONPATH=str(outside), SIGNALBOX_AGENTS="acme_agents")
    response = service.client.post("/v1/runs?wait=20", json={"task": TASK})
    assert response.status_code == 202, response.text
    run = response.json()
    assert run["required_action"]["type"] == "input"
    [approval_id] = run["required_action"]["approval_ids"]
    path = f"/v1/approvals/{approval_id}"
    approval = service.client.get(path).json()
    assert (approval["agent"], approval["description"]) == ("acme", "May I?")
    answer = {"type": "respond", "message": "You may."}
    assert service.client.post(f"{path}/decision", json=answer).status_code == 200
    run = service.ended(run["id"])
    assert run["status"] == "completed"
    assert run["result"]["agents"]["acme"]["output"] == "You may."
    assert models.asked(system=agent("coder")) == len(assignments) - 1
