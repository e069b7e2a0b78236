"""What stops a supervisor that brings a run no further, how it is told, and how a tier is raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_script import ModelRequest, Reply, Rule, When, make_route
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.checking import judge
from tests.integration.conftest import Start
from tests.integration.team_script import composer, worker

STALLED = "That decision brings nothing new"

Plan = Sequence[tuple[str, str]]


@pytest.fixture
async def product(modelled: Product) -> Product:
    """Return the product with the fake model server, in memory and on SQLite."""
    return modelled


def supervisor(*plans: Plan, last: bool = False) -> Rule:
    """Return the rule of a supervisor that answers with these plans, one a question, the last for ever.

    `last`: it says of each plan that it is the last one.
    """
    left = list(plans)

    def reply(request: ModelRequest) -> Reply:
        del request
        route = make_route(left.pop(0) if left[1:] else left[0], "As planned.")
        return Reply.json({**route, "last": True} if last else route)

    return Rule(when=When(system="^You supervise"), reply=reply)


def decided(models: FakeModelServer) -> list[ModelRequest]:
    """Return the decisions that were asked for."""
    return [r for r in models.requests if r.system.startswith("You supervise")]


async def decisions_of(product: Product, run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the data of the run's decisions."""
    events = await product.events(run["id"])
    return [e["data"] for e in events if e["type"] == "supervisor.decision"]


async def test_a_repeated_decision_is_planned_anew_once(
    product: Product, models: FakeModelServer
) -> None:
    """The supervisor reads what it repeated and what that came to; then it may go on as if nothing were."""
    again: Plan = [("coder", " do  IT ")]
    models.add(
        supervisor([("coder", "Do it")], again, [("analyst", "Weigh it")], []),
        worker("Do it", Reply(text="It is 4711."), times=1),
        worker("Weigh it", Reply(text="Heavy."), times=1),
        composer(Reply(text="4711, heavy.")),
    )
    run = await product.finished("Do it and weigh it")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("completed", "done", 2)
    assert run["degraded"] == []
    [told] = [r.user for r in decided(models) if r.user.startswith(STALLED)]
    assert "coder has had 'Do it' in round 1, and it has a result: It is 4711." in told
    _, second, _ = await decisions_of(product, run)
    assert "Planned anew: coder was to do 'Do it' again" in second["reason"]
    models.assert_all_used()


async def test_a_decision_that_is_the_last_needs_none_after_it(
    product: Product, models: FakeModelServer
) -> None:
    """Nobody asks whether it is done when all of it is; the events show an end as ever."""
    models.add(
        supervisor([("coder", "Do it"), ("analyst", "Weigh it")], last=True),
        worker("Do it", Reply(text="It is 4711."), times=1),
        worker("Weigh it", Reply(text="Heavy."), times=1),
        composer(Reply(text="4711, heavy.")),
    )
    run = await product.finished("Do it and weigh it")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("completed", "done", 1)
    assert len(decided(models)) == 1
    _, end = await decisions_of(product, run)
    assert end["assignments"] == []
    assert "were to be the last" in end["reason"]
    models.assert_all_used()


async def test_what_was_to_be_the_last_is_decided_about_when_part_of_it_fails(
    product: Product, models: FakeModelServer
) -> None:
    models.add(
        supervisor(
            [("coder", "Do it"), ("analyst", "Weigh it")], [("coder", "Weigh it")], last=True
        ),
        worker("Do it", Reply(text="It is 4711."), times=1),
        worker("Weigh it", Reply.error(401), times=1),
        worker("Weigh it", Reply(text="Heavy."), times=1),
        composer(Reply(text="4711, heavy.")),
    )
    run = await product.finished("Do it and weigh it")
    assert (run["status"], run["rounds"], len(decided(models))) == ("completed", 2, 2)
    assert "failed (model-error)" in decided(models)[1].user
    models.assert_all_used()


