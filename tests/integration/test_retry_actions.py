"""What a retried run does to the world: what was done before is found again, however it was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.retrying import REFUSED, mend, retried
from tests.integration.team_script import composer, decisions, worker

UNASKED: Any = {"approvals": {"mode": "never"}}


def rounds(*tasks: str) -> list[Rule]:
    """Return the rules of a supervisor that gives the coder one task after the other."""
    plan = [
        Rule(when=When(schema=True), reply=Reply.route(("coder", task)), times=1) for task in tasks
    ]
    return [*plan, Rule(when=When(schema=True), reply=Reply.route())]


def sends(task: str, call: Reply, then: Reply) -> list[Rule]:
    """Return the rules of a run whose coder makes one call."""
    return [*decisions(("coder", task)), turns(task, call, then)]


def statuses(run: dict[str, Any]) -> list[str]:
    """Return where a run's actions stand."""
    return [action["status"] for action in run["actions"]]


async def test_what_a_person_has_edited_is_not_done_as_it_was_asked_for(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """An agent asks for the same again; nobody is asked where that was approved for the run."""
    call = Reply.calls(post(target, "/orders"))
    models.add(*sends("Send it", call, REFUSED))
    run_id = await start_run(acting_once)
    name, args = post(target, "/orders", '{"qty": 1}')
    edit = {"type": "edit", "edited_action": {"name": name, "args": args}, "remember": "run"}
    await decided(acting_once, await asked(acting_once, run_id), **edit)
    assert (await acting_once.ended(run_id))["status"] == "failed"
    mend(models, *sends("Send it", call, Reply(text="Sent.")))
    run = await retried(acting_once, run_id)
    assert (run["status"], target.count("/orders")) == ("completed", 1)


async def test_what_was_answered_from_before_is_so_again(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Within one retry: the assignment that was told so fails, and its work is given anew."""
    call = Reply.calls(post(target, "/orders"))
    models.add(*sends("Send it", call, REFUSED))
    run_id = await start_run(acting_once, **UNASKED)
    await acting_once.ended(run_id)
    mend(
        models,
        *rounds("Send it", "Send it now"),
        turns("Send it", call, REFUSED),
        turns("Send it now", call, Reply(text="Sent.")),
    )
    run = await retried(acting_once, run_id)
    assert (run["status"], target.count("/orders")) == ("completed", 1)
    receipt = (await acting_once.client.get(f"/v1/runs/{run_id}/receipt")).json()
    told = [action["result"].count("before the run was retried") for action in receipt["actions"]]
    assert told == [0, 1, 1]


async def test_the_spelling_of_a_call_makes_no_other_of_it(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Its arguments are compared as the tool reads them."""
    name, args = post(target, "/orders")
    models.add(*sends("Send it", Reply.calls((name, args)), REFUSED))
    run_id = await start_run(acting_once, **UNASKED)
    await acting_once.ended(run_id)
    other = Reply.calls((name, {**args, "method": "post", "headers": {}}))
    mend(models, *sends("Send it", other, Reply(text="Sent.")))
    run = await retried(acting_once, run_id)
    assert (run["status"], target.count("/orders")) == ("completed", 1)
    assert statuses(run) == ["done", "done"]


async def test_one_more_is_made_where_the_same_has_succeeded_since(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """What had failed was mended before the end: what a retry wants of it is another."""
    call = Reply.calls(post(target, "/orders"))
    models.add(
        *rounds("Send it", "Send it now", "Look")[:-1],
        turns("Send it", call, REFUSED),
        turns("Send it now", call, Reply(text="Sent.")),
        worker("Look", Reply(text="Five.")),
    )
    run_id = await start_run(acting_once, budget={"max_rounds": 2}, **UNASKED)
    run = await acting_once.ended(run_id)
    assert (run["stop_reason"], target.count("/orders")) == ("max_rounds", 2)
    again = turns("Send another", call, Reply(text="Sent another."))
    mend(models, *rounds("Send another"), again, composer(Reply(text="Three.")))
    run = await retried(acting_once, run_id)
    assert (run["status"], target.count("/orders")) == ("completed", 3)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("outcome", "then", "count"), [("done", "done", 1), ("not_done", "failed", 2)]
)
async def test_a_doubt_is_settled_for_all_that_stands_for_it(
    acting_once: Product,
    models: FakeModelServer,
    target: CountingTarget,
    which: int,
    outcome: str,
    then: str,
    count: int,
) -> None:
    """Whichever is named: the call as it was made, or what a retry was answered with."""
    target.drop("/orders")
    call = Reply.calls(post(target, "/orders"))
    models.add(*sends("Send it", call, REFUSED))
    run_id = await start_run(acting_once, **UNASKED)
    await acting_once.ended(run_id)
    run = await retried(acting_once, run_id)
    assert statuses(run) == ["in_doubt", "in_doubt"]
    path = f"/v1/actions/{run['actions'][which]['id']}/resolution"
    settled = (await acting_once.client.post(path, json={"outcome": outcome})).json()
    assert statuses(settled) == [then, then]
    mend(models, *sends("Send it", call, Reply(text="Sent.")))
    run = await retried(acting_once, run_id)
    assert (run["status"], target.count("/orders")) == ("completed", count)
    assert statuses(run) == [then, then, "done" if count == 1 else "in_doubt"]
