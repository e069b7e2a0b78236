"""Questions to the user: of an agent, and of graphs from outside that interrupt in their own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from tests.fakes.model_script import Reply, Rule
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start, database
from tests.integration.people import (
    asked,
    decide,
    decided,
    results,
    start_run,
    turns,
    waiting,
)
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import decisions

HEAD: Final = """
    from typing import Literal

    from langchain_core.messages import AIMessage
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.types import interrupt
    from pydantic import BaseModel

    from domain.agent import AgentSpec

"""

TAIL: Final = """

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)

    AGENT = AgentSpec(name="acme", description="Asks a person.", graph=graph.compile())
"""

PLAIN: Final = """
    async def ask(state: MessagesState):
        return {"messages": [AIMessage("You said: " + interrupt("May I?"))]}
"""

TWICE: Final = """
    async def ask(state: MessagesState):
        first = interrupt("May I?")
        second = interrupt("May I?")
        return {"messages": [AIMessage(f"You said: {first}, then {second}")]}
"""

TYPED: Final = """
    class Trip(BaseModel):
        city: Literal["Cork", "Galway"]
        days: int
        more: dict = {}


    async def ask(state: MessagesState):
        trip = interrupt({"question": "Where to?"}, response_schema=Trip)
        return {"messages": [AIMessage(f"{trip.days} days in {trip.city}")]}
"""

ODD: Final = r"""
    async def ask(state: MessagesState):
        return {"messages": [AIMessage("You said: " + interrupt("May I?\x00\ud800"))]}
