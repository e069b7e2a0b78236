"""Forks of runs that ask and act: nothing is done to the world again without a new question."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.forking import forked, history
from tests.integration.people import asked, decided, get, pending, post, start_run, turns, waiting
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import composer, decisions, solo, worker


async def test_a_fork_of_a_run_that_waits_asks_anew(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Each run has its own approval, and the target sees one request for each that is approved."""
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    run_id = await start_run(acting)
    approval = await asked(acting, run_id)
    [last] = (await history(acting, run_id))[:1]
    assert (last["approvals"], last["next"]) == ([approval["id"]], ["ask"])
    new = await forked(acting, run_id)
    other = await asked(acting, new)
    assert other["id"] != approval["id"]
    assert (other["action"], other["run_id"]) == (approval["action"], new)
    assert not target.requests
    await decided(acting, approval, type="approve")
    assert (await acting.ended(run_id))["status"] == "completed"
    assert target.count("/orders") == 1
    assert (await waiting(acting, new))["status"] == "requires_action"
    await decided(acting, other, type="approve")
    done = await acting.ended(new)
    assert (done["status"], done["result"]["output"]) == ("completed", "Sent.")
    assert target.count("/orders") == 2
    assert sorted(target.keys().values()) == [1, 1]


async def test_a_fork_goes_on_after_a_restart(
    start: Start, models: FakeModelServer, target: CountingTarget, tmp_path: Path
) -> None:
    """What it began with is not told as its own, however often its state is read again."""
    models.add(
        Rule(when=When(schema=True, user="Sent"), reply=Reply.route()),
        Rule(
            when=When(schema=True, user="There are five"), reply=Reply.route(("coder", "Send it"))
        ),
        Rule(when=When(schema=True), reply=Reply.route(("analyst", "Count it"))),
        worker("Count it", Reply(text="There are five."), times=1),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
        composer(Reply(text="Five, and sent.")),
    )
    where = {"database_url": f"sqlite:///{tmp_path}/runs.db", "http_allow": target.address}
    async with start(models=models, **where) as product:
        new = await forked(product, (await asked(product, await start_run(product)))["run_id"])
        approval = await asked(product, new)
    async with start(models=models, **where) as product:
        await decided(product, approval, type="approve")
        run = await product.ended(new)
        assert (run["status"], run["result"]["output"]) == ("completed", "Five, and sent.")
        assert (run["rounds"], run["attempt"]) == (1, 2)
        told = await product.events(new)
    shown = [
        (e["type"], e["agent"], e["round"])
        for e in told
        if e["type"] in {"agent.completed", "supervisor.decision"}
    ]
    assert shown == [
        ("supervisor.decision", "supervisor", 2),
        ("agent.completed", "coder", 2),
        ("supervisor.decision", "supervisor", 3),
    ]
    assert target.count("/orders") == 1


async def test_what_was_approved_is_asked_about_again(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """At the checkpoint after the decision the call was let run: for the other run."""
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    run_id = await start_run(acting)
    await decided(acting, await asked(acting, run_id), type="approve")
    await acting.ended(run_id)
    for point in await history(acting, run_id):
        if point["results"]:
            continue
        new = await forked(acting, run_id, checkpoint_id=point["checkpoint_id"])
        await decided(acting, await asked(acting, new), type="reject")
        assert (await acting.ended(new))["status"] == "completed"
    assert target.count("/orders") == 1


async def test_what_ran_unasked_asks_before_it_runs_again(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """Also where nobody was to be asked, and in a fork of the fork; another call runs as before."""
    models.add(
        *decisions(("coder", "Send it")),
        turns(
            "Send it",
            Reply.calls(get(target, "/stock")),
            Reply.calls(post(target, "/orders")),
            Reply(text="Sent."),
        ),
    )
    async with start(models=models, http_allow=target.address) as product:
        run = await product.finished("Do it", approvals={"mode": "never"})
        assert (run["status"], target.count("/orders")) == ("completed", 1)
        first = (await history(product, run["id"]))[-1]["checkpoint_id"]
        new = await forked(product, run["id"], checkpoint_id=first)
        approval = await asked(product, new)
        assert "has made this very call" in approval["description"]
        last = (await history(product, new))[-1]["checkpoint_id"]
        newer = await forked(product, new, checkpoint_id=last)
        await asked(product, newer)
        assert (target.count("/orders"), target.count("/stock")) == (1, 3)
        await decided(product, approval, type="approve")
        assert (await product.ended(new))["status"] == "completed"
        assert target.count("/orders") == 2


async def test_a_question_about_a_budget_is_not_taken_along(
    modelled: Product, models: FakeModelServer
) -> None:
    """The fork has spent nothing, so it goes on."""
    models.add(*solo(Reply(text="Done it.")))
    run_id = await start_run(modelled, budget={"max_tokens": 600})
    run = await waiting(modelled, run_id)
    assert run["required_action"]["type"] == "budget"
    done = await modelled.ended(await forked(modelled, run_id, budget={"max_tokens": None}))
    assert (done["status"], done["result"]["output"]) == ("completed", "Done it.")
    assert not await pending(modelled, done["id"])


async def test_who_may_not_decide_may_not_have_nobody_asked(
    product: Product,
) -> None:
    """A fork of a run in which nobody is asked would be another."""
    _, decider = await issue(product, "admin")
    _, writer = await issue(product, "runs:write", "runs:read")
    body = {"task": "Count to three", "approvals": {"mode": "never"}}
    run = (await product.client.post("/v1/runs?wait=20", json=body, headers=decider)).json()
    path = f"/v1/runs/{run['id']}/fork"
    assert_problem(await product.client.post(path, json={}, headers=writer), "forbidden")
    made = await product.client.post(path, json={}, headers=decider)
    assert made.status_code == 202, made.text
