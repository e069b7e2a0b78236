"""The graph that `langgraph.json` exports, over a saver as LangGraph's server gives it one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from service.hosted_graph import build_exported
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
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
