"""Retrying: a run that ended without its whole answer goes on, and does nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.checking import judge
from tests.integration.client_view import followed, following
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.problem_checks import assert_problem
from tests.integration.receiving import hook, log_of, received
from tests.integration.retrying import REFUSED, half, mend, retried, retry, types_of
from tests.integration.team_script import composer, decisions, solo, unauthorised, worker


@pytest.fixture
async def plain(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with the fake model server, where it makes no difference on which database."""
    async with start(models=models) as running_product:
        yield running_product


async def test_what_has_failed_is_done_anew(modelled: Product, models: FakeModelServer) -> None:
    """All that its end has said is gone; events, attempts and what it cost go on."""
    models.add(unauthorised())
    run = await modelled.finished("Do it")
    run_id = run["id"]
    assert (run["status"], run["error"]["code"]) == ("failed", "model-error")
    mend(models, *solo())
    response = await retry(modelled, run_id)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/runs/{run_id}"
    again = response.json()
    assert (again["status"], again["error"], again["ended_at"]) == ("queued", None, None)
    assert (again["stop_reason"], again["result"]) == (None, None)
    run = await modelled.ended(run_id)
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("completed", "done", 1)
    assert (run["result"]["output"], run["degraded"], run["attempt"]) == ("Done it.", [], 2)
    events = await modelled.events(run_id)
    [resumed] = [event for event in events if event["type"] == "run.resumed"]
    assert resumed["data"] == {"attempt": 2, "cause": "retry"}
    types = await types_of(modelled, run_id)
    assert types.count("run.started") == 1
    assert types.index("run.failed") < types.index("run.resumed")
    assert types[-1] == "run.completed"
    assert events[-1]["data"]["run"]["result"] == run["result"]


async def test_a_run_with_an_answer_stays_as_it_is(plain: Product, models: FakeModelServer) -> None:
    """Though a part of it is missing: it has ended as it was to."""
    models.add(*half())
    run = await plain.finished("Count and write")
    assert [part["agent"] for part in run["degraded"]] == ["coder"]
    problem = assert_problem(await retry(plain, run["id"]), "run-terminal")
    assert "thread_id" in problem["detail"]
    assert (await plain.client.get(f"/v1/runs/{run['id']}")).json() == run


async def test_what_was_cut_off_goes_on_where_it_stood(
    start: Start, models: FakeModelServer, target: CountingTarget, tmp_path: Path
) -> None:
    """A server that could not go on with it has ended it; what a person had approved by then is done once."""
    models.add(
        *decisions(("analyst", "Count it"), ("coder", "Send it")),
        worker("Count it", Reply(text="There are five."), times=1),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
        composer(Reply(text="Five, and sent.")),
    )
    where = {"database_url": f"sqlite:///{tmp_path}/runs.db", "http_allow": target.address}
    async with start(models=models, **where) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
    async with start(sandbox="off", **where) as product:
        await decided(product, approval, type="approve")
        run = await product.ended(run_id)
        assert (run["status"], run["error"]["code"]) == ("failed", "run-incompatible")
        assert [action["status"] for action in run["actions"]] == ["failed"]
    assert target.count("/orders") == 0
    async with start(models=models, **where) as product:
        run = await retried(product, run_id)
        assert (run["status"], run["result"]["output"]) == ("completed", "Five, and sent.")
        assert [action["status"] for action in run["actions"]] == ["done"]
        told = await types_of(product, run_id)
    assert target.count("/orders") == 1
    assert told.count("approval.requested") == told.count("approval.resolved") == 1
    assert told.count("agent.completed") == 2
    models.assert_all_used()


async def test_an_incomplete_run_has_its_rounds_anew(
    modelled: Product, models: FakeModelServer
) -> None:
    """With what it had, and with what it has cost by then."""
    plan = [("analyst", "Count it")], [("coder", "Write it")]
    models.add(
        *(Rule(when=When(schema=True), reply=Reply.route(*part), times=1) for part in plan),
        worker("Count it", Reply(text="There are five.")),
    )
    run = await modelled.finished("Count and write", budget={"max_rounds": 1})
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("incomplete", "max_rounds", 1)
    assert run["budget"]["remaining"]["rounds"] == 0
    before = run["usage"]
    mend(
        models,
        Rule(when=When(schema=True, user='agent="coder"'), reply=Reply.route()),
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route(("coder", "Write it"))),
        worker("Write it", Reply(text="Five words.")),
        composer(Reply(text="All of it.")),
    )
    run = await retried(modelled, run["id"])
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("completed", "done", 1)
    assert run["result"]["output"] == "All of it."
    assert set(run["result"]["agents"]) == {"analyst", "coder"}
    assert not [request for request in models.requests if "\nCount it\n" in request.user]
    assert run["usage"]["by_agent"]["analyst"] == before["by_agent"]["analyst"]
    assert run["usage"]["input_tokens"] > before["input_tokens"]
    events = await modelled.events(run["id"])
    decided_in = [e["round"] for e in events if e["type"] == "supervisor.decision"]
    assert decided_in == sorted(set(decided_in))
    answers = [e for e in events if e["type"] == "message.completed" and e["path"] == "supervisor"]
    assert [answer["data"]["text"] for answer in answers][-1] == "All of it."