async def test_what_was_to_be_the_last_is_decided_about_when_part_of_it_was_left_out(
    product: Product, models: FakeModelServer
) -> None:
    """Work for an agent that is not there is not done: the supervisor has to know."""
    models.add(
        supervisor([("coder", "Do it"), ("wizard", "Cast it")], [], last=True),
        worker("Do it", Reply(text="It is 4711."), times=1),
    )
    run = await product.finished("Do it")
    assert (run["status"], run["rounds"], len(decided(models))) == ("completed", 1, 2)


async def test_a_check_that_sends_back_the_last_work_is_decided_about(
    product: Product, models: FakeModelServer
) -> None:
    fixes = [{"agent": "coder", "fix": "Say which number."}]
    models.add(
        supervisor([("coder", "Do it")], [("coder", "Do it again")], last=True),
        judge({"verdict": "revise", "fixes": fixes}, {}),
        worker("Do it", Reply(text="It is a number."), times=1),
        worker("Do it again", Reply(text="It is the number you asked for."), times=1),
    )
    run = await product.finished("Do it", validation="on")
    assert (run["status"], run["rounds"], len(decided(models))) == ("completed", 2, 2)
    assert run["result"]["output"].startswith("It is the number you asked for.")


async def test_a_supervisor_that_repeats_itself_again_is_stopped(
    product: Product, models: FakeModelServer
) -> None:
    """What there is becomes the answer, and everybody is told what was repeated."""
    models.add(supervisor([("coder", "Do it")]), worker("Do it", Reply(text="Done."), times=1))
    run = await product.finished("Do it")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("incomplete", "no_progress", 1)
    assert run["result"]["output"].startswith("Done.")
    [part] = run["degraded"]
    assert part["agent"] == "supervisor"
    assert part["reason"] == (
        "it was stopped for want of progress: coder was to do 'Do it' again, which has a result (round 1)"
    )
    assert part["reason"] in run["result"]["output"]
    last = (await decisions_of(product, run))[-1]
    assert last["assignments"] == []
    assert "coder was to do 'Do it' again" in last["reason"]
    assert len(decided(models)) == 3
    models.assert_all_used()


async def test_the_one_new_plan_is_not_had_twice(product: Product, models: FakeModelServer) -> None:
    """A later repetition ends the run at once."""
    first, other = [("coder", "Do it")], [("analyst", "Weigh it")]
    models.add(
        supervisor(first, first, other, other),
        worker("Do it", Reply(text="Done.")),
        worker("Weigh it", Reply(text="Heavy.")),
        composer(Reply(text="Done, heavy.")),
    )
    run = await product.finished("Do it")
    assert (run["stop_reason"], run["rounds"]) == ("no_progress", 2)
    assert len(decided(models)) == 4


async def test_what_failed_is_tried_once_more(product: Product, models: FakeModelServer) -> None:
    """Twice failed it would only fail again; with nothing else there, the run has failed and says why."""
    models.add(supervisor([("coder", "Do it")]), worker("Do it", Reply.error(401), times=2))
    run = await product.finished("Do it")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("failed", "no_progress", 2)
    assert run["error"]["code"] == "agents-failed"
    assert "coder was to do 'Do it' again, which failed (round 2)" in run["error"]["detail"]
    models.assert_all_used()


async def test_two_in_turn_are_stopped_when_neither_says_anything_new(
    product: Product, models: FakeModelServer
) -> None:
    """The first is worth another look at what the second has found; after that nothing changes any more."""
    ping, pong = [("coder", "Write it")], [("analyst", "Check it")]
    models.add(
        supervisor(ping, pong, ping, pong, ping),
        worker("Write it", Reply(text="Written.")),
        worker("Check it", Reply(text="Checked.")),
        composer(Reply(text="Written and checked.")),
    )
    run = await product.finished("Write it well")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("incomplete", "no_progress", 3)


async def test_two_in_turn_go_on_while_they_find_something(
    product: Product, models: FakeModelServer
) -> None:
    """Writing and checking the same in turn is honest work, three times over."""
    count = iter(range(100))

    def anew(_: ModelRequest) -> Reply:
        return Reply(text=f"Version {next(count)}.")

    ping, pong = [("coder", "Write it")], [("analyst", "Check it")]
    models.add(
        supervisor(ping, pong, ping, pong, ping, []),
        composer(Reply(text="The last version.")),
        Rule(when=When(schema=False), reply=anew),
    )
    run = await product.finished("Write it well")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("completed", "done", 5)


