"""How a run moves: decisions, parallel agents, later rounds, the round cap, and what a bad Route leads to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.model_script import ModelRequest, Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.team_script import composer, decisions, worker

SANDBOX = "auto"

AGAIN = "That was not a usable decision"


@pytest.fixture
async def product(modelled: Product) -> Product:
    """Return the product with the fake model server, in memory and on SQLite."""
    return modelled


def asked(models: FakeModelServer, *, schema: bool) -> list[ModelRequest]:
    """Return the decisions asked for, or the other calls."""
    return [r for r in models.requests if (r.schema is not None) is schema]


async def test_three_agents_work_at_the_same_time(
    product: Product, models: FakeModelServer
) -> None:
    """Each of the three answers only when all three have been asked."""
    models.barrier("together", 3)
    names = ("researcher", "coder", "analyst")
    models.add(
        *decisions(*((name, f"Part of {name}") for name in names)),
        *(worker(f"Part of {n}", Reply(text=f"By {n}."), gate="together") for n in names),
        composer(Reply(text="All three.")),
    )
    run = await product.finished("Do three things")
    assert run["status"] == "completed"
    assert run["rounds"] == 1
    assert set(run["result"]["agents"]) == set(names)
    assert run["result"]["output"] == "All three."
    models.assert_all_used()


async def test_two_tasks_for_one_agent_both_run(product: Product, models: FakeModelServer) -> None:
    """One agent can have several assignments in a round, and they overlap too."""
    models.barrier("together", 2)
    models.add(
        *decisions(("coder", "First"), ("coder", "Second")),
        worker("First", Reply(text="One."), gate="together"),
        worker("Second", Reply(text="Two."), gate="together"),
        composer(Reply(text="One and two.")),
    )
    run = await product.finished("Do two things")
    events = await product.events(run["id"])
    started = [(e["path"], e["data"]["task"]) for e in events if e["type"] == "agent.started"]
    assert sorted(started) == [("coder", "First"), ("coder#2", "Second")]
    assert run["result"]["agents"]["coder"]["output"] == "One.\n\nTwo."
    models.assert_all_used()


async def test_identical_assignments_are_merged(product: Product, models: FakeModelServer) -> None:
    """The same task for the same agent is done once."""
    models.add(
        *decisions(("coder", "Same"), ("coder", "Same"), ("coder", " Same ")),
        worker("Same", Reply(text="Once."), times=1),
    )
    run = await product.finished("Do it")
    assert run["result"]["output"] == "Once."
    models.assert_all_used()


async def test_unknown_agents_are_left_out(product: Product, models: FakeModelServer) -> None:
    """A Route may name agents there are not: the others work, nothing ends early."""
    models.add(
        *decisions(("wizard", "Cast"), ("coder", "Do it"), ("", "x"), ("coder", "  ")),
        worker("Do it", Reply(text="Done.")),
    )
    run = await product.finished("Do it")
    assert run["status"] == "completed"
    decision = (await product.events(run["id"]))[2]
    assert decision["type"] == "supervisor.decision"
    assert decision["data"]["assignments"] == [{"agent": "coder", "task": "Do it"}]


async def test_one_result_is_the_answer_without_another_call(
    product: Product, models: FakeModelServer
) -> None:
    """Nothing is composed where there is only one result."""
    models.add(*decisions(("coder", "Do it")), worker("Do it", Reply(text="Just this.")))
    run = await product.finished("Do it")
    assert run["result"]["output"] == "Just this."
    assert run["usage"]["by_agent"]["supervisor"]["calls"] == 2
    assert len(models.requests) == 3


async def test_a_later_round_sees_earlier_results(
    product: Product, models: FakeModelServer
) -> None:
    """The supervisor reads results whole, and so does an agent of the next round."""
    number = "The number is 4711."
    models.add(
        Rule(when=When(schema=True, user="Doubled: 9422"), reply=Reply.route()),
        Rule(
            when=When(schema=True, user="(?s)<results>.*4711"),
            reply=Reply.route(("coder", "Double the number"), reason="now it is known"),
        ),
        Rule(when=When(schema=True), reply=Reply.route(("researcher", "Find the number"))),
        worker("Find the number", Reply(text=number)),
        Rule(
            when=When(schema=False, user=f"(?s){number}.*<assignment>\nDouble the number"),
            reply=Reply(text="Doubled: 9422"),
        ),
        composer(Reply(text="It is 9422.")),
    )
    run = await product.finished("Find the number and double it")
    assert (run["status"], run["rounds"]) == ("completed", 2)
    assert run["result"]["output"] == "It is 9422."
    models.assert_all_used()


async def test_prompts_hold_the_task_first(product: Product, models: FakeModelServer) -> None:
    """Task, then results, then the assignment: what changes least stands in front."""
    models.add(*decisions(("coder", "Do it")), worker("Do it", Reply(text="Done.")))
    await product.finished("The whole task")
    first, second = (r.user for r in asked(models, schema=True))
    assert first == "<task>\nThe whole task\n</task>"
    assert second.startswith(first)
    (agent,) = asked(models, schema=False)
    assert agent.user == f"{first}\n\n<assignment>\nDo it\n</assignment>"


async def test_a_long_result_reaches_the_supervisor_as_head_and_tail(
    product: Product, models: FakeModelServer
) -> None:
    """8 000 characters are read whole; of more, the ends and how much lies between."""
    text = "BEGIN " + "x" * 20_000 + " END"
    models.add(*decisions(("coder", "Do it")), worker("Do it", Reply(text=text, chunks=(text,))))
    run = await product.finished("Do it")
    assert run["result"]["output"] == text
    prompt = asked(models, schema=True)[1].user
    assert "BEGIN" in prompt
    assert "END" in prompt
    assert "characters left out" in prompt
    assert len(prompt) < 9_000


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="parallel:researcher,coder"),
        Reply(text="Parallel: researcher, coder"),
    ],
)
async def test_the_compact_form_gives_every_agent_the_whole_task(
    product: Product, models: FakeModelServer, reply: Reply
) -> None:
    """`parallel:a,b` is a Route too."""
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=reply),
        worker("Do it all", Reply(text="Mine."), times=2),
    )
    run = await product.finished("Do it all")
    assert set(run["result"]["agents"]) == {"researcher", "coder"}
    assert run["degraded"] == []
    models.assert_all_used()


async def test_a_route_may_come_as_a_tool_call(product: Product, models: FakeModelServer) -> None:
    """Some servers answer a schema with a call."""
    route = {"reason": "r", "assignments": [{"agent": "coder", "task": "Do it"}]}
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.calls(("Route", route))),
        worker("Do it", Reply(text="Done.")),
    )
    run = await product.finished("Do it")
    assert (run["status"], run["degraded"]) == ("completed", [])


async def test_a_fenced_route_is_read(product: Product, models: FakeModelServer) -> None:
    """A model that wraps its JSON in a code block is understood."""
    text = '```json\n{"reason": "r", "assignments": [{"agent": "coder", "task": "Do it"}]}\n```'
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply(text=text)),
        worker("Do it", Reply(text="Done.")),
    )
    assert (await product.finished("Do it"))["degraded"] == []


GARBAGE = {
    "no json": Reply(text="I would ask the coder."),
    "another shape": Reply.garbage_route(),
    "only unknown agents": Reply.route(("wizard", "Cast")),
    "nobody though nobody has worked": Reply.route(),
}


@pytest.mark.parametrize("reply", GARBAGE.values(), ids=GARBAGE)
async def test_an_unusable_route_is_asked_for_once_more(
    product: Product, models: FakeModelServer, reply: Reply
) -> None:
    """The second question says what was wrong and how the answer must look."""
    models.add(
        Rule(when=When(schema=True, user=AGAIN), reply=Reply.route(("coder", "Do it")), times=1),
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=reply, times=1),
        worker("Do it", Reply(text="Done.")),
    )
    run = await product.finished("Do it")
    assert (run["status"], run["degraded"]) == ("completed", [])
    models.assert_all_used()


@pytest.mark.parametrize("reply", GARBAGE.values(), ids=GARBAGE)
async def test_after_two_unusable_routes_a_rule_decides(
    product: Product, models: FakeModelServer, reply: Reply
) -> None:
    """The agent that the task suggests gets it, and the run says that a rule decided."""
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route(), optional=True),
        Rule(when=When(schema=True), reply=reply, times=2),
        worker("Compute the mean of 1, 2, 3", Reply(text="2.")),
    )
    run = await product.finished("Compute the mean of 1, 2, 3")
    assert run["status"] == "completed"
    assert set(run["result"]["agents"]) == {"analyst"}
    assert [part["agent"] for part in run["degraded"]] == ["supervisor"]
    assert "supervisor" in run["result"]["output"]


async def test_a_later_unusable_route_ends_with_the_results(
    product: Product, models: FakeModelServer
) -> None:
    """What is there is the answer when the supervisor stops making sense."""
    models.add(
        Rule(when=When(schema=True, user=f"<results>|{AGAIN}"), reply=Reply(text="hm")),
        Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
        worker("Do it", Reply(text="Done.")),
    )
    run = await product.finished("Do it")
    assert (run["status"], run["stop_reason"]) == ("completed", "done")
    assert run["result"]["output"].startswith("Done.")
    assert [part["agent"] for part in run["degraded"]] == ["supervisor"]


async def test_the_round_cap_ends_a_run_that_would_go_on(
    product: Product, models: FakeModelServer
) -> None:
    """What there is by then is the result, and the status says that it is not all."""
    count = iter(range(100))

    def again(_: ModelRequest) -> Reply:
        return Reply.route(("coder", f"Step {next(count)}"))

    models.add(
        Rule(when=When(schema=True), reply=again),
        Rule(when=When(system="^Write the final answer"), reply=Reply(text="So far.")),
        Rule(when=When(schema=False), reply=Reply(text="A step.")),
    )
    response = await product.run("Go on for ever", budget={"max_rounds": 3})
    assert response.status_code == 200
    run = response.json()
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("incomplete", "max_rounds", 3)
    assert run["result"]["output"] == "So far."
    events = await product.events(run["id"])
    assert sum(e["type"] == "agent.started" for e in events) == 3
    assert events[-1]["type"] == "run.incomplete"


async def test_ten_rounds_fit(product: Product, models: FakeModelServer) -> None:
    """The default cap is reached without running into the graph's own limit."""
    count = iter(range(100))

    def again(_: ModelRequest) -> Reply:
        number = next(count)
        return Reply.route(("coder", f"Step {number}")) if number < 10 else Reply.route()

    models.add(
        Rule(when=When(schema=True), reply=again),
        Rule(when=When(schema=False), reply=Reply(text="A step.")),
    )
    run = await product.finished("Ten steps")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("completed", "done", 10)


