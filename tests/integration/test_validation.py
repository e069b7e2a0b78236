"""Answers are checked before they are given: by rule, then by a model; what does not hold is sent back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Event, Product
from tests.integration.checking import (
    LEDGER,
    UPLOAD,
    composes,
    judge,
    routes,
    verdict,
    works,
)
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem

VALIDATION = "on"

ACME = """
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from domain.agent import AgentSpec


async def count(state: MessagesState):
    return {"messages": [AIMessage("There are 4711.")]}


graph = StateGraph(MessagesState)
graph.add_node("count", count)
graph.add_edge(START, "count")
graph.add_edge("count", END)

AGENT = AgentSpec(name="acme", description="Counts.", graph=graph.compile())
"""

TASK = "What is the total of the ledger?"
ASK = [("analyst", "Read the total")]


async def checked(product: Product, **body: Any) -> dict[str, Any]:
    """Return a run about the ledger when it has ended."""
    return await product.finished(body.pop("task", TASK), files=[UPLOAD], **body)


async def checks(product: Product, run: dict[str, Any]) -> list[Event]:
    """Return the data of the checks that were told of."""
    events = await product.events(run["id"])
    return [event["data"] for event in events if event["type"] == "validation.completed"]


async def test_a_wrong_number_is_sent_back_and_the_second_round_is_right(
    modelled: Product, models: FakeModelServer
) -> None:
    second = [("analyst", "Read the total anew")]
    models.add(
        routes(ASK, [], second),
        works("Read the total", "The total is 48710 EUR.", "The total is 48170 EUR."),
        judge({"reasons": ["It is what was asked."]}),
    )
    run = await checked(modelled)
    assert (run["status"], run["rounds"]) == ("completed", 2)
    assert run["result"]["output"] == "The total is 48170 EUR."
    assert run["result"]["agents"]["analyst"]["output"] == "The total is 48170 EUR."
    assert run["result"]["validation"] == {
        "verdict": "accept",
        "reasons": ["It is what was asked."],
        "by": "model",
        "checks": 2,
        "disagreements": [],
    }
    first, last = await checks(modelled, run)
    assert (first["verdict"], first["by"]) == ("revise", "rules")
    assert "48710" in str(first["reasons"])
    assert (last["verdict"], last["by"]) == ("accept", "model")
    told = next(r for r in models.requests if '<check verdict="revise">' in r.user)
    assert "48710" in told.user.partition("<check")[2]
    assert run["usage"]["by_agent"]["validator"]["calls"] == 1


async def test_a_supervisor_that_does_nothing_about_it_is_overruled(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(
        routes(ASK),
        works("Read the total", "It is 48710 EUR.", "It is 48170 EUR."),
        judge({}),
    )
    run = await checked(modelled)
    assert run["status"] == "completed"
    assert run["result"]["output"] == "It is 48170 EUR."
    events = await modelled.events(run["id"])
    decided = [e["data"] for e in events if e["type"] == "supervisor.decision"]
    assert [len(each["assignments"]) for each in decided] == [1, 0, 1, 0]
    [again] = decided[2]["assignments"]
    assert again["agent"] == "analyst"
    assert again["task"].startswith("Read the total\n\nYour earlier result was checked")


async def test_what_stays_wrong_is_no_success(modelled: Product, models: FakeModelServer) -> None:
    models.add(routes(ASK), works("Read the total", "It is 48710 EUR."))
    run = await checked(modelled)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "no_progress")
    assert run["result"]["validation"]["verdict"] == "reject"
    assert [each["verdict"] for each in await checks(modelled, run)] == [
        *("revise", "revise", "reject")
    ]
    [flaw] = run["degraded"]
    assert flaw["agent"] == "analyst"
    assert "48710" in flaw["reason"]
    assert "What does not hold in this answer:\n- analyst: '48710'" in run["result"]["output"]


async def test_no_round_is_begun_that_the_run_does_not_have(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(routes(ASK), works("Read the total", "It is 48710 EUR."))
    run = await checked(modelled, budget={"max_rounds": 1})
    assert (run["status"], run["rounds"]) == ("incomplete", 1)
    assert [each["verdict"] for each in await checks(modelled, run)] == ["reject"]


async def test_a_model_has_the_results_mended(modelled: Product, models: FakeModelServer) -> None:
    fix = {"agent": "analyst", "fix": "Name the number of invoices too."}
    models.add(
        routes(ASK),
        works("Read the total", "It is 48170 EUR.", "It is 48170 EUR of 212 invoices."),
        judge({"verdict": "revise", "reasons": ["The count is missing."], "fixes": [fix]}, {}),
    )
    run = await checked(modelled, task="Total and number of invoices?")
    assert run["result"]["output"] == "It is 48170 EUR of 212 invoices."
    assert run["result"]["validation"]["verdict"] == "accept"
    again = [r for r in models.requests if "Name the number of invoices too." in r.user]
    assert any("<assignment>" in request.user for request in again)


async def test_what_a_model_rejects_is_given_as_what_it_is(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(
        routes(ASK),
        works("Read the total", "It is 48170 EUR."),
        judge({"verdict": "reject", "reasons": ["That is another ledger."]}),
    )
    run = await checked(modelled)
    assert (run["status"], run["rounds"]) == ("incomplete", 1)
    assert run["degraded"] == [{"agent": "validator", "reason": "That is another ledger."}]
    assert "- validator: That is another ledger." in run["result"]["output"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"criteria": [{"criterion": "Names the year", "met": False, "why": "None is there."}]},
         "Names the year: None is there."),
        ({"reasons": ["", " "]}, "it gave no reason"),
        ({"fixes": [{"agent": "nobody", "fix": "Mend it."}]}, "it gave no reason"),
    ],
    ids=["criteria", "blank", "unknown agent"],
)  # fmt: skip
async def test_no_answer_is_rejected_without_a_word(
    modelled: Product, models: FakeModelServer, said: dict[str, Any], told: str
) -> None:
    models.add(
        routes(ASK),
        works("Read the total", "It is 48170 EUR."),
        judge({"verdict": "reject", **said}),
    )
    run = await checked(modelled)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "no_progress")
    [flaw] = run["degraded"]
    assert flaw["agent"] == "validator"
    assert told in flaw["reason"]
    assert told in run["result"]["output"]


async def test_half_a_surrogate_pair_in_a_judgement_breaks_nothing(
    modelled: Product, models: FakeModelServer
) -> None:
    said = json.dumps(verdict("reject", reasons=["Wrong \ud800 ledger."]))
    models.add(routes(ASK), works("Read the total", "It is 48170 EUR."), judge(Reply(text=said)))
    run = await checked(modelled)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "no_progress")
    assert run["degraded"] == [{"agent": "validator", "reason": "Wrong ? ledger."}]


async def test_what_a_model_calls_a_contradiction_is_bounded_and_of_two_agents(
    modelled: Product, models: FakeModelServer
) -> None:
    both = [("analyst", "Read the total"), ("coder", "Count the invoices")]
    long = "x" * 9_000
    alone = {"agents": ["analyst", "analyst"], "about": "itself", "statements": ["a", "b"]}
    two = {"agents": ["analyst", "coder"], "about": long, "statements": [long, long]}
    models.add(
        routes(both),
        works("Read the total", "It is 48170 EUR."),
        works("Count the invoices", "There are 212 invoices."),
        works("analyst and coder contradict", "I cannot tell.", reads=False),
        judge(verdict(disagreements=[alone, two])),
        composes("48170 EUR, 212 invoices."),
    )
    run = await checked(modelled, approvals={"mode": "never"})
    [named] = run["result"]["validation"]["disagreements"]
    assert named["agents"] == ["analyst", "coder"]
    assert len(named["about"]) == 200
    assert {len(said) for said in named["statements"]} == {300}


@pytest.mark.parametrize(
    "bad",
    [Reply(text="Looks good to me."), Reply.error(401, message="no key")],
    ids=["prose", "401"],
)
async def test_without_a_usable_judgement_the_rules_alone_decide_and_it_is_named(
    modelled: Product, models: FakeModelServer, bad: Reply
) -> None:
    models.add(routes(ASK), works("Read the total", "It is 48170 EUR."), judge(bad))
    run = await checked(modelled)
    assert (run["status"], run["result"]["validation"]["by"]) == ("completed", "rules")
    [part] = run["degraded"]
    assert part["agent"] == "validator"
    assert part["reason"].startswith("the results were checked by rule alone: ")


async def test_a_composed_answer_says_nothing_that_no_result_says(
    modelled: Product, models: FakeModelServer
) -> None:
    both = [("analyst", "Read the total"), ("coder", "Count the invoices")]
    models.add(
        routes(both),
        works("Read the total", "It is 48170 EUR."),
        works("Count the invoices", "There are 212 invoices."),
        judge({}),
        composes("48170 EUR, 227 each.", "48170 EUR in 212 invoices."),
    )
    run = await checked(modelled)
    assert run["result"]["output"] == "48170 EUR in 212 invoices."
    told = [e["data"] for e in await modelled.events(run["id"]) if e["type"] == "agent.retrying"]
    assert [each["reason"] for each in told] == ["The answer said what no result says: '227'"]
    frames = await modelled.stream(run["id"], query="?tokens=true")
    assert [f["data"]["text"] for f in frames if f["type"] == "message.completed"][-1] == (
        "48170 EUR in 212 invoices."
    )


async def test_a_composed_answer_may_say_why_an_agent_failed(
    modelled: Product, models: FakeModelServer
) -> None:
    three = [
        ("analyst", "Read the total"),
        ("coder", "Count the invoices"),
        ("researcher", "Look up"),
    ]
    down = Rule(
        when=When(schema=False, user="<assignment>\nLook up"),
        reply=Reply.error(401, message="no key"),
    )
    said = (
        f"48170 EUR, 212 invoices in a file of {len(LEDGER)} bytes; the search ended with HTTP 401."
    )
    models.add(
        routes(three),
        works("Read the total", "It is 48170 EUR."),
        works("Count the invoices", "There are 212 invoices."),
        down,
        judge({}),
        composes(said),
    )
    run = await checked(modelled)
    assert run["result"]["output"].startswith(said), run["result"]["output"]


async def test_a_composer_that_insists_is_left_out(
    modelled: Product, models: FakeModelServer
) -> None:
    both = [("analyst", "Read the total"), ("coder", "Count the invoices")]
    models.add(
        routes(both),
        works("Read the total", "It is 48170 EUR."),
        works("Count the invoices", "There are 212 invoices."),
        judge({}),
        composes("48170 EUR, 227 each."),
    )
    run = await checked(modelled)
    assert "**analyst**\n\nIt is 48170 EUR." in run["result"]["output"]
    assert "**coder**\n\nThere are 212 invoices." in run["result"]["output"]
    [part] = run["degraded"]
    assert part["reason"].startswith("the answer was not composed: It said what no result says")


@pytest.mark.parametrize(
    ("setting", "wish", "task", "agents", "expected"),
    [
        ("on", None, TASK, 1, 1),
        ("off", None, TASK, 2, 0),
        ("auto", None, TASK, 1, 0),
        ("auto", None, TASK, 2, 1),
        ("auto", None, f"{TASK} Please double-check it.", 1, 1),
        ("auto", "on", TASK, 1, 1),
        ("on", "off", TASK, 2, 0),
        ("off", "auto", TASK, 2, 1),
    ],
)
async def test_which_answers_are_checked(
    start: Start,
    models: FakeModelServer,
    setting: str,
    wish: str | None,
    task: str,
    agents: int,
    expected: int,
) -> None:
    both = [("analyst", "Read the total"), ("coder", "Read the rest")]
    models.add(
        routes(both[:agents]),
        works("Read the ", "It is 48170 EUR."),
        judge({}),
        composes("It is 48170 EUR."),
    )
    async with start(models=models, validation=setting) as product:
        body = {"validation": wish} if wish else {}
        run = await checked(product, task=task, **body)
        assert run["status"] == "completed"
        assert len(await checks(product, run)) == expected
        assert (run["result"]["validation"] is not None) == bool(expected)


async def test_another_word_for_it_is_refused(modelled: Product) -> None:
    answer = await modelled.client.post("/v1/runs", json={"task": TASK, "validation": "maybe"})
    problem = assert_problem(answer, "validation-error")
    assert problem["errors"][0]["pointer"] == "/validation"


async def test_the_planner_checks_by_rule_and_passes_for_no_model(start: Start) -> None:
    async with start(validation="on") as product:
        run = await product.finished("Compute the mean of 120, 135, 150, 149 and 171.")
        assert run["status"] == "completed", run
        assert run["result"]["validation"]["by"] == "rules"
        assert run["result"]["validation"]["verdict"] == "accept"
        assert "validator" not in run["usage"]["by_agent"]


async def test_what_an_agent_read_stays_to_be_looked_at(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(routes(ASK), works("Read the total", "It is 48170 EUR."), judge(verdict()))
    run = await checked(modelled)
    folder = modelled.services.settings.data_dir / "sources" / "default" / run["id"]
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert LEDGER in texts.values()
    [sha256] = [name for name, text in texts.items() if text == LEDGER]
    answer = await modelled.client.get(f"/v1/runs/{run['id']}/sources/{sha256}")
    assert (answer.status_code, answer.text) == (200, LEDGER)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")
    for wrong in ("0" * 64, "..%2f..%2fetc%2fpasswd", sha256.upper()):
        gone = await modelled.client.get(f"/v1/runs/{run['id']}/sources/{wrong}")
        assert_problem(gone, "not-found")


async def test_a_graph_from_outside_that_shows_no_tools_is_not_accused(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "acme.py").write_text(ACME)
    models.add(routes([("acme", "Count")]), judge({"reasons": ["It is what was asked."]}))
    async with start(models=models, validation="on", agents=str(folder)) as product:
        run = await product.finished("How many are there?")
    assert (run["status"], run["result"]["output"]) == ("completed", "There are 4711.")
    asked, note = run["result"]["validation"]["reasons"]
    assert asked == "It is what was asked."
    assert note.startswith("acme: it is a graph from outside that shows no tool calls")
    assert run["degraded"] == []


async def test_of_two_wrong_results_of_one_agent_each_is_replaced_by_its_own(
    modelled: Product, models: FakeModelServer
) -> None:
    both = [("coder", "Read the total"), ("coder", "Count the invoices")]
    models.add(
        routes(both, [], both[:1]),
        works("Read the total", "It is 48710 EUR.", "It is 48170 EUR."),
        works("Count the invoices", "There are 221 invoices.", "There are 212 invoices."),
        judge({}),
        composes("48170 EUR in 212 invoices."),
    )
    run = await checked(modelled)
    # The supervisor has had one of them mended; the other was not forgotten for that.
    assert [each["verdict"] for each in await checks(modelled, run)] == [
        *("revise", "revise", "accept")
    ]
    assert run["result"]["agents"]["coder"]["output"] == (
        "It is 48170 EUR.\n\nThere are 212 invoices."
    )


async def test_what_could_not_be_kept_is_not_held_against_anybody_and_is_named(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sources").write_text("no folder can be made here")
    models.add(routes(ASK), works("Read the total", "It is 48170 EUR."), judge({}))
    async with start(models=models, validation="on") as product:
        run = await checked(product)
    assert (run["status"], run["result"]["validation"]["verdict"]) == ("completed", "accept")
    assert run["degraded"] == [
        {
            "agent": "analyst",
            "reason": "what its tools answered is no longer there, so its figures, quotes and sources "
            "were not checked",
        }
    ]