async def test_what_its_check_has_found_is_known_to_the_next_decision(
    plain: Product, models: FakeModelServer
) -> None:
    """Results that were rejected are mended, and checked anew."""
    plan = decisions(("analyst", "Count it"))
    no = judge({"verdict": "reject", "reasons": ["That is another ledger."]})
    models.add(no, *plan, worker("Count it", Reply(text="There are four.")))
    run = await plain.finished("Count", validation="on")
    assert (run["status"], run["stop_reason"]) == ("incomplete", "no_progress")
    mend(
        models,
        judge({}),
        Rule(when=When(schema=True, user="another ledger"), reply=Reply.route(("coder", "Look"))),
        *plan,
        worker("Look", Reply(text="There are five.")),
        composer(Reply(text="Five, not four.")),
    )
    run = await retried(plain, run["id"])
    assert (run["status"], run["result"]["output"]) == ("completed", "Five, not four.")
    assert (run["result"]["validation"]["verdict"], run["degraded"]) == ("accept", [])
    told = await types_of(plain, run["id"])
    assert told.count("validation.completed") == 2


async def test_when_all_have_failed_it_begins_afresh(
    modelled: Product, models: FakeModelServer
) -> None:
    """And may fail in the same way once more: each end is told, and sent, for itself."""
    models.add(*decisions(("coder", "Do it")), worker("Do it", REFUSED))
    run = await modelled.finished("Do it")
    assert (run["status"], run["error"]["code"]) == ("failed", "agents-failed")
    run = await retried(modelled, run["id"])
    assert (run["status"], run["error"]["code"]) == ("failed", "agents-failed")
    mend(models, *solo())
    run = await retried(modelled, run["id"])
    assert (run["status"], run["attempt"], run["result"]["output"]) == ("completed", 3, "Done it.")
    assert run["result"]["agents"]["coder"]["error"] is None
    types = await types_of(modelled, run["id"])
    assert types.count("run.failed") == types.count("agent.failed") == 2
    assert types.count("run.resumed") == 2