async def test_a_cap_without_any_result_is_a_failure(
    product: Product, models: FakeModelServer
) -> None:
    """`incomplete` promises a usable result; without one the run has failed."""
    models.add(
        Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
        Rule(when=When(schema=False), reply=Reply.error(400)),
    )
    response = await product.run("Do it", budget={"max_rounds": 1})
    assert response.status_code == 502
    run = response.json()["run"]
    assert (run["status"], run["stop_reason"]) == ("failed", "max_rounds")
    assert run["error"]["code"] == "agents-failed"


async def test_an_agent_may_call_tools_and_go_on(product: Product, models: FakeModelServer) -> None:
    """Tool calls run, their results reach the model, and both are in the event log."""
    models.add(
        *decisions(("coder", "Run it")),
        Rule(when=When(after_tool=True), reply=Reply(text="It printed 42.")),
        worker("Run it", Reply.calls(("run_python", {"code": "print(6 * 7)"}))),
    )
    run = await product.finished("Run it")
    assert run["result"]["output"] == "It printed 42."
    (after,) = [r for r in models.requests if r.after_tool]
    assert after.body["messages"][-1]["content"].strip() == "42"
    events = [e for e in await product.events(run["id"]) if e["type"].startswith("tool.")]
    assert [e["type"] for e in events] == ["tool.started", "tool.completed"]
    assert events[0]["data"]["args"] == {"code": "print(6 * 7)"}
    assert events[1]["data"]["summary"].strip() == "42"
    assert events[0]["data"]["call_id"] == events[1]["data"]["call_id"]


