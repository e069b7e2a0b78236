"""Agents in services of their own, asked by workers over a queue: all of it is killed in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from domain.approval import action_id
from tests.chaos.site import Site, until
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import Process, Run, Service
from tests.e2e.test_agent_services import SECRET, TASK, Instance, routed, where
from tests.e2e.test_outside_agents import write_module
from tests.fakes.http_target import CountingTarget, target_in_thread
from tests.fakes.model_server import Reply, When
from tests.fakes.postgres import PostgresServer

pytestmark = [
    pytest.mark.timeout(180),
    # The database is made in this process, in a thread and a loop of its own.
    pytest.mark.may_block,
]

GRAPH: Final = """
    import os

    from domain.agent import AgentSpec
    from langchain_core.messages import AIMessage
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.types import interrupt

    model = ChatOpenAI(
        base_url=os.environ["OPENAI_BASE_URL"], api_key="none", model="acme-1", stream_usage=True
    )


    async def draft(state: MessagesState):
        return {"messages": [await model.ainvoke([("system", "Acme drafts"), *state["messages"]])]}


    async def ask(state: MessagesState):
        return {"messages": [AIMessage(interrupt("May I?"))]}


    inner = StateGraph(MessagesState)
    inner.add_node("draft", draft)
    inner.add_node("ask", ask)
    inner.add_edge(START, "draft")
    inner.add_edge("draft", "ask")
    inner.add_edge("ask", END)


    async def polish(state: MessagesState):
        return {"messages": [await model.ainvoke([("system", "Acme polishes"), *state["messages"]])]}


    graph = StateGraph(MessagesState)
    graph.add_node("inner", inner.compile())
    graph.add_node("polish", polish)
    graph.add_edge(START, "inner")
    graph.add_edge("inner", "polish")
    graph.add_edge("polish", END)

    AGENT = AgentSpec(name="acme", description="Asks Acme's model.", graph=graph.compile())
"""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """Run a Postgres of the test's own: it is restarted."""
    with PostgresServer(tmp_path) as server:
        yield server


@pytest.fixture
def target() -> Iterator[CountingTarget]:
    """Run the server that counts what reaches it."""
    with target_in_thread() as server:
        yield server


class Shop:
    """An API process, two workers, and the instances that these ask."""

    def __init__(self, site: Site, name: str, **env: str) -> None:
        self._site = site
        # Longer than a busy machine takes a process its turns away: who lives is not to seem dead amid an action.
        patient = {"SIGNALBOX_TAKEOVER_SECONDS": "3"}
        self._env = {"SIGNALBOX_AGENT_SECRET": SECRET, **patient, **env}
        self.instances = [self.serve_agent(name) for _ in range(2)]
        self._env |= where(self.instances, name)
        self.api: Service = site.serve("--no-worker", **self._env)
        self.workers = [self.work() for _ in range(2)]

    def serve_agent(self, name: str) -> Instance:
        """Start an instance of an agent's service."""
        process = self._site.start("agent", name, "--port", "0", **self._env)
        return Instance(process, process.says(r"is at (http://[^\s\"]+)\.")[1])

    def work(self) -> Process:
        """Start a worker."""
        process = self._site.start("worker", **self._env)
        process.says("takes runs")
        return process

    def worker_of(self, run_id: str) -> Process:
        """Return the worker that began the run's latest segment."""

        def attempts(worker: Process) -> int:
            return max(
                (x.get("attempt", 0) for x in worker.log if x.get("run_id") == run_id), default=0
            )

        return max(self.workers, key=attempts)

    def kill_worker(self, run_id: str) -> None:
        """Kill the one that has the run, and start another in its place."""
        gone = self.worker_of(run_id)
        gone.kill()
        self.workers[self.workers.index(gone)] = self.work()

    def reaches(self, run_id: str, status: str) -> Run:
        """Wait until a run has a status; the database may be away meanwhile."""

        def reached() -> Run | None:
            response = self.api.client.get(f"/v1/runs/{run_id}?wait=20")
            run: Run = response.json() if response.status_code == 200 else {}
            return run if run.get("status") == status else None

        return dict(until(reached, f"{run_id} is {status}", seconds=40))

    def decide(self, run_id: str, **decision: str) -> dict[str, Any]:
        """Answer the one question of a run, once the database answers; return the question."""

        def asked() -> list[dict[str, Any]] | None:
            found = self.api.client.get("/v1/approvals", params={"run_id": run_id})
            return list(found.json()["data"]) if found.status_code == 200 else None

        approval: dict[str, Any] = until(asked, "the database is back")[0]
        path = f"/v1/approvals/{approval['id']}/decision"
        assert self.api.client.post(path, json=decision).status_code == 200
        return approval