GLOSSARY = """
from domain.agent import AgentSpec

AGENT = AgentSpec(
    name="glossary", description="Explains terms.", prompt="You explain terms.", max_assignments=2
)
"""


@pytest.fixture
def outside(tmp_path: Path) -> str:
    """Return a folder with an agent that may get two assignments in a run."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "glossary.py").write_text(GLOSSARY)
    return str(folder)


def terms() -> Iterator[Plan]:
    """Yield a plan with a new term, for ever."""
    number = 0
    while True:
        number += 1
        yield [("glossary", f"Term {number}")]


async def test_an_agent_that_is_used_up_gets_no_more(
    start: Start, models: FakeModelServer, outside: str
) -> None:
    """The supervisor is told; work that it gives all the same is left out, and never brings a run further."""
    plans = terms()

    def more(_: ModelRequest) -> Reply:
        return Reply.json(make_route(next(plans), "one more"))

    models.add(
        Rule(when=When(system="^You supervise"), reply=more),
        composer(Reply(text="Two terms.")),
        Rule(when=When(system="^You explain"), reply=Reply(text="It means that."), times=2),
    )
    async with start(models=models, agents=[outside]) as product:
        run = await product.finished("Explain the terms")
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("incomplete", "no_progress", 2)
    reason = "glossary has had the 2 assignments it may get in a run"
    assert reason in run["degraded"][0]["reason"]
    said = decided(models)
    assert "give it no more" not in said[1].system
    assert "Explains terms. It has had all the work it may get in this run" in said[2].system
    assert reason in said[3].user
    models.assert_all_used()


async def test_more_than_an_agent_may_get_is_left_out(
    start: Start, models: FakeModelServer, outside: str
) -> None:
    """The rest of the decision is carried out, and its reason says what was not."""
    plan = [("glossary", "One"), ("coder", "Do it"), ("glossary", "Two"), ("glossary", "Three")]
    models.add(
        supervisor(plan, []),
        composer(Reply(text="All.")),
        Rule(when=When(schema=False), reply=Reply(text="Done."), times=3),
    )
    async with start(models=models, agents=[outside]) as product:
        run = await product.finished("Explain it")
        first = (await decisions_of(product, run))[0]
    assert run["status"] == "completed"
    assert [a["task"] for a in first["assignments"]] == ["One", "Do it", "Two"]
    assert "Left out: glossary has had the 2 assignments" in first["reason"]
    models.assert_all_used()


async def test_a_tier_may_be_raised_and_nothing_else(
    product: Product, models: FakeModelServer
) -> None:
    """A tier that the agent has anyway, that is lower, or that there is not, changes nothing."""
    tiers = ["deep", "standard", "fast", "ultra", None]
    assignments = [
        {"agent": "coder", "task": f"Part {number}", "tier": tier}
        for number, tier in enumerate(tiers)
    ]
    route = {"reason": "some of it is hard", "assignments": assignments}
    models.add(
        Rule(when=When(system="^You supervise"), reply=Reply.json(route), times=1),
        Rule(when=When(system="^You supervise"), reply=Reply.route()),
        composer(Reply(text="All.")),
        Rule(when=When(schema=False), reply=Reply(text="Done."), times=5),
    )
    run = await product.finished("Do all of it")
    first = (await decisions_of(product, run))[0]
    assert [a.get("tier") for a in first["assignments"]] == ["deep", None, None, None, None]
    assert "tier" not in first["assignments"][1]
    [asked] = [r for r in decided(models) if r.schema and "<results>" not in r.user]
    assert asked.schema
    item = asked.schema["properties"]["assignments"]["items"]
    assert item["properties"]["tier"]["enum"] == ["fast", "standard", "deep"]
    assert item["required"] == ["agent", "task"]
    assert asked.body["response_format"]["json_schema"]["strict"] is False
    models.assert_all_used()