TOOL_FAULTS: dict[str, tuple[tuple[str, dict[str, Any]], str]] = {
    "unknown tool": (("summon", {}), "not a valid tool"),
    "wrong arguments": (("run_python", {"kode": 1}), "code"),
    "refusal": (("read_file", {"path": "../secret"}), "workspace"),
}


@pytest.mark.parametrize(("call", "said"), TOOL_FAULTS.values(), ids=TOOL_FAULTS)
async def test_a_tool_that_fails_does_not_end_the_agent(
    product: Product, models: FakeModelServer, call: tuple[str, dict[str, Any]], said: str
) -> None:
    """The model reads a sentence it can act on."""
    models.add(
        *decisions(("coder", "Try it")),
        Rule(when=When(after_tool=True), reply=Reply(text="Then otherwise.")),
        worker("Try it", Reply.calls(call)),
    )
    run = await product.finished("Try it")
    assert run["result"]["output"] == "Then otherwise."
    (after,) = [r for r in models.requests if r.after_tool]
    assert said in after.body["messages"][-1]["content"]


async def test_an_agent_that_never_answers_is_stopped(
    product: Product, models: FakeModelServer
) -> None:
    """A model that only calls tools uses up its turns; the agent fails, the run says so."""
    models.add(
        *decisions(("coder", "Loop")),
        Rule(when=When(schema=False), reply=Reply.calls(("list_files", {}))),
    )
    response = await product.run("Loop")
    assert response.status_code == 502
    assert response.json()["code"] == "agents-failed"
    assert "8 model calls" in response.json()["detail"]


async def test_sources_of_two_agents_do_not_share_a_number(
    product: Product, models: FakeModelServer
) -> None:
    """Each search counts from 1; in the answer every number is one source."""
    search = Reply.calls(("search_documents", {"query": "Fastnet lighthouse tower granite"}))
    models.add(
        *decisions(("researcher", "Find A"), ("researcher", "Find B")),
        Rule(when=When(after_tool=True), reply=Reply(text="Granite [1]."), times=2),
        worker("Find A", search),
        worker("Find B", search),
        composer(Reply(text="Granite [1], granite [2].")),
    )
    run = await product.finished("Find both")
    assert [c["number"] for c in run["result"]["citations"]] == [1, 2]
    (answer,) = [r for r in models.requests if r.system.startswith("Write the final answer")]
    assert "Granite [1]." in answer.user
    assert "Granite [2]." in answer.user
