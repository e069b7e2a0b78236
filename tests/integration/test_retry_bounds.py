"""What a retry may not do: spend more, pass others of its thread by, or bring back what is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import followed, following
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.problem_checks import assert_problem
from tests.integration.retrying import REFUSED, half, mend, retried, retry, types_of
from tests.integration.team_script import decisions, solo, unauthorised, worker


@pytest.fixture
async def plain(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with the fake model server, where it makes no difference on which database."""
    async with start(models=models) as running_product:
        yield running_product


async def test_money_goes_on_counting(plain: Product, models: FakeModelServer) -> None:
    """What is spent is spent: a limit that is used up has to be raised with the request."""
    work = Reply(text="Done.", usage=TokenUsage(20_000, 500))
    models.add(*decisions(("coder", "Do it")), worker("Do it", work))
    limits: dict[str, Any] = {"budget": {"max_tokens": 20_000}, "approvals": {"mode": "never"}}
    run = await plain.finished("Do it", agents=["coder"], **limits)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "budget")
    assert run["budget"]["remaining"]["tokens"] == 0
    problem = assert_problem(await retry(plain, run["id"]), "budget-exhausted")
    assert "max_tokens 20000" in problem["detail"]
    assert (await plain.client.get(f"/v1/runs/{run['id']}")).json() == run
    mend(models, *decisions(("coder", "Do it")))
    run = await retried(plain, run["id"], budget={"max_tokens": 50_000})
    assert (run["status"], run["stop_reason"], run["degraded"]) == ("completed", "done", [])
    assert run["budget"]["max_tokens"] == 50_000
    assert run["budget"]["spent"]["tokens"] > 20_000
    assert run["result"]["output"] == "Done."


async def test_a_refused_budget_is_asked_about_again(
    plain: Product, models: FakeModelServer
) -> None:
    """A person who has said no is not taken to say it for the next time as well."""
    work = Reply(text="Done.", usage=TokenUsage(19_800, 100))
    models.add(*decisions(("coder", "Do it")), worker("Do it", work))
    budget = {"max_tokens": 20_400}
    run_id = await start_run(plain, agents=["coder"], budget=budget)
    first = await asked(plain, run_id)
    await decided(plain, first, type="reject")
    run = await plain.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "budget")
    assert (await retry(plain, run_id)).status_code == 202
    second = await asked(plain, run_id)
    assert second["id"] != first["id"]
    edit = {"name": "raise_budget", "args": {"max_tokens": 900_000}}
    await decided(plain, second, type="edit", edited_action=edit)
    assert (await plain.ended(run_id))["status"] == "completed"
    told = await types_of(plain, run_id)
    assert told.count("budget.reached") == told.count("approval.requested") == 2


async def test_running_time_begins_anew(plain: Product, models: FakeModelServer) -> None:
    """A run that has used up its seconds gets as many again."""
    models.event("never")
    models.add(*solo(gate="never"))
    run = await plain.finished("Do it", budget={"max_seconds": 0.4})
    assert (run["status"], run["stop_reason"]) == ("failed", "deadline")
    mend(models, *solo())
    run = await retried(plain, run["id"], budget={"max_seconds": 60})
    assert (run["status"], run["budget"]["max_seconds"]) == ("completed", 60)