@pytest.fixture
def site(
    tmp_path: Path, postgres: PostgresServer, models: Models, target: CountingTarget
) -> Iterator[Site]:
    """Return a folder and a database of the test's own."""
    folder = tmp_path / "site"
    folder.mkdir()
    made = Site(
        folder,
        models,
        database_url=postgres.create(),
        SIGNALBOX_HTTP_ALLOW=target.address,
        SIGNALBOX_VALIDATION="off",
    )
    yield made
    made.close()


def test_workers_instances_and_the_database_are_killed_amid_calls_elsewhere(
    site: Site, postgres: PostgresServer, models: Models, target: CountingTarget
) -> None:
    routed(models, "coder")
    call = {"method": "POST", "url": target.url("/order"), "body": "{}"}
    first = Hanging(
        When(system=agent("coder"), after_tool=False), Reply.calls(("http_request", call))
    )
    last = Hanging(When(system=agent("coder"), after_tool=True), Reply(text="Sent."))
    models.add(*first.rules, *last.rules)
    shop = Shop(site, "coder")
    run_id = shop.api.create(TASK)
    first.wait()
    shop.kill_worker(run_id)
    shop.reaches(run_id, "requires_action")
    shop.instances[0].process.kill()
    postgres.restart("immediate")
    approval = shop.decide(run_id, type="approve")
    last.wait()
    postgres.restart("immediate")
    shop.kill_worker(run_id)
    run = shop.reaches(run_id, "completed")
    assert run["result"]["output"] == "Sent."
    assert target.keys() == {action_id(approval["id"]): 1}
    assert [each["status"] for each in run["actions"]] == ["done"]
    assert run["degraded"] == []
    events = shop.api.events(run_id)
    assert [event["seq"] for event in events] == list(range(1, run["last_seq"] + 1))
    # Each of the two calls that were cut off may have been paid: once each.
    assert run["usage"]["by_agent"]["coder"]["calls"] == models.asked(system=agent("coder")) == 4
    assert run["usage"]["by_agent"]["coder"]["unmetered_calls"] == 2
    assert not shop.instances[1].busy()


def test_a_graph_elsewhere_survives_them_too(
    site: Site, postgres: PostgresServer, models: Models
) -> None:
    write_module(site.folder / "theirs" / "anvil.py", GRAPH)
    draft = Hanging(When(system="Acme drafts"), Reply(text="A draft."))
    polish = Hanging(When(system="Acme polishes"), Reply(text="Acme is polished."))
    models.add(*draft.rules, *polish.rules)
    routed(models, "acme")
    shop = Shop(site, "acme", SIGNALBOX_AGENTS=str(site.folder / "theirs"))
    run_id = shop.api.create(TASK, agents=["acme"])
    draft.wait()
    shop.kill_worker(run_id)
    shop.reaches(run_id, "requires_action")
    shop.instances[0].process.kill()
    shop.decide(run_id, type="respond", message="You may.")
    polish.wait()
    postgres.restart("immediate")
    shop.kill_worker(run_id)
    run = shop.reaches(run_id, "completed")
    assert run["result"]["output"] == "Acme is polished."
    assert models.asked(system="Acme drafts") == 2
    assert run["usage"]["by_agent"]["acme"]["calls"] == 2
