"""Agents that contradict each other: a third look, then a person, or both results by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.model_script import Rule
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.checking import UPLOAD, composes, judge, routes, works
from tests.integration.conftest import Start
from tests.integration.people import asked, decide, decided, start_run

VALIDATION = "on"

TASK = "What is the total of the ledger, by two ways?"
BOTH = [("analyst", "Add it up"), ("coder", "Sum it up")]
THIRD = [("researcher", "Look it up")]


def disagreeing(third: str | None = None) -> list[Rule]:
    """Return the script of two agents that read different figures in one file, and of a third look.

    Both figures stand in the ledger, so that no check by itself tells which one is right.
    """
    return [
        routes(BOTH, [], *([THIRD] if third else [])),
        works("Add it up", "The ledger total is 48170 EUR."),
        works("Sum it up", "The ledger total is 212 EUR."),
        works("Look it up", third or "", reads=False),
        works("analyst and coder contradict each other", third or "", reads=False),
        composes("Either 48170 or 212 EUR."),
    ]


async def begin(product: Product, **body: Any) -> str:
    """Start the run in which they disagree."""
    return await start_run(product, TASK, files=[UPLOAD], **body)


async def test_a_third_look_that_agrees_with_one_settles_it(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(*disagreeing("The ledger total is 48170 EUR."), judge({}))
    run = await modelled.ended(await begin(modelled))
    assert (run["status"], run["rounds"]) == ("completed", 2)
    assert run["result"]["validation"]["verdict"] == "accept"
    assert run["result"]["validation"]["disagreements"] == []
    # The one that lost is no part of the answer any more.
    assert set(run["result"]["agents"]) == {"analyst", "researcher"}
    told = next(r for r in models.requests if "<check" in r.user)
    assert "analyst and coder contradict each other about The ledger total" in told.user
    assert "analyst says: The ledger total is 48170" in told.user.partition("<check")[2]


async def test_one_that_contradicts_two_about_different_things_is_not_outvoted(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(
        routes([*BOTH, ("researcher", "Look it up")], []),
        works("Add it up", "# North\n\nTotal cost: 212 EUR\n\n# South\n\nTotal cost: 212 EUR"),
        works("Sum it up", "# North\n\nTotal cost: 48170 EUR"),
        works("Look it up", "# South\n\nTotal cost: 48170 EUR"),
        works("", "I cannot tell.", reads=False),
        judge({}),
        composes("Either 48170 or 212 EUR."),
    )
    run = await modelled.finished(TASK, files=[UPLOAD], approvals={"mode": "never"})
    # Nobody has seconded either of the two that contradict it.
    assert "analyst" in run["result"]["agents"]
    told = run["result"]["validation"]["disagreements"]
    assert sorted(each["about"] for each in told) == ["Total cost", "Total cost (eur, south)"]


async def test_one_that_stays_ends_in_a_question_with_both_results(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(*disagreeing("I cannot tell."), judge({}))
    run_id = await begin(modelled)
    approval = await asked(modelled, run_id)
    assert (approval["type"], approval["agent"], approval["tool"]) == ("input", "validator", None)
    assert approval["allowed_decisions"] == ["respond"]
    assert "--- analyst ---\nThe ledger total is 48170 EUR." in approval["description"]
    assert "--- coder ---\nThe ledger total is 212 EUR." in approval["description"]
    refused = await decide(modelled, approval, type="approve")
    assert refused.status_code == 422
    await decided(modelled, approval, type="respond", message="48170, I have the paper here.")
    run = await modelled.ended(run_id)
    assert run["status"] == "completed"
    assert run["result"]["validation"]["verdict"] == "accept"
    assert run["degraded"] == []
    composed = next(r for r in models.requests if r.system.startswith("Write the final"))
    assert "48170, I have the paper here." in composed.user.partition("<settled>")[2]
    kinds = [event["type"] for event in await modelled.events(run_id)]
    assert kinds.index("approval.requested") < kinds.index("run.requires_action")
    assert kinds.count("validation.completed") == 2


async def test_where_nobody_is_to_be_asked_both_come_back_and_it_is_named(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(*disagreeing("I cannot tell."), judge({}))
    run = await modelled.ended(await begin(modelled, approvals={"mode": "never"}))
    assert run["status"] == "completed"
    assert set(run["result"]["agents"]) == {"analyst", "coder", "researcher"}
    [open_] = run["result"]["validation"]["disagreements"]
    assert open_["agents"] == ["analyst", "coder"]
    assert "48170" in open_["statements"][0]
    assert "212" in open_["statements"][1]
    [part] = run["degraded"]
    assert part["reason"].startswith(
        "analyst and coder contradict each other about The ledger total."
    )
    assert part["reason"] in run["result"]["output"]


async def test_whoever_does_not_answer_gets_both(start: Start, models: FakeModelServer) -> None:
    models.add(*disagreeing("I cannot tell."), judge({}))
    # What other questions do when nobody answers must not throw away what was found here.
    given = {"approval_seconds": 0.1, "approval_on_expiry": "fail"}
    async with start(models=models, **given) as product:
        run_id = await begin(product)
        await product.stream(run_id)
        run = await product.ended(run_id)
        assert run["status"] == "completed"
        assert len(run["result"]["validation"]["disagreements"]) == 1
        kinds = [event["type"] for event in await product.events(run["id"])]
        assert "approval.expired" in kinds


async def test_a_contradiction_that_only_a_model_sees_takes_the_same_way(
    modelled: Product, models: FakeModelServer
) -> None:
    found = {
        "agents": ["analyst", "coder"],
        "about": "whether it is paid",
        "statements": ["It is paid.", "It is open."],
    }
    models.add(
        routes(BOTH),
        works("Add it up", "It is paid."),
        works("Sum it up", "It is open."),
        works("analyst and coder contradict each other about whether", "No idea.", reads=False),
        judge({"verdict": "revise", "disagreements": [found]}),
        composes("Paid or open."),
    )
    run_id = await begin(modelled)
    approval = await asked(modelled, run_id)
    assert "about whether it is paid" in approval["description"]
    looked = [r for r in models.requests if "Find out independently what is right" in r.user]
    assert looked
    await decided(modelled, approval, type="respond", message="Paid.")
    assert (await modelled.ended(run_id))["status"] == "completed"


async def test_the_question_waits_through_a_restart(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    models.add(*disagreeing("I cannot tell."), judge({}))
    async with start(models=models, database_url=f"sqlite:///{tmp_path}/runs.db") as product:
        run_id = await begin(product)
        approval = await asked(product, run_id)
    async with start(models=models, database_url=f"sqlite:///{tmp_path}/runs.db") as product:
        await decided(product, approval, type="respond", message="48170 it is.")
        run = await product.ended(run_id)
        assert (run["status"], run["attempt"]) == ("completed", 2)
        events = await product.events(run_id)
        assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
        assert [e["type"] for e in events].count("validation.completed") == 2


async def test_an_agent_that_knows_better_later_does_not_contradict_itself(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(
        routes(BOTH[:1], [("analyst", "Look again")]),
        works("Add it up", "The ledger total is 212 EUR."),
        works("Look again", "The ledger total is 48170 EUR."),
        judge({}),
        composes("The ledger total is 48170 EUR."),
    )
    run = await modelled.ended(await begin(modelled))
    assert (run["status"], run["rounds"]) == ("completed", 2)
    assert run["result"]["validation"]["checks"] == 1
    assert run["result"]["validation"]["disagreements"] == []


async def test_a_run_without_a_round_for_a_third_look_asks_at_once(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(*disagreeing(), judge({}))
    approval = await asked(modelled, await begin(modelled, budget={"max_rounds": 1}))
    assert "contradict each other about The ledger total. Which one" in approval["description"]