async def test_an_action_is_not_carried_out_again(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The agent that had sent it has failed after, and is asked to do all of it anew."""
    call = Reply.calls(post(target, "/orders"))
    models.add(*decisions(("coder", "Send it")), turns("Send it", call, REFUSED))
    run_id = await start_run(acting)
    await decided(acting, await asked(acting, run_id), type="approve")
    run = await acting.ended(run_id)
    assert (run["status"], target.count("/orders")) == ("failed", 1)
    mend(models, *decisions(("coder", "Send it")), turns("Send it", call, Reply(text="Sent.")))
    assert (await retry(acting, run_id)).status_code == 202
    await decided(acting, await asked(acting, run_id), type="approve")
    run = await acting.ended(run_id)
    assert (run["status"], run["result"]["output"]) == ("completed", "Sent.")
    assert target.count("/orders") == 1
    assert [action["status"] for action in run["actions"]] == ["done", "done"]
    [told] = [m for r in models.requests for m in r.body["messages"] if m["role"] == "tool"][-1:]
    assert "was made before the run was retried" in told["content"]


async def test_what_is_in_doubt_stays_so(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Nobody knows whether it took effect, so a retry does not find out by doing it."""
    target.drop("/orders")
    call = Reply.calls(post(target, "/orders"))
    models.add(*decisions(("coder", "Send it")), turns("Send it", call, REFUSED))
    run_id = await start_run(acting_once)
    await decided(acting_once, await asked(acting_once, run_id), type="approve")
    assert (await acting_once.ended(run_id))["status"] == "failed"
    mend(models, *decisions(("coder", "Send it")), turns("Send it", call, Reply(text="Unsure.")))
    assert (await retry(acting_once, run_id)).status_code == 202
    await decided(acting_once, await asked(acting_once, run_id), type="approve")
    run = await acting_once.ended(run_id)
    assert (run["status"], target.count("/orders")) == ("completed", 1)
    assert [action["status"] for action in run["actions"]] == ["in_doubt"] * 2
    assert all("a person has to settle" in part["reason"] for part in run["degraded"])


async def test_another_call_of_it_is_carried_out(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """What was done once stands for one call: the second of the same kind is one more."""
    call = Reply.calls(post(target, "/orders"))
    models.add(*decisions(("coder", "Send it")), turns("Send it", call, REFUSED))
    run_id = await start_run(acting)
    await decided(acting, await asked(acting, run_id), type="approve", remember="run")
    await acting.ended(run_id)
    twice = turns("Send it", call, call, Reply(text="Sent twice."))
    mend(models, *decisions(("coder", "Send it")), twice)
    run = await retried(acting, run_id)
    assert (run["status"], target.count("/orders")) == ("completed", 2)


async def test_a_stream_goes_on_to_the_later_end(
    modelled: Product, models: FakeModelServer
) -> None:
    """Whoever has seen the first end comes back for what follows it; after the second there is nothing."""
    models.add(unauthorised())
    run = await modelled.finished("Do it")
    first = await followed(modelled, run["id"])
    assert first.frames[-1]["type"] == "run.failed"
    path = f"/v1/runs/{run['id']}/events"
    seen = {"accept": "text/event-stream", "last-event-id": str(first.seqs[-1])}
    assert (await modelled.client.get(path, headers=seen)).status_code == 204
    gate = models.event("held")
    mend(models, *solo(gate="held"))
    assert (await retry(modelled, run["id"])).status_code == 202
    async with (
        following(modelled, run["id"], headers=seen) as rest,
        following(modelled, run["id"]) as whole,
    ):
        await rest.until(lambda view: view.of("agent.started"))
        await whole.until(lambda view: view.of("agent.started"))
        gate.set()
        after, all_of_it = await rest.end(), await whole.end()
    assert all_of_it.seqs == list(range(1, all_of_it.seqs[-1] + 1))
    assert all_of_it.seqs == [*first.seqs, *after.seqs]
    assert [e["type"] for e in all_of_it.of("run.failed", "run.completed")] == [
        "run.failed",
        "run.completed",
    ]
    assert (await followed(modelled, run["id"])).seqs == all_of_it.seqs
    assert (await followed(modelled, run["id"], headers=seen)).seqs == after.seqs
    seen["last-event-id"] = str(after.seqs[-1])
    assert (await modelled.client.get(path, headers=seen)).status_code == 204


async def test_of_two_at_once_one_is_the_one(modelled: Product, models: FakeModelServer) -> None:
    """Without a key the other is refused; with one it is a replay."""
    models.add(unauthorised())
    run = await modelled.finished("Do it")
    models.event("held")
    mend(models, *solo(gate="held"))
    answers = await asyncio.gather(*(retry(modelled, run["id"]) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [202, *[409] * 5]
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, "run-not-terminal")
    models.gates["held"].set()  # type: ignore[union-attr]  # an event
    run = await modelled.ended(run["id"])
    assert (run["status"], run["attempt"]) == ("completed", 2)


async def test_the_same_key_retries_once(modelled: Product, models: FakeModelServer) -> None:
    """Also long after: the run stands as it does by then, though it could not be retried any more."""
    models.add(unauthorised())
    run = await modelled.finished("Do it")
    mend(models, *solo())
    path, key = f"/v1/runs/{run['id']}/retry", {"idempotency-key": "once"}
    answers = await asyncio.gather(*(modelled.client.post(path, headers=key) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [202] * 4
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 3
    run = await modelled.ended(run["id"])
    assert (run["status"], run["attempt"]) == ("completed", 2)
    late = await modelled.client.post(path, headers=key)
    assert (late.status_code, late.json()) == (202, run)
    other = await modelled.client.post(path, headers=key, json={"budget": {"max_tokens": 9_000}})
    assert_problem(other, "idempotency-key-reuse")


async def test_each_end_is_sent(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """As a message of its own."""
    models.add(unauthorised())
    created = await acting_once.client.post("/v1/runs", json={"task": "Do it", **hook(target)})
    run_id = created.json()["id"]
    await acting_once.ended(run_id)
    await target.arrived("/hook")
    mend(models, *solo())
    await retried(acting_once, run_id)
    await target.arrived("/hook", 2)
    log = await log_of(acting_once, run_id)
    assert [each["type"] for each in log] == ["run.completed", "run.failed"]
    assert len({request.headers["webhook-id"] for request in received(target)}) == 2