"""

MIDDLEWARE: Final = '''
    from langchain.agents import create_agent
    from langchain.agents.middleware import HumanInTheLoopMiddleware
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    from domain.agent import AgentSpec


    class Model(BaseChatModel):
        @property
        def _llm_type(self):
            return "scripted"

        def bind_tools(self, tools, **kwargs):
            return self

        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            told = [f"{m.name}: {m.text}" for m in messages if m.type == "tool"]
            calls = [{"name": "send", "args": {"to": to}, "id": to} for to in ("Ann", "Bob")]
            said = AIMessage(" / ".join(told)) if told else AIMessage("", tool_calls=calls)
            return ChatResult(generations=[ChatGeneration(message=said)])


    def send(to: str) -> str:
        """Send something."""
        return f"sent to {to}"


    review = {"allowed_decisions": ["approve", "edit", "reject"]}
    graph = create_agent(
        Model(), [send], middleware=[HumanInTheLoopMiddleware(interrupt_on={"send": review})]
    )

    AGENT = AgentSpec(name="acme", description="Sends things.", graph=graph)
'''

StartOutside = Callable[[str], AbstractAsyncContextManager[Product]]


def with_agent(start: Start, models: FakeModelServer, folder: Path, **given: Any) -> StartOutside:
    """Return how to start the product with an agent in a folder, to which all work is given."""

    def begin(text: str) -> AbstractAsyncContextManager[Product]:
        folder.mkdir()
        (folder / "acme.py").write_text(dedent(text), encoding="utf-8")
        models.add(*decisions(("acme", "Ask them")))
        return start(models=models, agents=str(folder), **given)

    return begin


@pytest.fixture
def outside(
    request: pytest.FixtureRequest, start: Start, models: FakeModelServer, tmp_path: Path
) -> StartOutside:
    """Return how to start the product with an agent from outside, on each database."""
    return with_agent(start, models, tmp_path / "outside", **database(request, tmp_path))


@pytest.fixture
def outside_once(start: Start, models: FakeModelServer, tmp_path: Path) -> StartOutside:
    """Return the same where it makes no difference on which database."""
    return with_agent(start, models, tmp_path / "outside")


def asks(question: str, *more: Reply) -> list[Rule]:
    """Return the script of an agent that asks the user."""
    return [
        *decisions(("coder", "Find out")),
        turns("Find out", Reply.calls(("ask_user", {"question": question})), *more),
    ]


async def test_an_agent_asks_the_user(acting_once: Product, models: FakeModelServer) -> None:
    """The answer is the result of its call; nothing else answers a question."""
    models.add(*asks("Which colour?\x00", Reply(text="It is blue.")))
    run_id = await start_run(acting_once)
    run = await waiting(acting_once, run_id)
    approval = await asked(acting_once, run_id)
    assert run["required_action"] == {"type": "input", "approval_ids": [approval["id"]]}
    assert run["actions"] == []
    assert (approval["type"], approval["tool"]) == ("input", "ask_user")
    assert approval["description"].startswith("Which colour?")
    assert approval["allowed_decisions"] == ["respond"]
    assert approval["response_schema"]["properties"]["type"] == {"const": "respond"}
    edit = {"name": "ask_user", "args": {"question": "Which?"}}
    for body in (
        {"type": "approve"},
        {"type": "reject"},
        {"type": "edit", "edited_action": edit},
    ):
        problem = assert_problem(await decide(acting_once, approval, **body), "validation-error")
        assert pointers(problem) == ["/type"]
    await decided(acting_once, approval, type="respond", message="Blue, says I. 🚦")
    run = await acting_once.ended(run_id)
    assert (run["status"], run["result"]["output"]) == ("completed", "It is blue.")
    assert results(models.requests[-2]) == ["Blue, says I. 🚦"]
    assert run["actions"] == []


async def test_where_nobody_is_there_the_agent_is_told(
    start: Start, models: FakeModelServer
) -> None:
    """As the caller says so, or as nobody answers in time."""
    models.add(*asks("Which colour?", Reply(text="I assumed blue.")))
    async with start(models=models, approval_seconds=0.3) as product:
        run = await product.finished("Do it", approvals={"mode": "never"})
        assert (run["status"], run["attempt"]) == ("completed", 1)
        assert "Nobody can be asked in this run" in results(models.requests[-2])[0]
        run_id = await start_run(product)
        frames = await product.stream(run_id)
    assert "approval.expired" in [frame["type"] for frame in frames]
    assert (frames[-1]["type"], frames[-1]["attempt"]) == ("run.completed", 2)
    assert "Nobody answered in time" in results(models.requests[-2])[0]


async def test_a_graph_from_outside_asks(outside: StartOutside, models: FakeModelServer) -> None:
    async with outside(HEAD + PLAIN + TAIL) as product:
        run_id = await start_run(product)
        run = await waiting(product, run_id)
        approval = await asked(product, run_id)
        assert run["required_action"]["type"] == "input"
        assert approval == {
            **approval,
            "type": "input",
            "agent": "acme",
            "tool": None,
            "action": None,
            "args_digest": None,
            "description": "May I?",
            "allowed_decisions": ["respond"],
        }
        assert_problem(await decide(product, approval, type="approve"), "validation-error")
        await decided(product, approval, type="respond", message="You may.")
        run = await product.ended(run_id)
        assert (run["status"], run["result"]["output"]) == ("completed", "You said: You may.")
        assert run["attempt"] == 2
        events = await product.events(run_id)
        types = [event["type"] for event in events]
        assert types.count("approval.requested") == types.count("agent.started") == 1
        assert len([r for r in models.requests if r.schema]) == 2


async def test_each_question_of_a_node_has_its_own_answer(outside: StartOutside) -> None:
    """The second is the same word for word, and the first one's approval does not answer it."""
    async with outside(HEAD + TWICE + TAIL) as product:
        run_id = await start_run(product)
        first = await asked(product, run_id)
        await decided(product, first, type="respond", message="yes")
        second = await asked(product, run_id)
        assert second["id"] != first["id"]
        await decided(product, first, type="respond", message="yes")
        refused = await decide(product, first, type="respond", message="no")
        assert_problem(refused, "approval-already-decided")
        await waiting(product, run_id)
        await decided(product, second, type="respond", message="no")
        run = await product.ended(run_id)
        assert run["result"]["output"] == "You said: yes, then no"
        assert (run["status"], run["attempt"]) == ("completed", 3)


