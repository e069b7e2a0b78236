"""The graph that `langgraph.json` exports, over a saver as LangGraph's server gives it one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from domain.limits import Limits
from service.hosted import HostedContext
from service.hosted_graph import build_exported
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.integration.people import post, turns
from tests.integration.team_script import decisions

CONFIG: Any = {"configurable": {"thread_id": "t"}}

# Where these are read, LangGraph's server lets a process block as well: at the import of what only some runs need.
pytestmark = pytest.mark.may_block


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    knowledge: Path,
    models: FakeModelServer,
    target: CountingTarget,
) -> pytest.MonkeyPatch:
    """Set what the server's environment would say."""
    values = {
        "SIGNALBOX_DATABASE_URL": f"sqlite:///{tmp_path}/runs.db",
        "SIGNALBOX_DATA_DIR": str(tmp_path / "data"),
        "SIGNALBOX_KNOWLEDGE_DIR": str(knowledge),
        "SIGNALBOX_HTTP_ALLOW": target.address,
        "SIGNALBOX_SANDBOX": "off",
        "SIGNALBOX_VALIDATION": "off",
        "OPENAI_BASE_URL": models.base_url,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


class Losing(InMemorySaver):
    """A saver that goes away when the exported graph's own step has ended."""

    lose = False

    async def aput_writes(
        self, config: Any, writes: Any, task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task has written, or lose it."""
        outer = config["configurable"].get("checkpoint_ns", "") == ""
        if self.lose and outer and any(channel == "output" for channel, _ in writes):
            raise ConnectionError
        await super().aput_writes(config, writes, task_id, task_path)


def sends_one(models: FakeModelServer, target: CountingTarget) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="It is sent.")),
    )


@pytest.mark.usefixtures("environment")
async def test_a_step_that_is_done_again_acts_once(
    models: FakeModelServer, target: CountingTarget
) -> None:
    """The server is gone before it has saved what the step came to: done again, the run knows that by itself."""
    sends_one(models, target)
    saver = Losing()
    graph = build_exported().copy({"checkpointer": saver})
    asked = await graph.ainvoke({"task": "Send the order"}, CONFIG)
    [question] = asked["__interrupt__"]
    assert question.value["tool"] == "http_request"
    assert target.requests == []

    saver.lose = True
    answer: Command[Any] = Command(resume={question.id: {"type": "approve"}})
    with pytest.raises(ConnectionError):
        await graph.ainvoke(answer, CONFIG, durability="sync")
    assert len(target.requests) == 1
    calls = len(models.requests)
    saver.lose = False
    ended = await graph.ainvoke(None, CONFIG)
    assert (ended["status"], ended["output"]) == ("completed", "It is sent.")
    assert len(target.requests) == 1
    assert len(models.requests) == calls


@pytest.mark.usefixtures("environment")
async def test_a_run_that_is_cut_off_goes_on_and_keeps_its_bill(
    models: FakeModelServer, tmp_path: Path
) -> None:
    """The task is cancelled while a model is asked; then it goes on from there, under the next attempt."""
    arrived, held = models.event("arrived"), models.event("held")

    def arriving(_: Any) -> Reply:
        arrived.set()
        return Reply(text="It is said.")

    models.add(*decisions(("coder", "Say it")))
    models.add(Rule(when=When(user="Say it"), reply=arriving, gate="held"))
    graph = build_exported().copy({"checkpointer": InMemorySaver()})
    task = asyncio.create_task(graph.ainvoke({"task": "Say something"}, CONFIG))
    await asyncio.wait_for(arrived.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    held.set()
    ended = await graph.ainvoke(None, CONFIG)
    assert (ended["status"], ended["output"]) == ("completed", "It is said.")
    decided = [r for r in models.requests if r.schema]
    assert len(decided) == 2  # before the agent and after it; the cut did not bring back the first
    with closing(sqlite3.connect(tmp_path / "runs.db")) as rows:
        booked = dict(rows.execute("SELECT status, count(*) FROM usage GROUP BY status").fetchall())
        attempts = rows.execute("SELECT attempt, status FROM runs").fetchall()
    assert booked == {"completed": 3, "cancelled": 1}
    assert attempts == [(2, "completed")]


@pytest.mark.usefixtures("environment")
async def test_a_next_task_does_not_show_the_answer_before(
    models: FakeModelServer, target: CountingTarget
) -> None:
    """While it asks, and where it is refused, it would seem to have ended as the task before did."""
    sends_one(models, target)
    graph = build_exported().copy({"checkpointer": InMemorySaver()})
    [question] = (await graph.ainvoke({"task": "Send the order"}, CONFIG))["__interrupt__"]
    answer: Command[Any] = Command(resume={question.id: {"type": "reject"}})
    ended = await graph.ainvoke(answer, CONFIG)
    assert ended["output"] == (await graph.aget_state(CONFIG)).values["output"] == "It is sent."
    asked = await graph.ainvoke({"task": "Send another order"}, CONFIG)
    assert asked.keys() == {"__interrupt__"}
    with pytest.raises(ValueError, match="/agents/0: there is no agent 'nobody'"):
        await graph.ainvoke(
            {"task": "Send it again"}, CONFIG, context=HostedContext(agents=("nobody",))
        )
    assert (await graph.aget_state(CONFIG)).values == {"task": "Send it again"}


async def test_without_a_database_limits_hold_across_a_question(
    environment: pytest.MonkeyPatch, models: FakeModelServer
) -> None:
    """The answer comes without the context that the run was begun with, when nothing else is under way."""
    environment.delenv("SIGNALBOX_DATABASE_URL")
    environment.setenv("SIGNALBOX_GATES", '[{"tool": "search_documents", "gate": "ask"}]')
    models.add(
        *decisions(("researcher", "Look it up")),
        turns(
            "Look it up",
            replace(
                Reply.calls(("search_documents", {"query": "order"})), usage=TokenUsage(40_000, 10)
            ),
            Reply(text="It is there."),
        ),
    )
    graph = build_exported().copy({"checkpointer": InMemorySaver()})
    limited = HostedContext(budget=Limits(max_tokens=40_000))
    asked = await graph.ainvoke({"task": "Look for the order"}, CONFIG, context=limited)
    assert asked.keys() == {"__interrupt__"}, asked.get("error")
    [question] = asked["__interrupt__"]
    calls = len(models.requests)
    answer: Command[Any] = Command(resume={question.id: {"type": "approve"}})
    ended = await graph.ainvoke(answer, CONFIG)
    assert "of 40,000 tokens" in ended["error"]["detail"], ended
    assert len(models.requests) == calls


@pytest.mark.usefixtures("environment")
async def test_a_run_that_the_database_has_forgotten_does_not_go_on(
    models: FakeModelServer, target: CountingTarget, tmp_path: Path
) -> None:
    """What it may spend and what it has done would be forgotten too."""
    sends_one(models, target)
    graph = build_exported().copy({"checkpointer": InMemorySaver()})
    [question] = (await graph.ainvoke({"task": "Send the order"}, CONFIG))["__interrupt__"]
    for file in await asyncio.to_thread(list, tmp_path.glob("runs.db*")):
        file.unlink()
    answer: Command[Any] = Command(resume={question.id: {"type": "approve"}})
    with pytest.raises(ValueError, match="knows nothing of the run"):
        await graph.ainvoke(answer, CONFIG)
    assert target.requests == []


@pytest.mark.usefixtures("environment")
async def test_an_answer_about_something_else_decides_nothing(
    models: FakeModelServer, target: CountingTarget
) -> None:
    """The arguments of an edit of another tool would be those of this one."""
    sends_one(models, target)
    graph = build_exported().copy({"checkpointer": InMemorySaver()})
    [question] = (await graph.ainvoke({"task": "Send the order"}, CONFIG))["__interrupt__"]
    args = {**question.value["args"], "url": target.url("/elsewhere")}
    other = {"type": "edit", "edited_action": {"name": "run_python", "args": args}}
    with pytest.raises(ValueError, match="this asks about 'http_request'"):
        await graph.ainvoke(Command(resume={question.id: other}), CONFIG)
    assert target.requests == []
    right: Command[Any] = Command(resume={question.id: {"type": "approve"}})
    ended = await graph.ainvoke(right, CONFIG)
    assert ended["status"] == "completed"
    assert [request.path for request in target.requests] == ["/orders"]


async def test_a_request_that_the_server_begins_again_without_its_checkpoints_acts_once(
    environment: pytest.MonkeyPatch, models: FakeModelServer, target: CountingTarget, tmp_path: Path
) -> None:
    """It was killed in the middle of an action; what it kept of the request was that there is one."""
    environment.setenv("SIGNALBOX_GATES", '[{"tool": "http_request", "gate": "auto"}]')
    sends_one(models, target)
    request: Any = {"configurable": {"thread_id": "t", "run_id": "r"}}
    gate = target.hold("/orders")
    graph = build_exported()
    cut = asyncio.create_task(
        graph.copy({"checkpointer": InMemorySaver()}).ainvoke({"task": "Send it all"}, request)
    )
    await target.arrived("/orders")
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    gate.open()
    forgetful = graph.copy({"checkpointer": InMemorySaver()})
    ended = await forgetful.ainvoke({"task": "Send it all"}, request)
    assert len(target.requests) == 1
    assert "it is not known whether its call of http_request took effect" in ended["output"]
    with closing(sqlite3.connect(tmp_path / "runs.db")) as rows:
        assert rows.execute("SELECT status, attempt FROM runs").fetchall() == [("completed", 2)]
    # The next request is another run.
    target.forget("/orders")
    request["configurable"]["run_id"] = "s"
    assert (await forgetful.ainvoke({"task": "Send it all"}, request))["output"] == "It is sent."
    assert len(target.requests) == 2


@pytest.mark.usefixtures("environment")
async def test_an_answer_finds_the_run_whatever_request_it_comes_with(
    models: FakeModelServer, target: CountingTarget, tmp_path: Path
) -> None:
    """The server numbers it anew."""
    sends_one(models, target)
    graph = build_exported().copy({"checkpointer": InMemorySaver()})
    first: Any = {"configurable": {"thread_id": "t", "run_id": "r"}}
    [question] = (await graph.ainvoke({"task": "Send the order"}, first))["__interrupt__"]
    answer: Command[Any] = Command(resume={question.id: {"type": "approve"}})
    second: Any = {"configurable": {"thread_id": "t", "run_id": "s"}}
    assert (await graph.ainvoke(answer, second))["status"] == "completed"
    with closing(sqlite3.connect(tmp_path / "runs.db")) as rows:
        assert rows.execute("SELECT status, attempt FROM runs").fetchall() == [("completed", 2)]