@pytest.mark.slow
async def test_nobody_was_there_in_time(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """What ended a run because nobody decided is asked again, as often as that is so."""
    call = Reply.calls(post(target, "/orders"))
    models.add(*decisions(("coder", "Send it")), turns("Send it", call, Reply(text="Sent.")))
    how = {"approval_seconds": 1.5, "approval_on_expiry": "fail", "http_allow": target.address}
    async with start(models=models, **how) as product:
        run_id = await start_run(product)
        ids = set()
        for _ in range(2):
            ids.add((await asked(product, run_id))["id"])
            await followed(product, run_id)
            run = await product.ended(run_id)
            assert (run["status"], run["error"]["code"]) == ("failed", "deadline-exceeded")
            assert (await retry(product, run_id)).status_code == 202
        approval = await asked(product, run_id)
        assert {approval["id"]} == ids
        await decided(product, approval, type="approve")
        run = await product.ended(run_id)
        assert (run["status"], run["result"]["output"]) == ("completed", "Sent.")
        assert [action["status"] for action in run["actions"]] == ["done"]
        assert target.count("/orders") == 1
        told = await types_of(product, run_id)
        assert told.count("approval.requested") == 3
        assert told.count("approval.expired") == told.count("run.failed") == 2
        assert told.count("run.requires_action") == 3


async def test_a_thread_goes_one_run_after_the_other(
    plain: Product, models: FakeModelServer
) -> None:
    """A later run that has not ended is in the way; one that follows waits for the retried one."""
    models.add(Rule(when=When(user="First"), reply=REFUSED))
    first = await plain.finished("First")
    gate = models.event("held")
    models.add(*solo(gate="held"))
    thread = {"thread_id": first["thread_id"]}
    second = await start_run(plain, "Second", **thread)
    problem = assert_problem(await retry(plain, first["id"]), "thread-busy")
    assert (problem["run_id"], problem["retryable"]) == (second, True)
    gate.set()
    await plain.ended(second)
    models.event("again")
    mend(models, *solo(gate="again"))
    assert (await retry(plain, first["id"])).status_code == 202
    third = await start_run(plain, "Third", **thread)
    assert (await plain.client.get(f"/v1/runs/{third}")).json()["status"] == "queued"
    models.gates["again"].set()  # type: ignore[union-attr]  # an event
    runs = [await plain.ended(each) for each in (first["id"], third)]
    assert [run["status"] for run in runs] == ["completed", "completed"]
    assert runs[0]["ended_at"] <= runs[1]["started_at"]


async def test_it_can_be_cancelled_and_is_refused_then(
    plain: Product, models: FakeModelServer
) -> None:
    """Before it has ended again, and after."""
    assert_problem(await retry(plain, "run_0"), "not-found")
    models.add(*half()[:2], worker("Count it", REFUSED), worker("Write it", REFUSED))
    run = await plain.finished("Count and write")
    assert run["status"] == "failed"
    models.event("held")
    mend(models, *decisions(("coder", "Do it"), gate="held"))
    assert (await retry(plain, run["id"])).status_code == 202
    assert_problem(await retry(plain, run["id"]), "run-not-terminal")
    assert (await plain.client.post(f"/v1/runs/{run['id']}/cancel")).status_code == 202
    assert_problem(await retry(plain, run["id"]), "run-terminal")
    types = await types_of(plain, run["id"])
    assert types[-1] == "run.cancelled"
    for body in ({"budget": {"max_rounds": 999}}, {"unknown": 1}, {"budget": {"max_tokens": 0}}):
        assert_problem(await retry(plain, run["id"], **body), "validation-error")
    assert (await plain.client.delete(f"/v1/runs/{run['id']}")).status_code == 204
    assert_problem(await retry(plain, run["id"]), "not-found")


async def test_it_is_taken_on_like_a_new_run(start: Start, models: FakeModelServer) -> None:
    """Not while the queue is full, nor by who has spent what there is for a day."""
    how = {
        "max_queued": 1,
        "max_concurrent_runs": 1,
        "budgets": '{"per_day": {"max_tokens": 20000}}',
    }
    async with start(models=models, **how) as product:
        refusal = unauthorised()
        models.add(refusal)
        run = await product.finished("Do it")
        gate = models.event("held")
        work = Reply(text="Done.", usage=TokenUsage(20_000, 500))
        mend(models, *decisions(("coder", "Do it")), worker("Do it", work, gate="held"))
        first = await start_run(product)
        async with following(product, first) as stream:
            await stream.until(lambda view: view.of("agent.started"))
        second = await start_run(product)
        full = await retry(product, run["id"])
        assert_problem(full, "overloaded")
        assert int(full.headers["retry-after"]) > 0
        assert (await product.client.post(f"/v1/runs/{second}/cancel")).status_code == 202
        gate.set()
        await product.ended(first)
        problem = assert_problem(await retry(product, run["id"]), "budget-exhausted")
        assert "Today's limit" in problem["detail"]
        assert (await product.client.get(f"/v1/runs/{run['id']}")).json() == run


async def test_what_a_server_allows_holds_for_a_retry(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """Also where it allowed more when the run was created."""
    where = {"database_url": f"sqlite:///{tmp_path}/runs.db"}
    models.add(unauthorised())
    async with start(models=models, **where) as product:
        run = await product.finished("Do it", budget={"max_tokens": 90_000, "max_rounds": 5})
        assert run["status"] == "failed"
        mend(models, *solo())
    rules = '{"most": {"max_tokens": 60000}, "unknown_prices": "ask"}'
    async with start(models=models, budgets=rules, max_rounds=2, **where) as product:
        assert (await retry(product, run["id"])).status_code == 202
        budget = (await product.client.get(f"/v1/runs/{run['id']}")).json()["budget"]
        assert (budget["max_tokens"], budget["max_rounds"]) == (60_000, 2)
        assert budget["unknown_prices"] == "ask"


async def test_a_cancelled_retry_tells_of_what_it_had_only(
    plain: Product, models: FakeModelServer
) -> None:
    """What had failed before the retry is forgotten."""
    models.add(*decisions(("coder", "Do it")), worker("Do it", REFUSED))
    run = await plain.finished("Do it")
    models.event("held")
    mend(models, *decisions(("coder", "Do it"), gate="held"))
    assert (await retry(plain, run["id"])).status_code == 202
    run = (await plain.client.post(f"/v1/runs/{run['id']}/cancel")).json()
    assert (run["status"], run["rounds"], run["result"]) == ("cancelled", 0, None)