async def test_an_answer_has_to_fit_the_schema_of_the_question(outside_once: StartOutside) -> None:
    """What does not is refused, whatever it is, and the question waits on."""
    fits: dict[str, Any] = {"city": "Cork", "days": 3}
    wrong = [
        "Cork",
        "{}",
        "[]",
        json.dumps({**fits, "city": "Rome"}),
        json.dumps({**fits, "days": "three"}),
        '{"city": "Cork", "days": ' + "1" * 5_000 + "}",
        '{"city": "Cork", "days": NaN}',
        '{"city": "Cork", "days": 1' + "0" * 400 + "}",
        '{"city": "Cork", "days": 3, "more": {"x": "\\ud800"}}',
        '{"city": "Cork", "days": 3, "more": {"x": NaN}}',
        '{"city": "Cork", "days": 3, "more": {"x": ' + "[" * 300 + "]" * 300 + "}}",
        "[" * 10_000,
    ]
    async with outside_once(HEAD + TYPED + TAIL) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        schema = approval["response_schema"]["properties"]["message"]
        assert schema["contentSchema"]["required"] == ["city", "days"]
        assert json.loads(approval["description"]) == {"question": "Where to?"}
        for message in wrong:
            answer = await decide(product, approval, type="respond", message=message)
            assert answer.status_code == 422, (message[:80], answer.text)
            assert pointers(assert_problem(answer, "validation-error")) == ["/message"]
        assert await asked(product, run_id) == approval
        message = json.dumps({**fits, "more": {"x": [1, 2.5, None, "é"]}})
        await decided(product, approval, type="respond", message=message)
        run = await product.ended(run_id)
        assert (run["status"], run["result"]["output"]) == ("completed", "3 days in Cork")


async def test_a_question_of_odd_characters_can_be_answered(outside_once: StartOutside) -> None:
    async with outside_once(HEAD + ODD + TAIL) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        assert approval["description"].startswith("May I?")
        await decided(product, approval, type="respond", message="You may.")
        run = await product.ended(run_id)
        assert (run["status"], run["result"]["output"]) == ("completed", "You said: You may.")


async def test_the_middleware_of_langchain_is_answered_in_its_own_words(
    outside_once: StartOutside,
) -> None:
    """One question about two calls, answered by a document with a decision about each."""
    async with outside_once(MIDDLEWARE) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        shown = json.loads(approval["description"])
        assert [each["args"] for each in shown["action_requests"]] == [{"to": "Ann"}, {"to": "Bob"}]
        approve, reject = {"type": "approve"}, {"type": "reject", "message": "not Bob"}
        for wrong in (
            "approve",
            "{}",
            json.dumps({"decisions": [approve]}),
            json.dumps({"decisions": [approve, reject, approve]}),
            json.dumps({"decisions": ["approve", "reject"]}),
            json.dumps({"decisions": [approve, {"type": "maybe"}]}),
            json.dumps({"decisions": [approve, {"type": "edit"}]}),
            json.dumps({"decisions": [approve, {"type": "respond", "message": "it is there"}]}),
        ):
            answer = await decide(product, approval, type="respond", message=wrong)
            assert answer.status_code == 422, (wrong, answer.text)
        message = json.dumps({"decisions": [approve, reject]})
        await decided(product, approval, type="respond", message=message)
        run = await product.ended(run_id)
        assert run["status"] == "completed"
        assert "send: sent to Ann" in run["result"]["output"]
        assert "sent to Bob" not in run["result"]["output"]
        assert "not Bob" in run["result"]["output"]


async def test_a_fork_asks_an_outside_graphs_question_anew(
    outside_once: StartOutside, models: FakeModelServer
) -> None:
    """Each run is answered for itself; the graph begins its assignment again."""
    async with outside_once(HEAD + PLAIN + TAIL) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        made = await product.client.post(f"/v1/runs/{run_id}/fork", json={})
        assert made.status_code == 202, made.text
        other = await asked(product, made.json()["id"])
        assert other["id"] != approval["id"]
        assert other["description"] == approval["description"]
        for each in (other, approval):
            await decided(product, each, type="respond", message="blue")
            assert (await product.ended(each["run_id"]))["status"] == "completed"
